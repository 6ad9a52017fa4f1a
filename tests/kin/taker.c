/* SPDX-License-Identifier: MIT */
/*
 * What bezoard takes, of all that is in the corpus of the reader of records, and of each
 * beginning of that. "make fuzz" looks for more, with clang.
 */
#include <bezoar/bezoar.h>
#include <bezoar/record.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"
#include "taker_target.h"

#define MOST 16384

/* @bytes has room for all of it. */
static size_t load(const char *name, uint8_t *bytes)
{
	char path[4096];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", CORPUS, name);
	f = fopen(path, "r");
	CHECKF(f, "%s", path);
	len = fread(bytes, 1, MOST, f);
	fclose(f);
	return len;
}

static void corpus(void)
{
	static uint8_t bytes[MOST];
	DIR *dir = opendir(CORPUS);
	size_t files = 0, len, part;
	struct dirent *e;

	CHECKF(dir, "%s", CORPUS);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		len = load(e->d_name, bytes);
		for (part = 0; part <= len; part++)
			LLVMFuzzerTestOneInput(bytes, part);
		files++;
	}
	closedir(dir);
	CHECKF(files >= 10, "%zu files", files);
}

/* The target itself finds what is there. */
static void items(void)
{
	static const struct { const char *name; size_t items; } known[] = {
		{ "golden.rec", 1 }, { "three.rec", 3 },
		{ "damaged-between.rec", 2 }, { "strange-between.rec", 4 },
		{ "torn-end.rec", 1 }, { "empty.rec", 0 },
	};
	static uint8_t bytes[MOST];
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		LLVMFuzzerTestOneInput(bytes, load(known[i].name, bytes));
		CHECKF(taker_items == known[i].items, "%s: %zu items",
		       known[i].name, taker_items);
	}
}

/* 0 also stands for a number that is not known, and is nobody's. */
static void nobody(void)
{
	static uint8_t bytes[MOST];
	struct bez_record r;

	CHECK_EQ(load("golden.rec", bytes), sizeof(r));
	memcpy(&r, bytes, sizeof(r));
	r.pid = 0;
	r.digest = bez_digest(&r, sizeof(r) - sizeof(r.digest));
	LLVMFuzzerTestOneInput((uint8_t *)&r, sizeof(r));
	CHECK_EQ(taker_items, 1);
}

static const struct tap_case cases[] = {
	{ .name = "the corpus, and each beginning of it", .run = corpus },
	{ .name = "items of it", .run = items },
	{ .name = "nobody is process 0", .run = nobody },
};
TAP_MAIN(cases)
