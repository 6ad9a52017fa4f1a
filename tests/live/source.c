/* SPDX-License-Identifier: MIT */
/*
 * Each source, what happens when it fails, and the order of several. The
 * sources that run on the worker are in source_defer.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES 8

static unsigned char *at;		/* the region, filled with seed 0 */
static size_t page, len;

static void region_of(const struct bez_source *from, const uint64_t *digests)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	page = live_page();
	len = PAGES * page;
	see_install();
	see_start(0);
	at = live_pages(PAGES);
	policy.name = "the region's own name";
	policy.source = from;
	policy.digests = digests;
	CHECK_EQ(bez_region_add(at, len, &policy, &region), 0);
}

/* Page @n of the region is lost and comes back as page @n of @seed. */
static void comes_back(size_t n, unsigned int seed, uint16_t kind)
{
	unsigned char byte;
	struct bez_event e;

	live_poison(at + n * page);
	if (see_lost(at + n * page + 11, &byte)) {
		e = see_event(at + n * page);
		CHECKF(0, "page %zu is lost: %s", n, bez_outcome_name(e.why));
	}
	CHECK_EQ(see_wrong(at, n * page, (n + 1) * page, seed), 0);
	e = see_event(at + n * page);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(e.source, kind);
}

static void stays_lost(size_t n, enum bez_outcome why)
{
	live_poison(at + n * page);
	see_refused(at + n * page + 11, why);
}

/* ------------------------------------------------------------ zero, mirror */

static void zero(void)
{
	struct bez_source from = bez_source_zero();
	size_t i, others = 0;

	region_of(&from, NULL);
	live_poison(at + page);
	for (i = page; i < 2 * page; i++)
		others += !!live_read(at + i);
	CHECK_EQ(others, 0);
	CHECK_EQ(see_event(at + page).source, BEZ_SOURCE_ZERO);
	CHECK_EQ(live_wrong(at, page, 0), 0);
}

static void none(void)
{
	region_of(NULL, NULL);
	stays_lost(3, BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ(live_wrong(at, 3 * page, 0), 0);
}

static void none_dies(void)
{
	unsigned char *pages = live_pages(PAGES);

	see_start(0);
	live_region(pages, PAGES * live_page(), NULL, "without a source");
	live_poison(pages);
	live_read(pages);
}

static void default_dies(void)
{
	struct bez_source from;
	unsigned char *pages = live_pages(PAGES), *copy = live_pages(PAGES);
	uint64_t digests[PAGES] = { 0 };
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	from = bez_source_mirror(copy);
	policy.source = &from;
	policy.digests = digests;	/* match nothing */
	see_start(0);
	CHECK_EQ(bez_region_add(pages, PAGES * live_page(), &policy, &region),
		 0);
	live_poison(pages);
	live_read(pages);
}

static void event_fields(void)
{
	struct bez_source from;
	struct bez_event e;
	bez_region_t region;

	page = live_page();
	from = bez_source_mirror(live_pages(PAGES));
	region_of(&from, NULL);
	CHECK_EQ(bez_region_at(at, &region), 0);
	comes_back(2, 0, BEZ_SOURCE_MIRROR);
	e = see_event(at + 2 * page);
	CHECK(!strcmp(e.name, "the region's own name"));
	CHECK_EQ(e.region, region);
	CHECK_EQ(e.width, page);
	CHECK_EQ(e.tid, getpid());
	CHECK_EQ(e.si_code, live_code());
	CHECK_EQ(e.cause, live_code() == BUS_ADRERR ? BEZ_CAUSE_ADRERR :
						      BEZ_CAUSE_POISON_AR);
	CHECK_EQ(e.action, BEZ_ACTION_REPLACE);
	CHECK_EQ(e.why, BEZ_OUTCOME_NONE);
	CHECK_EQ(e.depth, 1);
	CHECK(e.took_ns && e.took_ns < 60000000000u);
}

/* -------------------------------------------------------------------- file */

static int file_of(size_t skip, size_t bytes, unsigned int seed)
{
	char name[] = "/tmp/bezoar-source-XXXXXX";
	unsigned char *buf = calloc(1, skip + bytes);
	int fd = mkstemp(name);

	CHECK(fd >= 0 && buf);
	unlink(name);
	live_fill(buf + skip, bytes, seed);
	CHECK_EQ(write(fd, buf, skip + bytes), skip + bytes);
	free(buf);
	return fd;
}

static void file(void)
{
	struct bez_source from = bez_source_file(
		file_of(0, PAGES * live_page(), 0), 0);

	region_of(&from, NULL);
	comes_back(0, 0, BEZ_SOURCE_FILE);
	comes_back(PAGES - 1, 0, BEZ_SOURCE_FILE);
}

static void file_at_offset(void)
{
	size_t skip = 3 * live_page();
	struct bez_source from = bez_source_file(
		file_of(skip, PAGES * live_page(), 0), skip);

	region_of(&from, NULL);
	comes_back(1, 0, BEZ_SOURCE_FILE);
	/* and leaves the file's position to the program */
	CHECK_EQ(lseek(from.fd, 0, SEEK_CUR), skip + len);
}

static void file_too_short(void)
{
	struct bez_source from = bez_source_file(
		file_of(0, (PAGES - 1) * live_page() + 100, 0), 0);

	region_of(&from, NULL);
	comes_back(PAGES - 2, 0, BEZ_SOURCE_FILE);
	stays_lost(PAGES - 1, BEZ_OUTCOME_SOURCE_FAILED);
}

static void file_zeros_at_end(void)
{
	struct bez_source from = bez_source_file(
		file_of(0, (PAGES - 2) * live_page() + 100, 0), 0);
	size_t i, wrong = 0, end;

	from.flags = BEZ_SOURCE_EOF_ZERO;
	region_of(&from, NULL);
	end = (PAGES - 2) * page + 100;
	live_poison(at + (PAGES - 2) * page);
	live_poison(at + (PAGES - 1) * page);
	for (i = (PAGES - 2) * page; i < len; i++)
		wrong += live_read(at + i) != (i < end ? live_byte(i, 0) : 0);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 2);
}

static void file_truncated(void)
{
	struct bez_source from = bez_source_file(
		file_of(0, PAGES * live_page(), 0), 0);

	region_of(&from, NULL);
	comes_back(5, 0, BEZ_SOURCE_FILE);
	CHECK_EQ(ftruncate(from.fd, (off_t)(5 * page + 10)), 0);
	stays_lost(5, BEZ_OUTCOME_SOURCE_FAILED);
	comes_back(4, 0, BEZ_SOURCE_FILE);
}

static void file_closed(void)
{
	struct bez_source from = bez_source_file(
		file_of(0, PAGES * live_page(), 0), 0);

	region_of(&from, NULL);
	close(from.fd);
	stays_lost(5, BEZ_OUTCOME_SOURCE_FAILED);
}

/* The number is open again and stands for another file, with other bytes. */
static void file_number_reused(void)
{
	struct bez_source from = bez_source_file(
		file_of(0, PAGES * live_page(), 0), 0);
	int other = file_of(0, PAGES * live_page(), 9);

	region_of(&from, NULL);
	CHECK_EQ(dup2(other, from.fd), from.fd);
	stays_lost(5, BEZ_OUTCOME_SOURCE_FAILED);
}

static void file_write_only(void)
{
	char name[] = "/tmp/bezoar-source-XXXXXX";
	int fd = mkstemp(name);
	struct bez_source from = bez_source_file(open(name, O_WRONLY), 0);

	unlink(name);
	CHECK(fd >= 0 && from.fd >= 0);
	region_of(&from, NULL);
	stays_lost(0, BEZ_OUTCOME_SOURCE_FAILED);
}

/* ---------------------------------------------------------------- callback */

struct calls {
	_Atomic int count;
	size_t len;
	uint64_t offset;
	unsigned int seed;
	int ret;
};

static int fill(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	struct calls *c = arg;
	unsigned char *to = dst;
	size_t i;

	c->count++;
	c->len = bytes;
	c->offset = offset;
	for (i = 0; i < (c->ret ? bytes / 2 : bytes); i++)
		to[i] = live_byte((size_t)offset + i, c->seed);
	errno = EDOM;			/* not to be seen outside */
	return c->ret;
}

static void callback(void)
{
	struct calls calls = { 0 };
	struct bez_source from = bez_source_callback(fill, &calls);

	region_of(&from, NULL);
	comes_back(6, 0, BEZ_SOURCE_CALLBACK);
	CHECK_EQ(calls.count, 1);
	CHECK_EQ(calls.len, page);
	CHECK_EQ(calls.offset, 6 * page);
	live_poison(at);
	errno = ENOTTY;
	CHECK(live_read(at));
	CHECK_EQ(errno, ENOTTY);
}

/* Any number but 0 is a failure, whatever it would mean elsewhere. */
static void callback_fails(void)
{
	static const int ret[] = { -EIO, 1, -EBADMSG, -ETIMEDOUT, -EBUSY };
	struct calls calls = { 0 };
	struct bez_source from = bez_source_callback(fill, &calls);
	size_t i;

	region_of(&from, NULL);
	for (i = 0; i < sizeof(ret) / sizeof(ret[0]); i++) {
		calls.ret = ret[i];
		stays_lost(i, BEZ_OUTCOME_SOURCE_FAILED);
	}
}

/* What a failed source wrote is not mixed into the next one's. */
static void half_is_nothing(void)
{
	struct calls bad = { .ret = -EIO, .seed = 7 };
	struct bez_source list[2] = { bez_source_callback(fill, &bad) }, from;

	list[1] = bez_source_file(file_of(0, 3 * live_page() + 9, 0), 0);
	list[1].flags = BEZ_SOURCE_EOF_ZERO;
	from = bez_source_first_of(list, 2);
	region_of(&from, NULL);
	comes_back(1, 0, BEZ_SOURCE_FILE);
	CHECK_EQ(bad.count, 1);
	live_poison(at + 3 * page);
	CHECK_EQ(live_read(at + 3 * page + 8), live_byte(3 * page + 8, 0));
	CHECK_EQ(live_read(at + 3 * page + 9), 0);
}

/* ------------------------------------------------------------ several, digests */

static void in_order(void)
{
	struct calls first = { .ret = -EIO }, second = { 0 }, third = { 0 };
	struct bez_source list[3], from = bez_source_first_of(list, 3);

	list[0] = bez_source_callback(fill, &first);
	list[1] = bez_source_callback(fill, &second);
	list[2] = bez_source_callback(fill, &third);
	region_of(&from, NULL);
	memset(list, 0xff, sizeof(list));	/* it was copied */
	comes_back(0, 0, BEZ_SOURCE_CALLBACK);
	CHECK_EQ(first.count, 1);
	CHECK_EQ(second.count, 1);
	CHECK_EQ(third.count, 0);
	first.ret = 0;
	comes_back(1, 0, BEZ_SOURCE_CALLBACK);
	CHECK_EQ(first.count, 2);
	CHECK_EQ(second.count, 1);
	first.ret = second.ret = third.ret = -1;
	stays_lost(2, BEZ_OUTCOME_SOURCE_FAILED);
	CHECK_EQ(third.count, 2);	/* see_refused() touches twice */
}

static void longest_list(void)
{
	struct calls bad = { .ret = -EIO };
	struct bez_source list[4], from = bez_source_first_of(list, 4);
	int closed = file_of(0, live_page(), 0);

	list[0] = bez_source_callback(fill, &bad);
	list[1] = bez_source_file(closed, 0);
	list[2] = bez_source_file(file_of(0, 10, 0), 0);
	list[3] = bez_source_mirror(live_pages(PAGES));
	region_of(&from, NULL);
	close(closed);
	comes_back(0, 0, BEZ_SOURCE_MIRROR);
	comes_back(7, 0, BEZ_SOURCE_MIRROR);
	CHECK_EQ(bad.count, 2);
}

static void take_digests(uint64_t *digests, unsigned int seed)
{
	unsigned char *copy = live_pages(PAGES);
	size_t i;

	live_fill(copy, PAGES * live_page(), seed);
	for (i = 0; i < PAGES; i++)
		digests[i] = bez_digest(copy + i * live_page(), live_page());
}

static void digest_matches(void)
{
	static uint64_t digests[PAGES];
	struct bez_source from;

	page = live_page();
	take_digests(digests, 0);
	from = bez_source_mirror(live_pages(PAGES));
	region_of(&from, digests);
	comes_back(0, 0, BEZ_SOURCE_MIRROR);
	comes_back(7, 0, BEZ_SOURCE_MIRROR);
}

/* The first source is older than the digests: the next one is asked. */
static void digest_picks(void)
{
	static uint64_t digests[PAGES];
	unsigned char *old = live_pages(PAGES);
	struct bez_source list[2], from = bez_source_first_of(list, 2);

	take_digests(digests, 0);
	old[2 * live_page() + 5] ^= 1;
	list[0] = bez_source_mirror(old);
	list[1] = bez_source_file(file_of(0, PAGES * live_page(), 0), 0);
	region_of(&from, digests);
	comes_back(2, 0, BEZ_SOURCE_FILE);
	comes_back(3, 0, BEZ_SOURCE_MIRROR);
}

/* No source has what was lost: nothing is put there, not even nearly right. */
static void digest_refuses(void)
{
	static uint64_t digests[PAGES];
	unsigned char *old = live_pages(PAGES);
	struct bez_source list[3], from = bez_source_first_of(list, 3);

	take_digests(digests, 0);
	old[2 * live_page() + 5] ^= 1;
	list[0] = bez_source_mirror(old);
	list[1] = bez_source_zero();
	list[2] = bez_source_file(file_of(0, PAGES * live_page(), 6), 0);
	region_of(&from, digests);
	stays_lost(2, BEZ_OUTCOME_SOURCE_DIGEST);
	digests[2] = bez_digest(old + 2 * page, page);
	CHECK_EQ(live_read(at + 2 * page + 5), live_byte(2 * page + 5, 0) ^ 1);
}

#define CASE(what, function) { .name = what, .run = function }

static const struct tap_case cases[] = {
	CASE("zero", zero),
	CASE("none", none),
	{ .name = "none, dies", .run = none_dies, .want_signal = SIGBUS },
	{ .name = "no digest matches, dies", .run = default_dies,
	  .want_signal = SIGBUS },
	CASE("event", event_fields),
	CASE("file", file),
	CASE("file at an offset", file_at_offset),
	CASE("file too short", file_too_short),
	CASE("file, zeros at its end", file_zeros_at_end),
	CASE("file truncated meanwhile", file_truncated),
	CASE("file closed", file_closed),
	CASE("file number reused", file_number_reused),
	CASE("file for writing only", file_write_only),
	CASE("callback", callback),
	CASE("callback fails", callback_fails),
	CASE("half a source is nothing", half_is_nothing),
	CASE("first of, in order", in_order),
	CASE("first of, four", longest_list),
	CASE("digest matches", digest_matches),
	CASE("digest picks the source", digest_picks),
	CASE("digest refuses all", digest_refuses),
};
TAP_MAIN(cases)
