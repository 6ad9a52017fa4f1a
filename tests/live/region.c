/* SPDX-License-Identifier: MIT */
/*
 * Regions: where they may lie, what is counted, what ids are worth, and that a
 * removal is over when it says so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

static int add(void *at, size_t len, bez_region_t *ret_region)
{
	struct bez_source from = bez_source_zero();
	struct bez_policy policy = BEZ_POLICY_INIT;

	policy.source = &from;
	return bez_region_add(at, len, &policy, ret_region);
}

static struct bez_region_info info(bez_region_t region)
{
	struct bez_region_info i = { .size = sizeof(i) };

	CHECK_EQ(bez_region_info(region, &i), 0);
	return i;
}

static uint64_t registered(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s.regions;
}

/* Pages 4..7 are taken; every range of pages 0..11 overlaps them or not. */
static void overlaps(void)
{
	size_t page = live_page(), from, to;
	unsigned char *at = live_pages(12);
	bez_region_t taken, other;

	see_start(0);
	CHECK_EQ(add(at + 4 * page, 4 * page, &taken), 0);
	for (from = 0; from < 12; from++) {
		for (to = from + 1; to <= 12; to++) {
			int want = from < 8 && to > 4 ? -EEXIST : 0;

			other = 77;
			CHECK_EQ(add(at + from * page, (to - from) * page,
				     &other), want);
			CHECK((other == 77) == (want != 0));
			CHECK_EQ(registered(), want ? 1 : 2);
			if (!want)
				CHECK_EQ(bez_region_remove(other), 0);
		}
	}
	CHECK_EQ(info(taken).len, 4 * page);
}

/* Without a gap on both sides; each address finds its own. */
static void adjacent(void)
{
	size_t page = live_page(), i;
	unsigned char *at = live_pages(9);
	bez_region_t region[3], found;

	see_start(0);
	for (i = 0; i < 3; i++)
		CHECK_EQ(add(at + 3 * i * page, 3 * page, &region[i]), 0);
	for (i = 0; i < 9 * page; i += page / 2 + 1) {
		CHECK_EQ(bez_region_at(at + i, &found), 0);
		CHECK_EQ(found, region[i / (3 * page)]);
	}
	CHECK_EQ(bez_region_remove(region[1]), 0);
	CHECK_EQ(bez_region_at(at + 3 * page - 1, &found), 0);
	CHECK_EQ(bez_region_at(at + 3 * page, &found), -ENOENT);
	CHECK_EQ(bez_region_at(at + 6 * page - 1, &found), -ENOENT);
	CHECK_EQ(bez_region_at(at + 6 * page, &found), 0);
	CHECK_EQ(bez_region_at(at + 9 * page, &found), -ENOENT);
	CHECK_EQ(bez_region_at(at - 1, &found), -ENOENT);
	CHECK_EQ(bez_region_at(NULL, &found), -ENOENT);
	CHECK_EQ(bez_region_at((void *)-1, &found), -ENOENT);
}

static void names_and_counters(void)
{
	unsigned char *at = live_pages(4), *copy = live_pages(4), byte;
	struct bez_source from = bez_source_mirror(copy);
	char longest[BEZ_NAME_MAX + 1];
	bez_region_t region, none;
	struct bez_region_info i;
	size_t page = live_page();

	see_install();
	see_start(0);
	memset(longest, 'x', BEZ_NAME_MAX);
	longest[BEZ_NAME_MAX] = '\0';
	region = live_region(at, 2 * page, &from, longest);
	none = live_region(at + 2 * page, 2 * page, NULL, NULL);
	memset(longest, 'y', 5);	/* it was copied */
	i = info(region);
	CHECK_EQ(strlen(i.name), BEZ_NAME_MAX);
	CHECK_EQ(i.name[0], 'x');
	CHECK(i.addr == at);
	CHECK_EQ(i.len, 2 * page);
	CHECK_EQ(i.faults | i.replaced | i.not_replaced | i.notices, 0);
	CHECK_EQ(i.last_outcome, BEZ_OUTCOME_NONE);
	CHECK_EQ(info(none).name[0], 0);
	live_poison(at);
	live_poison(at + page);
	CHECK_EQ(live_wrong(at, 2 * page, 0), 0);
	live_poison(at + 2 * page);
	CHECK(see_lost(at + 2 * page, &byte));
	CHECK(see_lost(at + 2 * page, &byte));
	i = info(region);
	CHECK_EQ(i.faults, 2);
	CHECK_EQ(i.replaced, 2);
	CHECK_EQ(i.not_replaced, 0);
	CHECK_EQ(i.last_outcome, BEZ_OUTCOME_REPLACED);
	i = info(none);
	CHECK_EQ(i.faults, 2);
	CHECK_EQ(i.replaced, 0);
	CHECK_EQ(i.not_replaced, 2);
	CHECK_EQ(i.last_outcome, BEZ_OUTCOME_SOURCE_NONE);
}

/* No id comes twice, not even after a stop; old ones name nothing. */
static int by_number(const void *a, const void *b)
{
	bez_region_t x = *(const bez_region_t *)a, y = *(const bez_region_t *)b;

	return x < y ? -1 : x > y;
}

static void ids(void)
{
	enum { COUNT = 6000 };
	static bez_region_t seen[COUNT];
	unsigned char *at = live_pages(4);
	size_t page = live_page(), i;
	struct bez_region_info old = { .size = sizeof(old) };

	for (i = 0; i < COUNT; i++) {
		if (i % 1000 == 0) {
			if (i)
				CHECK_EQ(bez_stop(), 0);
			see_start(BEZ_START_NO_WORKER);
		}
		CHECK_EQ(add(at + i % 4 * page, page, &seen[i]), 0);
		CHECK(seen[i]);
		CHECK_EQ(bez_region_remove(seen[i]), 0);
		CHECK_EQ(bez_region_remove(seen[i]), -ENOENT);
		CHECK_EQ(bez_region_info(seen[i / 2], &old), -ENOENT);
	}
	qsort(seen, COUNT, sizeof(seen[0]), by_number);
	for (i = 1; i < COUNT; i++)
		CHECK(seen[i] != seen[i - 1]);
}

/* ------------------------------------------------- removal while it is used */

static _Atomic int inside, leave;

static int slow(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	inside = 1;
	while (!leave)
		sched_yield();
	memcpy(dst, arg, len);
	return 0;
}

static void *touch(void *arg)
{
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(live_read(arg), live_byte(0, 0));
	return NULL;
}

static _Atomic int removed;

static void *removes(void *arg)
{
	CHECK_EQ(bez_region_remove(*(bez_region_t *)arg), 0);
	removed = 1;
	return NULL;
}

/* It is out of the table at once, and not over while a fault uses it. */
static void removal_waits(void)
{
	unsigned char *at = live_pages(1), *copy = live_pages(1);
	struct bez_source from = bez_source_callback(slow, copy);
	struct bez_region_info i = { .size = sizeof(i) };
	pthread_t thread[2];
	bez_region_t region, found;
	double until;

	see_start(0);
	region = live_region(at, live_page(), &from, "removed in use");
	live_poison(at);
	CHECK_EQ(pthread_create(&thread[0], NULL, touch, at), 0);
	while (!inside)
		sched_yield();
	CHECK_EQ(pthread_create(&thread[1], NULL, removes, &region), 0);
	while (!bez_region_at(at, &found))
		sched_yield();
	CHECK_EQ(bez_region_info(region, &i), -ENOENT);
	for (until = see_seconds() + 0.3; see_seconds() < until;)
		CHECK(!removed);
	CHECK_EQ(bez_stop(), -EBUSY);
	leave = 1;
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	CHECK(removed);
	CHECK_EQ(registered(), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* The thread that waits for another's repair lives on if the region goes
 * meanwhile: its page has come back all the same. */
static void removal_under_a_waiter(void)
{
	unsigned char *at = live_pages(1), *copy = live_pages(1);
	struct bez_source from = bez_source_callback(slow, copy);
	struct bez_status s = { .size = sizeof(s) };
	pthread_t thread[3];
	bez_region_t region, found;

	see_start(0);
	region = live_region(at, live_page(), &from, "removed, awaited");
	live_poison(at);
	CHECK_EQ(pthread_create(&thread[0], NULL, touch, at), 0);
	while (!inside)
		sched_yield();
	CHECK_EQ(pthread_create(&thread[1], NULL, touch, at), 0);
	do
		CHECK_EQ(bez_status(&s), 0);
	while (s.faults < 2);
	CHECK_EQ(pthread_create(&thread[2], NULL, removes, &region), 0);
	while (!bez_region_at(at, &found))
		sched_yield();
	leave = 1;
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	pthread_join(thread[2], NULL);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
}

/*
 * A mirror may be unmapped as soon as its region has gone. Some threads lose
 * and read pages of regions that come and go, and stay.
 */
#define LANES	3
#define TURNS	400

/* It may be lost as often and as fast as we like. */
static bez_region_t add_lasting(void *at, size_t len,
				const struct bez_source *from)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region = 0;

	policy.source = from;
	policy.max_repeats = 1000000;
	CHECK_EQ(bez_region_add(at, len, &policy, &region), 0);
	return region;
}

static unsigned char *stays_at;
static _Atomic int done;

static void *comes_and_goes(void *arg)
{
	size_t page = live_page(), len = 2 * page;
	unsigned char *at = arg;
	int turn;

	CHECK_EQ(bez_thread_attach(), 0);
	for (turn = 0; turn < TURNS; turn++) {
		unsigned char *copy = live_pages(2);
		struct bez_source from = bez_source_mirror(copy);
		bez_region_t region = add_lasting(at, len, &from);

		if (turn % 8 == 0) {
			live_poison(at + page);
			CHECK_EQ(see_wrong(at, page, len, 0), 0);
		}
		CHECK_EQ(bez_region_remove(region), 0);
		CHECK_EQ(munmap(copy, len), 0);
	}
	done++;
	return NULL;
}

static void *looks_up(void *arg)
{
	bez_region_t found;

	while (done < LANES) {
		CHECK_EQ(bez_region_at(stays_at, &found), 0);
		CHECK_EQ(found, *(bez_region_t *)arg);
	}
	return NULL;
}

static void coming_and_going(void)
{
	unsigned char *at = live_pages(2 * LANES), *copy = live_pages(2);
	struct bez_source from = bez_source_mirror(copy);
	pthread_t thread[LANES + 1];
	size_t page = live_page(), i;
	bez_region_t stays;

	stays_at = live_pages(2);
	see_start(0);
	stays = add_lasting(stays_at, 2 * page, &from);
	live_poison(stays_at);		/* opens what all of them use */
	for (i = 0; i < LANES; i++) {
		live_fill(at + 2 * i * page, 2 * page, 0);
		CHECK_EQ(pthread_create(&thread[i], NULL, comes_and_goes,
					at + 2 * i * page), 0);
	}
	CHECK_EQ(pthread_create(&thread[LANES], NULL, looks_up, &stays), 0);
	while (done < LANES) {
		live_poison(stays_at);
		CHECK_EQ(live_wrong(stays_at, 2 * page, 0), 0);
	}
	for (i = 0; i <= LANES; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(registered(), 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 0);
}

#define CASE(what, function) { .name = what, .run = function }

static const struct tap_case cases[] = {
	CASE("overlap", overlaps),
	CASE("adjacent", adjacent),
	CASE("names and counters", names_and_counters),
	CASE("ids", ids),
	CASE("removal waits", removal_waits),
	CASE("removal under a waiter", removal_under_a_waiter),
	CASE("coming and going", coming_and_going),
};
TAP_MAIN(cases)
