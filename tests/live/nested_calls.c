/* SPDX-License-Identifier: MIT */
/*
 * Callbacks that fault, in the handler and on the worker, that hang, or that
 * need what they repair: the ladder goes on without them.
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
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES		4
#define PATIENCE	200000000ull	/* claim_wait_ns */
#define PLENTY		30000000000ull
#define SOON		2000000000ull

static size_t page, len;
static _Atomic int calls, came_through, stays;

static void begin_with(uint64_t patience)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	page = live_page();
	len = PAGES * page;
	see_install();
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.claim_wait_ns = patience;
	CHECK_EQ(bez_start(&options), 0);
}

static void begin(void)
{
	begin_with(PATIENCE);
}

static unsigned char *region(const struct bez_source *first,
			     const struct bez_source *second)
{
	unsigned char *at = live_pages(PAGES);
	struct bez_source list[2], from;

	list[0] = *first;
	if (second)
		list[1] = *second;
	from = bez_source_first_of(list, second ? 2 : 1);
	live_region(at, len, &from, "called");
	return at;
}

static void fill(void *dst, size_t bytes, uint64_t offset)
{
	unsigned char *to = dst;
	size_t i;

	for (i = 0; i < bytes; i++)
		to[i] = live_byte((size_t)offset + i, 0);
}

/* Reads what @arg points to first. */
static int reads(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	calls++;
	memset(dst, 0xee, bytes);
	live_read(arg);
	came_through++;
	fill(dst, bytes, offset);
	return 0;
}

static struct bez_source reader_of(void *data)
{
	const uint32_t *kind = tap_data();

	return *kind == BEZ_SOURCE_DEFERRED ?
	       bez_source_deferred(reads, data, PLENTY) :
	       bez_source_callback(reads, data);
}

/* Its data are lost and in no region: its turn is over, each time. */
static void data_lost(void)
{
	unsigned char *data = live_pages(1), *at, *alone;
	struct bez_source from = reader_of(data), spare;
	size_t i;

	begin();
	spare = bez_source_mirror(live_pages(PAGES));
	at = region(&from, &spare);
	alone = region(&from, NULL);
	live_poison(data);
	for (i = 0; i < PAGES; i++) {
		live_poison(at + i * page);
		CHECK_EQ(live_wrong(at, len, 0), 0);
		CHECK_EQ(see_event(at + i * page).source, BEZ_SOURCE_MIRROR);
	}
	live_poison(alone);
	see_refused(alone, BEZ_OUTCOME_SOURCE_LOST);
	CHECK_EQ(calls, PAGES + 2);
	CHECK_EQ(came_through, 0);
	/* and who runs it is none the worse when the data are back */
	CHECK(mmap(data, page, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		   MAP_ANONYMOUS | MAP_FIXED, -1, 0) == data);
	CHECK_EQ(live_wrong(alone, len, 0), 0);
	CHECK_EQ(came_through, 1);
}

/* Its data are a region with a source that works: it notices nothing. */
static void data_come_back(void)
{
	unsigned char *data = live_pages(1), *at;
	struct bez_source from = reader_of(data), mirror;

	begin();
	mirror = bez_source_mirror(live_pages(1));
	live_region(data, page, &mirror, "its data");
	at = region(&from, NULL);
	live_poison(data);
	live_poison(at + page);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(live_wrong(data, page, 0), 0);
	CHECK_EQ(came_through, 1);
	CHECK_EQ(see_event(data).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(see_event(at + page).source, *(const uint32_t *)tap_data());
}

/*
 * In the handler it meets its own claim and fails at once. The worker is
 * another thread, and waits for that claim until its own turn is over, longer
 * than anybody else would; what it has to say then is too late.
 */
static void needs_the_page_itself(void)
{
	unsigned char *at = live_pages(PAGES);
	struct bez_source list[2], from = bez_source_first_of(list, 2);
	uint64_t rounds = 0;
	double began;

	begin_with(SOON / 4 * 3);	/* once more, it is over at 3/2 */
	list[0] = reader_of(at);
	list[0].deadline_ns = SOON;
	list[1] = bez_source_mirror(live_pages(PAGES));
	live_region(at, len, &from, "needs itself");
	do {		/* a busy worker may not have begun by then: once more */
		live_poison(at);
		began = see_seconds();
		CHECK_EQ(live_wrong(at, len, 0), 0);
		CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), ++rounds);
	} while (!calls);
	if (*(const uint32_t *)tap_data() == BEZ_SOURCE_CALLBACK) {
		CHECK_EQ(came_through, 0);
		CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEFAULT), 1);
		return;
	}
	CHECK((see_seconds() - began) * 1e9 >= SOON);
	while (!came_through && !bez_outcome_count(BEZ_OUTCOME_DEFAULT))
		sched_yield();
	CHECK_EQ(came_through, 1);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

/* ------------------------------------------- the worker, in a fault of its own */

/* What the worker needs can only come from the worker. */
static void worker_needs_the_worker(void)
{
	static const uint32_t kind = BEZ_SOURCE_DEFERRED;
	unsigned char *data, *more, *at;
	struct bez_source from, spare;

	begin();
	CHECK_EQ(kind, *(const uint32_t *)tap_data());
	more = live_pages(1);
	from = reader_of(more);
	data = region(&from, NULL);
	from = reader_of(data);
	spare = bez_source_mirror(live_pages(PAGES));
	at = region(&from, &spare);
	live_poison(data);
	live_poison(at);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(see_event(at).source, BEZ_SOURCE_MIRROR);
	CHECK_EQ(see_event(data).why, BEZ_OUTCOME_SOURCE_WORKER);
	/* for somebody else it does */
	CHECK_EQ(live_wrong(data, len, 0), 0);
}

/* ----------------------------------------------------------------- hangs */

static int hangs(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)arg;
	calls++;
	while (!stays)
		usleep(1000);
	fill(dst, bytes, offset);
	return 0;
}

static void *touches(void *arg)
{
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(live_read(arg), live_byte(0, 0));
	return NULL;
}

/* In the handler nothing can end it; but who waits for the page has his own
 * patience, three times, and then climbs. */
static void others_do_not_wait_for_ever(void)
{
	struct bez_source from = bez_source_callback(hangs, NULL);
	unsigned char *at, byte;
	pthread_t thread;
	double start;

	begin();
	at = region(&from, NULL);
	live_poison(at);
	CHECK_EQ(pthread_create(&thread, NULL, touches, at), 0);
	while (!calls)
		sched_yield();
	start = see_seconds();
	CHECK(see_lost(at + 9, &byte));
	CHECK_EQ(see_event(at).why, BEZ_OUTCOME_CLAIM_TIMEOUT);
	CHECK(see_seconds() - start >= 2.9 * PATIENCE / 1e9);
	CHECK(see_seconds() - start < 100 * PATIENCE / 1e9);
	stays = 1;
	pthread_join(thread, NULL);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
}

static void others_die_of_it(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_source from = bez_source_callback(hangs, NULL);
	unsigned char *at;
	pthread_t thread;

	page = live_page();
	len = PAGES * page;
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.claim_wait_ns = PATIENCE;
	CHECK_EQ(bez_start(&options), 0);
	at = region(&from, NULL);
	live_poison(at);
	CHECK_EQ(pthread_create(&thread, NULL, touches, at), 0);
	while (!calls)
		sched_yield();
	live_read(at);
}

/* A removal waits ten seconds for it and says so; then it may be repeated. */
static void removal_gives_up(void)
{
	struct bez_source from = bez_source_callback(hangs, NULL);
	bez_region_t id, found;
	unsigned char *at;
	pthread_t thread;

	begin();
	at = region(&from, NULL);
	CHECK_EQ(bez_region_at(at, &id), 0);
	live_poison(at);
	CHECK_EQ(pthread_create(&thread, NULL, touches, at), 0);
	while (!calls)
		sched_yield();
	CHECK_EQ(bez_region_remove(id), -EBUSY);
	CHECK_EQ(bez_region_at(at, &found), -ENOENT);
	stays = 1;
	pthread_join(thread, NULL);
	CHECK_EQ(bez_region_remove(id), 0);
	CHECK_EQ(bez_region_remove(id), -ENOENT);
}

/* ------------------------------------------------------ calls that are refused */

static struct {
	int start, stop, attach, detach, add, remove, info;
	int at, status, events;
} got;

static unsigned char *elsewhere;

static int calls_everything(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	struct bez_region_info info = { .size = sizeof(info) };
	struct bez_status status = { .size = sizeof(status) };
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_event event;
	bez_region_t region;
	uint64_t seq = 0;

	got.start = bez_start(NULL);
	got.stop = bez_stop();
	got.attach = bez_thread_attach();
	got.detach = bez_thread_detach();
	got.add = bez_region_add(elsewhere, page, &policy, &region);
	got.remove = bez_region_remove(*(bez_region_t *)arg);
	got.info = bez_region_info(*(bez_region_t *)arg, &info);
	got.at = bez_region_at(elsewhere + page, &region);
	got.status = bez_status(&status);
	got.events = bez_events(&seq, &event, 1);
	calls++;
	fill(dst, bytes, offset);
	return 0;
}

static void calls_from_a_source(void)
{
	static bez_region_t other;
	struct bez_status before = { .size = sizeof(before) }, after = before;
	struct bez_source from = *(const uint32_t *)tap_data() ==
				 BEZ_SOURCE_DEFERRED ?
		bez_source_deferred(calls_everything, &other, PLENTY) :
		bez_source_callback(calls_everything, &other);
	unsigned char *at;

	begin();
	elsewhere = live_pages(2);
	other = live_region(elsewhere + page, page, NULL, "other");
	at = region(&from, NULL);
	CHECK_EQ(bez_status(&before), 0);
	live_poison(at);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(calls, 1);
	CHECK_EQ(got.start, -EDEADLK);
	CHECK_EQ(got.stop, -EDEADLK);
	CHECK_EQ(got.attach, -EDEADLK);
	CHECK_EQ(got.detach, -EDEADLK);
	CHECK_EQ(got.add, -EDEADLK);
	CHECK_EQ(got.remove, -EDEADLK);
	CHECK_EQ(got.info, -EDEADLK);
	/* these may be called there */
	CHECK_EQ(got.at, 0);
	CHECK_EQ(got.status, 0);
	CHECK(got.events >= 0);
	CHECK_EQ(bez_status(&after), 0);
	CHECK_EQ(after.regions, before.regions);
	CHECK_EQ(after.threads, before.threads);
	CHECK_EQ(after.worker_tid, before.worker_tid);
	CHECK_EQ(bez_region_remove(other), 0);
}

static const uint32_t callback = BEZ_SOURCE_CALLBACK,
		      deferred = BEZ_SOURCE_DEFERRED;

#define BOTH(what, function)						\
	{ .name = what ", in the handler", .run = function,		\
	  .data = &callback },						\
	{ .name = what ", on the worker", .run = function,		\
	  .data = &deferred }

static const struct tap_case cases[] = {
	BOTH("its data lost", data_lost),
	BOTH("its data come back", data_come_back),
	BOTH("needs the page itself", needs_the_page_itself),
	{ .name = "worker needs the worker", .run = worker_needs_the_worker,
	  .data = &deferred },
	{ .name = "hangs, others wait", .run = others_do_not_wait_for_ever },
	{ .name = "hangs, others die", .run = others_die_of_it,
	  .want_signal = SIGBUS },
	{ .name = "hangs, removal gives up", .run = removal_gives_up },
	BOTH("calls everything", calls_from_a_source),
};
TAP_MAIN(cases)
