/* SPDX-License-Identifier: MIT */
/*
 * The reader of trailers on all that a fuzzer has found worth keeping, and on what
 * a seed makes of that. "make fuzz" looks for more, with clang.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "around_target.h"
#include "hunt/around_form.h"
#include "tap.h"

#define MOST	1024
#define FILES	64
#define ROUNDS	200000

static struct file { uint8_t bytes[MOST]; size_t len; char name[64]; } file[FILES];
static size_t files;

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name,
		      ((const struct file *)b)->name);
}

static void load(void)
{
	DIR *dir = opendir(CORPUS);
	struct dirent *entry;

	CHECKF(dir, "%s", CORPUS);
	while ((entry = readdir(dir)) && files < FILES) {
		char path[2048];
		FILE *f;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", CORPUS, entry->d_name);
		f = fopen(path, "r");
		CHECKF(f, "%s", path);
		snprintf(file[files].name, sizeof(file[files].name), "%.63s",
			 entry->d_name);
		file[files].len = fread(file[files].bytes, 1, MOST, f);
		fclose(f);
		files++;
	}
	closedir(dir);
	CHECKF(files >= 8, "%zu files", files);
	/* the same seed makes the same of them anywhere */
	qsort(file, files, sizeof(*file), by_name);
}

/* The corpus is what its names say. */
static const struct {
	const char *name;
	int r;			/* or how many holes */
} known[] = {
	{ "none", 0 }, { "one", 1 }, { "four", 4 }, { "all", 1 },
	{ "later", -EOPNOTSUPP }, { "touching", -EBADMSG },
	{ "behind", -EBADMSG }, { "wraps", -EBADMSG }, { "empty", -EBADMSG },
	{ "count-huge", -EBADMSG }, { "torn", -EBADMSG },
	{ "damaged", -EBADMSG },
};

static void corpus(void)
{
	size_t i, n;

	load();
	for (i = 0; i < files; i++)
		LLVMFuzzerTestOneInput(file[i].bytes, file[i].len);
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		int r;

		for (n = 0; n < files; n++)
			if (!strcmp(file[n].name, known[i].name))
				break;
		CHECKF(n < files, "%s is not there", known[i].name);
		r = around_holes(file[n].bytes, file[n].len,
				 around_claims(file[n].bytes, file[n].len));
		CHECKF(r == known[i].r, "%s: %d", known[i].name, r);
	}
}

/* xorshift; TAP_SEED names another. */
static uint64_t random_state = 88172645463325252u;

static uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static void mutate(uint8_t *bytes, size_t *len)
{
	size_t at = draw(*len);

	switch (draw(4)) {
	case 0:
		bytes[at] ^= (uint8_t)(1u << draw(8));
		break;
	case 1:
		bytes[at] = (uint8_t)draw(256);
		break;
	case 2:				/* one hole more, or less */
		if (*len + BZ_AROUND_HOLE <= MOST)
			*len += BZ_AROUND_HOLE;
		bytes[24]++;
		break;
	default:
		if (draw(4) == 0)
			*len = at ? at : 1;
	}
}

static void mutated(void)
{
	static uint8_t bytes[MOST];
	const char *seed = getenv("TAP_SEED");
	size_t round, lists = 0;

	load();
	if (seed)
		random_state = strtoull(seed, NULL, 0) | 1;
	for (round = 0; round < ROUNDS; round++) {
		size_t from = draw(files), times = draw(4);
		size_t len = file[from].len;

		memcpy(bytes, file[from].bytes, MOST);
		while (times--)
			mutate(bytes, &len);
		/* nobody guesses a digest */
		if (len >= bz_around_size(0) && draw(8))
			around_mend(bytes, len);
		LLVMFuzzerTestOneInput(bytes, len);
		lists += around_holes(bytes, len,
				      around_claims(bytes, len)) >= 0;
	}
	tap_diag("%zu lists in %d rounds", lists, ROUNDS);
	CHECK(lists > ROUNDS / 100);
	CHECK(lists < ROUNDS);
}

static const struct tap_case cases[] = {
	{ .name = "the corpus", .run = corpus },
	{ .name = "what a seed makes of it", .run = mutated, .timeout_s = 120 },
};
TAP_MAIN(cases)
