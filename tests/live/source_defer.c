/* SPDX-License-Identifier: MIT */
/*
 * Sources that run on the worker: in normal context, against a deadline. What
 * they do wrong costs them their turn, and nothing else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES		8
#define ROUNDS		10			/* fewer than max_repeats */
#define SOON		100000000ull		/* 0.1 s */
#define PLENTY		30000000000ull		/* no machine is that slow */

static unsigned char *at;
static size_t page, len;

static struct {
	_Atomic int calls;
	_Atomic int tid;
	_Atomic int go;			/* what waits may go on */
	_Atomic int left;		/* and has */
	pthread_mutex_t lock;
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int good(void *dst, size_t bytes, uint64_t offset)
{
	unsigned char *to = dst;
	size_t i;

	for (i = 0; i < bytes; i++)
		to[i] = live_byte((size_t)offset + i, 0);
	return 0;
}

/* Normal context: it may allocate, print and lock. */
static int ordinary(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	char *line = NULL;

	(void)arg;
	seen.calls++;
	seen.tid = (int)syscall(SYS_gettid);
	if (asprintf(&line, "offset %llu", (unsigned long long)offset) < 0)
		return -ENOMEM;
	free(line);
	pthread_mutex_lock(&seen.lock);
	pthread_mutex_unlock(&seen.lock);
	return good(dst, bytes, offset);
}

static int fails(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)offset;
	memset(dst, 0xee, bytes);
	seen.calls++;
	return *(int *)arg;
}

/* Wrong bytes, after the test says so. */
static int waits(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	seen.calls++;
	while (!seen.go)
		usleep(1000);
	memset(dst, 0xee, bytes);
	seen.left = 1;
	return 0;
}

static void region_of(uint32_t flags, const struct bez_source *from)
{
	page = live_page();
	len = PAGES * page;
	see_install();
	see_start(flags);
	at = live_pages(PAGES);
	live_region(at, len, from, "deferred");
}

static void comes_back(size_t n, uint16_t kind)
{
	unsigned char byte;

	live_poison(at + n * page);
	if (see_lost(at + n * page, &byte))
		CHECKF(0, "page %zu is lost: %s", n,
		       bez_outcome_name(see_event(at + n * page).why));
	CHECK_EQ(see_wrong(at, n * page, (n + 1) * page, 0), 0);
	CHECK_EQ(see_event(at + n * page).source, kind);
}

static void on_the_worker(void)
{
	struct bez_source from = bez_source_deferred(ordinary, NULL, PLENTY);
	struct bez_status status = { .size = sizeof(status) };
	size_t i;

	region_of(0, &from);
	CHECK_EQ(bez_status(&status), 0);
	CHECK(status.worker_tid);
	for (i = 0; i < PAGES; i++)
		comes_back(i, BEZ_SOURCE_DEFERRED);
	CHECK_EQ(seen.calls, PAGES);
	CHECK_EQ(seen.tid, status.worker_tid);
	CHECK(seen.tid != getpid());
}

static void failing(void)
{
	static int ret[] = { -EIO, -EBADMSG, -ETIMEDOUT, -EBUSY, 1 };
	struct bez_source from;
	int now;
	size_t i;

	from = bez_source_deferred(fails, &now, PLENTY);
	region_of(0, &from);
	for (i = 0; i < sizeof(ret) / sizeof(ret[0]); i++) {
		now = ret[i];
		live_poison(at + i * page);
		see_refused(at + i * page, BEZ_OUTCOME_SOURCE_FAILED);
	}
}

/*
 * The callback does not come back for a while: its turn is over at the
 * deadline, the next source delivers. When it does come back, its bytes land
 * nowhere, and the worker is free again.
 */
static void too_late(void)
{
	struct bez_source list[2], from = bez_source_first_of(list, 2);
	double began;

	list[0] = bez_source_deferred(waits, NULL, SOON);
	list[1] = bez_source_mirror(live_pages(PAGES));
	region_of(0, &from);
	/* a busy worker may not have begun by then: once more */
	do {
		began = see_seconds();
		comes_back(1, BEZ_SOURCE_MIRROR);
		CHECK(see_seconds() - began >= 0.09);
	} while (!seen.calls);
	/* and while it hangs */
	comes_back(2, BEZ_SOURCE_MIRROR);
	comes_back(3, BEZ_SOURCE_MIRROR);
	CHECK_EQ(seen.calls, 1);
	seen.go = 1;
	while (!seen.left)
		usleep(1000);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

static void too_late_alone(void)
{
	struct bez_source from = bez_source_deferred(waits, NULL, SOON);
	unsigned char byte;

	region_of(0, &from);
	live_poison(at);
	do {
		CHECK(see_lost(at, &byte));
		CHECK_EQ(see_event(at).why, BEZ_OUTCOME_SOURCE_DEADLINE);
	} while (!seen.calls);
	seen.go = 1;
	while (!seen.left)
		usleep(1000);
	CHECK_EQ(see_wrong(at, page, len, 0), 0);
}

/* Late, then in time: the bytes of the late answer are not taken for the
 * next one's. */
static int first_late(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	if (!seen.calls)
		return waits(dst, bytes, offset, arg);
	seen.calls++;
	return good(dst, bytes, offset);
}

static void recovers(void)
{
	struct bez_source list[2], from = bez_source_first_of(list, 2);
	unsigned char byte;

	list[0] = bez_source_deferred(first_late, NULL, SOON);
	list[1] = bez_source_mirror(live_pages(PAGES));
	region_of(0, &from);
	do
		comes_back(0, BEZ_SOURCE_MIRROR);
	while (!seen.calls);
	seen.go = 1;
	while (!seen.left)
		usleep(1000);
	/* the worker may still be on its way out of the former request */
	do {
		live_poison(at + 5 * page);
		CHECK(!see_lost(at + 5 * page, &byte));
		CHECK_EQ(byte, live_byte(5 * page, 0));
	} while (see_event(at + 5 * page).source != BEZ_SOURCE_DEFERRED);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

static void no_worker(void)
{
	struct bez_source list[2], from = bez_source_deferred(ordinary, NULL,
							      PLENTY);

	list[0] = from;
	list[1] = bez_source_mirror(live_pages(PAGES));
	region_of(BEZ_START_NO_WORKER, &from);
	live_poison(at + page);
	see_refused(at + page, BEZ_OUTCOME_SOURCE_WORKER);
	CHECK_EQ(seen.calls, 0);
	from = bez_source_first_of(list, 2);
	at = live_pages(PAGES);
	live_region(at, len, &from, "second choice");
	comes_back(1, BEZ_SOURCE_MIRROR);
}

/* The callback needs a lock that the faulting thread holds. */
static int locks(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)arg;
	seen.calls++;
	pthread_mutex_lock(&seen.lock);
	pthread_mutex_unlock(&seen.lock);
	seen.left = 1;
	return good(dst, bytes, offset);
}

static void needs_our_lock(void)
{
	struct bez_source list[2], from = bez_source_first_of(list, 2);

	list[0] = bez_source_deferred(locks, NULL, SOON);
	list[1] = bez_source_mirror(live_pages(PAGES));
	region_of(0, &from);
	pthread_mutex_lock(&seen.lock);
	do
		comes_back(1, BEZ_SOURCE_MIRROR);
	while (!seen.calls);
	CHECK_EQ(seen.calls, 1);
	CHECK(!seen.left);
	pthread_mutex_unlock(&seen.lock);
	while (!seen.left)
		usleep(1000);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

/* More at once than there are workers: they queue, and all come back. */
static void *touch(void *arg)
{
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(live_read(arg), live_byte((size_t)((unsigned char *)arg - at),
					   0));
	return NULL;
}

static void many_at_once(void)
{
	struct bez_source from = bez_source_deferred(ordinary, NULL, PLENTY);
	pthread_t thread[PAGES];
	int round, i;

	region_of(0, &from);
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < PAGES; i++)
			live_poison(at + (size_t)i * page);
		for (i = 0; i < PAGES; i++)
			CHECK_EQ(pthread_create(&thread[i], NULL, touch,
						at + (size_t)i * page), 0);
		for (i = 0; i < PAGES; i++)
			pthread_join(thread[i], NULL);
		CHECK_EQ(live_wrong(at, len, 0), 0);
	}
	CHECK_EQ(seen.calls, ROUNDS * PAGES);
}

static void digests(void)
{
	static uint64_t digest[PAGES];
	int zero = 0;
	struct bez_source list[2] = {
		bez_source_deferred(fails, &zero, PLENTY),	/* says 0 */
		bez_source_deferred(ordinary, NULL, PLENTY),
	}, from = bez_source_first_of(list, 2);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	size_t i;

	page = live_page();
	len = PAGES * page;
	at = live_pages(PAGES);
	for (i = 0; i < PAGES; i++)
		digest[i] = bez_digest(at + i * page, page);
	see_start(0);
	policy.source = &from;
	policy.digests = digest;
	CHECK_EQ(bez_region_add(at, len, &policy, &region), 0);
	live_poison(at + 4 * page);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(seen.calls, 2);
}

#define CASE(what, function) { .name = what, .run = function }

static const struct tap_case cases[] = {
	CASE("on the worker", on_the_worker),
	CASE("failing", failing),
	CASE("too late, next source", too_late),
	CASE("too late, alone", too_late_alone),
	CASE("late once, then in time", recovers),
	CASE("no worker", no_worker),
	CASE("needs a lock of the faulting thread", needs_our_lock),
	CASE("many at once", many_at_once),
	CASE("digests", digests),
};
TAP_MAIN(cases)
