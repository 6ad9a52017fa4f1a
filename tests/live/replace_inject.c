/* SPDX-License-Identifier: MIT */
/*
 * bezoar and its injector: the injector keeps what it took for its undo, and a
 * repair must not live on that. What comes back is what the source has; where
 * there is no source nothing comes back.
 */
#define _GNU_SOURCE
#include <bezoar/inject.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES 4

static unsigned char *at;
static size_t page, len;

static bez_inject_t lose(size_t n)
{
	const uint32_t *backend = tap_data();
	bez_inject_t token;
	int r;

	r = bez_inject(at + n * page, page, *backend, 0, &token);
	if (r)
		tap_skip("%s: %s", bez_inject_backend_name(*backend),
			 bez_inject_why(*backend));
	return token;
}

static void begin(void)
{
	page = live_page();
	len = PAGES * page;
	at = live_pages(PAGES);
	see_install();
	see_start(0);
}

static void from_the_source(void)
{
	unsigned char *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);
	bez_inject_t token;

	begin();
	live_fill(copy, len, 6);	/* not what is lost */
	live_region(at, len, &from, "has a source");
	token = lose(1);
	CHECK_EQ(see_wrong(at, page, 2 * page, 6), 0);
	CHECK_EQ(see_wrong(at, 0, page, 0), 0);
	/* and undo leaves what was replaced, and written since, alone */
	live_fill(at, len, 7);
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(live_wrong(at, len, 7), 0);
}

static void without_source(void)
{
	bez_inject_t token;

	begin();
	live_region(at, len, NULL, "has no source");
	token = lose(1);
	see_refused(at + page, BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
}

/* Markers go with the process; no page of the machine is out of use. */
static unsigned long corrupted(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long kb = 0;
	char line[128];

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "HardwareCorrupted: %lu", &kb);
	fclose(f);
	return kb;
}

static void nothing_is_left(void)
{
	unsigned char *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);
	unsigned long before = corrupted(), kept;
	bez_inject_t token;
	size_t i;

	begin();
	live_region(at, len, &from, "clean");
	for (i = 0; i < PAGES; i++) {
		token = lose(i);
		if (i % 2)
			CHECK_EQ(live_read(at + i * page),
				 live_byte(i * page, 0));
		CHECK_EQ(bez_inject_undo(token), 0);
	}
	CHECK_EQ(live_wrong(at, len, 0), 0);
	kept = bez_inject_frames_kept();
	CHECK_EQ(corrupted(), before + kept * page / 1024);
}

/* A source may lose pages, too: this one the page that is asked for next. */
static int loses_the_next(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	size_t next = (size_t)offset / page + 1;
	bez_inject_t token = 0;

	(void)arg;
	if (next < PAGES)
		token = lose(next);
	memcpy(dst, live_pages(PAGES) + offset, bytes);
	return bez_inject_forget(token) == (token ? 0 : -ENOENT) ? 0 : -EIO;
}

static void inside_a_source(void)
{
	struct bez_source here = bez_source_callback(loses_the_next, NULL),
			  there = bez_source_deferred(loses_the_next, NULL,
						      30000000000ull);
	int deferred;

	for (deferred = 0; deferred < 2; deferred++) {
		if (!deferred)
			begin();
		at = live_pages(PAGES);
		live_region(at, len, deferred ? &there : &here, "chain");
		bez_inject_forget(lose(0));
		CHECK_EQ(live_wrong(at, len, 0), 0);
		CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED),
			 PAGES * ((uint64_t)deferred + 1));
	}
}

static const uint32_t marker = BEZ_INJECT_UFFD, kernel = BEZ_INJECT_MADV;

#define EACH(what, function)						\
	{ .name = what ", marker", .run = function, .data = &marker },	\
	{ .name = what ", kernel", .run = function, .data = &kernel }

static const struct tap_case cases[] = {
	EACH("from the source", from_the_source),
	EACH("without a source", without_source),
	EACH("nothing is left", nothing_is_left),
	EACH("lost inside a source", inside_a_source),
};
TAP_MAIN(cases)
