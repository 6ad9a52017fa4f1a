/* SPDX-License-Identifier: MIT */
/*
 * The reader of lists on all that a fuzzer has found worth keeping, and on what a
 * seed makes of that. "make fuzz" looks for more, with clang.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "form_help.h"
#include "form_target.h"
#include "tap.h"

#define MOST	8192
#define FILES	256
#define ROUNDS	200000

static struct file { uint8_t *bytes; size_t len; char name[64]; } file[FILES];
static size_t files;

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name,
		      ((const struct file *)b)->name);
}

static void load(const char *form)
{
	char folder[1024];
	DIR *dir;
	struct dirent *entry;

	snprintf(folder, sizeof(folder), "%s/%s", CORPUS, form);
	dir = opendir(folder);
	CHECKF(dir, "%s", folder);
	while ((entry = readdir(dir)) && files < FILES) {
		char path[2048];
		FILE *f;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		f = fopen(path, "r");
		CHECKF(f, "%s", path);
		snprintf(file[files].name, sizeof(file[files].name), "%.63s",
			 entry->d_name);
		file[files].bytes = malloc(MOST);
		CHECK(file[files].bytes);
		file[files].len = fread(file[files].bytes, 1, MOST, f);
		fclose(f);
		files++;
	}
	closedir(dir);
	CHECKF(files >= 15, "%zu files", files);
	/* the same seed makes the same of them anywhere */
	qsort(file, files, sizeof(*file), by_name);
}

/* The corpus is what its names say; what a fuzzer has named is not here. */
static const struct {
	const char *name;
	int r;			/* or how many ranges */
} known[] = {
	{ "empty-list.lost", 0 }, { "one.lost", 1 }, { "three.lost", 3 },
	{ "touching.lost", 2 }, { "last-page.lost", 1 }, { "widest.lost", 1 },
	{ "later.lost", -EOPNOTSUPP }, { "version-0.lost", -EBADMSG },
	{ "count-lies.lost", -EBADMSG }, { "count-huge.lost", -EBADMSG },
	{ "count-less.lost", -EBADMSG }, { "wraps.lost", -EBADMSG },
	{ "wraps-behind.lost", -EBADMSG }, { "len-wraps.lost", -EBADMSG },
	{ "number-long.lost", -EBADMSG }, { "number-too-long.lost", -EBADMSG },
	{ "number-too-large.lost", -EBADMSG }, { "number-cut.lost", -EBADMSG },
	{ "damaged.lost", -EBADMSG }, { "torn.lost", -EBADMSG },
	{ "magic.lost", -EBADMSG },
	{ "empty-list.json", 0 }, { "one.json", 1 }, { "three.json", 3 },
	{ "touching.json", 2 }, { "last-page.json", 1 }, { "widest.json", 1 },
	{ "order.json", 1 }, { "upper.json", 1 }, { "spaces.json", 0 },
	{ "later.json", -EOPNOTSUPP }, { "version-real.json", -EBADMSG },
	{ "twice.json", -EBADMSG }, { "gpa-twice.json", -EBADMSG },
	{ "unknown.json", -EBADMSG }, { "number.json", -EBADMSG },
	{ "nul.json", -EBADMSG }, { "bom.json", -EBADMSG },
	{ "utf16.json", -EBADMSG }, { "escapes.json", -EBADMSG },
	{ "deep.json", -EBADMSG }, { "two.json", -EBADMSG },
	{ "overlap.json", -EBADMSG }, { "wraps.json", -EBADMSG },
};

static size_t find(const char *name)
{
	size_t i;

	for (i = 0; i < files; i++)
		if (!strcmp(file[i].name, name))
			return i;
	CHECKF(0, "%s is not in the corpus", name);
	return 0;
}

static void corpus(void)
{
	size_t i;

	load("binary");
	load("json");
	for (i = 0; i < files; i++)
		LLVMFuzzerTestOneInput(file[i].bytes, file[i].len);
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t n = find(known[i].name);
		int r = form_ranges(file[n].bytes, file[n].len);

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

static size_t mutate(uint8_t *bytes, size_t len)
{
	size_t at = len ? draw(len) : 0, other, from, n;

	switch (draw(6)) {
	case 0:
		if (len)
			bytes[at] = (uint8_t)draw(256);
		return len;
	case 1:
		if (len)
			bytes[at] ^= (uint8_t)(1u << draw(8));
		return len;
	case 2:				/* cut off */
		return draw(4) ? len : at;
	case 3:				/* a piece out of it */
		n = draw((len - at < 16 ? len - at : 16) + 1);
		memmove(bytes + at, bytes + at + n, len - at - n);
		return len - n;
	case 4:				/* a piece of another in between */
		other = draw(files);
		from = draw(file[other].len + 1);
		n = draw(file[other].len - from + 1);
		if (len + n > MOST)
			return len;
		memmove(bytes + at + n, bytes + at, len - at);
		memcpy(bytes + at, file[other].bytes + from, n);
		return len + n;
	default:			/* another digit: what is text stays so */
		if (len && bytes[at] >= '0' && bytes[at] <= 'f')
			bytes[at] = (uint8_t)"0123456789abcdef"[draw(16)];
		return len;
	}
}

static void mutated(void)
{
	static uint8_t bytes[MOST];
	const char *form = tap_data(), *seed = getenv("TAP_SEED");
	size_t round, len, lists = 0, ranges = 0;
	int r;

	load(form);
	if (seed)
		random_state = strtoull(seed, NULL, 0) | 1;
	for (round = 0; round < ROUNDS; round++) {
		size_t from = draw(files), times = draw(4);

		len = file[from].len < 1024 ? file[from].len : 1024;
		memcpy(bytes, file[from].bytes, len);
		while (times--)
			len = mutate(bytes, len < 2048 ? len : 2048);
		/* nobody guesses a digest */
		if (*form == 'b' && len >= HEAD_BYTES + DIGEST_BYTES && draw(8))
			mend(bytes, len);
		LLVMFuzzerTestOneInput(bytes, len);
		r = form_ranges(bytes, len);
		lists += r > 0;
		ranges += r > 0 ? (size_t)r : 0;
	}
	tap_diag("%zu lists of %zu ranges in %d rounds", lists, ranges, ROUNDS);
	CHECK(lists > ROUNDS / 100);
}

static const struct tap_case cases[] = {
	{ .name = "the corpus", .run = corpus },
	{ .name = "what a seed makes of it, binary", .run = mutated,
	  .data = "binary", .timeout_s = 120 },
	{ .name = "what a seed makes of it, JSON", .run = mutated, .data = "json",
	  .timeout_s = 120 },
};
TAP_MAIN(cases)
