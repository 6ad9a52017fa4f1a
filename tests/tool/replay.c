/* SPDX-License-Identifier: MIT */
/*
 * The reader of records on all that a fuzzer has found worth keeping, and on what
 * a seed makes of that. "make fuzz" looks for more, with clang.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "reader_target.h"
#include "tap.h"

#include <bezoar/bezoar.h>
#include <bezoar/record.h>

#define MOST	65536
#define FILES	512
#define ROUNDS	200000

static struct { uint8_t *bytes; size_t len; char name[64]; } file[FILES];
static size_t files;

static void load(void)
{
	DIR *dir = opendir(CORPUS);
	struct dirent *entry;

	CHECKF(dir, "%s", CORPUS);
	while ((entry = readdir(dir)) && files < FILES) {
		char path[4096];
		FILE *f;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", CORPUS, entry->d_name);
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
	CHECKF(files >= 10, "%zu files", files);
}

static size_t records_of(const char *name)
{
	size_t i;

	for (i = 0; i < files; i++)
		if (!strcmp(file[i].name, name))
			return reader_records(file[i].bytes, file[i].len);
	CHECKF(0, "%s is not in the corpus", name);
	return 0;
}

static void corpus(void)
{
	size_t i;

	load();
	for (i = 0; i < files; i++)
		LLVMFuzzerTestOneInput(file[i].bytes, file[i].len);
	/* the corpus is what its names say */
	CHECK_EQ(records_of("golden.rec"), 1);
	CHECK_EQ(records_of("three.rec"), 3);
	CHECK_EQ(records_of("torn-between.rec"), 2);
	CHECK_EQ(records_of("damaged-between.rec"), 2);
	CHECK_EQ(records_of("size-lies.rec"), 1);
	CHECK_EQ(records_of("strange-between.rec"), 2);
	CHECK_EQ(records_of("text-between.rec"), 2);
	CHECK_EQ(records_of("magic-twice.rec"), 1);
	CHECK_EQ(records_of("torn-end.rec"), 1);
	CHECK_EQ(records_of("empty.rec"), 0);
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

/* The digest of the record that begins at @at, if one does. */
static void mend(uint8_t *bytes, size_t len, size_t at)
{
	size_t claimed;
	uint64_t digest;

	if (at + 12 > len)
		return;
	claimed = bytes[at + 10] | (size_t)bytes[at + 11] << 8;
	if (claimed < BEZ_RECORD_LEAST || at + claimed > len)
		return;
	digest = bez_digest(bytes + at, claimed - 8);
	memcpy(bytes + at + claimed - 8, &digest, 8);
}

static size_t mutate(uint8_t *bytes, size_t len)
{
	size_t at = len ? draw(len) : 0, other, n;

	switch (draw(7)) {
	case 0:
		if (len)
			bytes[at] = (uint8_t)draw(256);
		return len;
	case 1:
		if (len)
			bytes[at] ^= (uint8_t)(1u << draw(8));
		return len;
	case 2:				/* cut off */
		return at;
	case 3:				/* a piece out of it */
		n = draw(len - at + 1);
		memmove(bytes + at, bytes + at + n, len - at - n);
		return len - n;
	case 4:				/* a piece of another in between */
		other = draw(files);
		n = draw(file[other].len + 1);
		if (len + n > MOST)
			return len;
		memmove(bytes + at + n, bytes + at, len - at);
		memcpy(bytes + at, file[other].bytes, n);
		return len + n;
	case 5:				/* a magic */
		if (len >= at + 8)
			memcpy(bytes + at, BEZ_RECORD_MAGIC, 8);
		return len;
	default:			/* what is damaged becomes right */
		mend(bytes, len, at & ~(size_t)127);
		mend(bytes, len, 0);
		return len;
	}
}

static void mutated(void)
{
	static uint8_t bytes[MOST];
	const char *seed = getenv("TAP_SEED");
	size_t round, len, found = 0;

	load();
	if (seed)
		random_state = strtoull(seed, NULL, 0) | 1;
	for (round = 0; round < ROUNDS; round++) {
		size_t from = draw(files), times = draw(8);

		if (file[from].len > 2048)
			continue;
		len = file[from].len;
		memcpy(bytes, file[from].bytes, len);
		while (times--)
			len = mutate(bytes, len < 4096 ? len : 4096);
		LLVMFuzzerTestOneInput(bytes, len);
		found += reader_records(bytes, len);
	}
	tap_diag("%zu whole records in %d rounds", found, ROUNDS);
	CHECK(found > ROUNDS / 100);
}

static const struct tap_case cases[] = {
	{ .name = "the corpus", .run = corpus },
	{ .name = "what a seed makes of it", .run = mutated, .timeout_s = 120 },
};
TAP_MAIN(cases)
