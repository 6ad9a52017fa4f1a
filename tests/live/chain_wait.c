/* SPDX-License-Identifier: MIT */
/*
 * Nobody waits in the handler for ever. The other thread is let go only after
 * the one that waits has come back, so a wait without an end is a timeout.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "forge.h"

#define WAIT_NS 200000000u

static _Atomic int running, released, jumped;
static __thread sigjmp_buf back;
static __thread int may_jump;

static void jump(int sig)
{
	(void)sig;
	if (!may_jump)
		_exit(98);
	atomic_fetch_add(&jumped, 1);
	siglongjmp(back, 1);
}

static int hold(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	atomic_store(&running, 1);
	while (!atomic_load(&released))
		sched_yield();
	live_fill(dst, len, 0);
	return 0;
}

static void *touch(void *page)
{
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(live_read(page), live_byte(0, 0));
	return NULL;
}

/* Did the touch come back by the former handler? */
static int touch_and_jump(const unsigned char *page)
{
	may_jump = 1;
	if (sigsetjmp(back, 1))
		return 1;
	live_read(page);
	return 0;
}

static struct bez_event last_event(void)
{
	struct bez_event event[64];
	uint64_t seq = 0;
	int n, last = 0;

	while ((n = bez_events(&seq, event, 64)) > 0)
		last = n;
	CHECK(last);
	return event[last - 1];
}

static uint64_t faults(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s.faults;
}

static void start(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	signal(SIGBUS, jump);
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.claim_wait_ns = WAIT_NS;
	CHECK_EQ(bez_start(&options), 0);
}

/* Another thread repairs the page, and does not come to an end. */
static void for_the_repairer(void)
{
	struct bez_source from = bez_source_callback(hold, NULL);
	unsigned char *at = live_pages(1);
	struct bez_event event;
	pthread_t thread;

	start();
	live_region(at, live_page(), &from, "page");
	live_poison(at);
	CHECK_EQ(pthread_create(&thread, NULL, touch, at), 0);
	while (!atomic_load(&running))
		sched_yield();
	CHECK(touch_and_jump(at));
	event = last_event();
	CHECK_EQ(event.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(event.why, BEZ_OUTCOME_CLAIM_TIMEOUT);
	CHECK(event.took_ns >= WAIT_NS);
	atomic_store(&released, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
	CHECK_EQ(jumped, 1);
}

static _Atomic int gave_up;

static void *touch_patiently(void *page)
{
	CHECK_EQ(bez_thread_attach(), 0);
	if (touch_and_jump(page))
		atomic_store(&gave_up, 1);
	return NULL;
}

/* Let the source answer when the thread that waits would have given up, if it
 * did not know better; or has. */
static void answer_late(void)
{
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += 5 * WAIT_NS;
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (!atomic_load(&gave_up) &&
	       (now.tv_sec - end.tv_sec) * 1000000000 + now.tv_nsec <
	       end.tv_nsec);
	atomic_store(&released, 1);
}

/* A deferred source may take as long as its deadline says, whoever it keeps. */
static void for_a_deferred_source(void)
{
	struct bez_source from = bez_source_deferred(hold, NULL, 10000000000u);
	const int *by_notice = tap_data();
	unsigned char *at = live_pages(1);
	pthread_t repairs, waits;

	start();
	live_region(at, live_page(), &from, "page");
	live_poison(at);
	if (*by_notice)
		CHECK_EQ(forge(BUS_MCEERR_AO, at, 12), 0);
	else
		CHECK_EQ(pthread_create(&repairs, NULL, touch, at), 0);
	while (!atomic_load(&running))
		sched_yield();
	CHECK_EQ(pthread_create(&waits, NULL, touch_patiently, at), 0);
	while (faults() < 2)
		sched_yield();
	answer_late();
	if (!*by_notice)
		CHECK_EQ(pthread_join(repairs, NULL), 0);
	CHECK_EQ(pthread_join(waits, NULL), 0);
	CHECK(!gave_up);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_CLAIM_TIMEOUT), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_WAITED), 1);
	/* the worker writes it down when the page is there already */
	while (!bez_outcome_count(BEZ_OUTCOME_REPLACED))
		sched_yield();
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
}

/* The owner's callback on the worker does not come to an end. */
static void for_the_worker(void)
{
	struct bez_source from = bez_source_deferred(hold, NULL, WAIT_NS);
	unsigned char *at = live_pages(2);
	struct bez_event event;

	start();
	live_region(at, 2 * live_page(), &from, "pages");
	live_poison(at);
	live_poison(at + live_page());
	CHECK(touch_and_jump(at));
	event = last_event();
	CHECK_EQ(event.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(event.why, BEZ_OUTCOME_SOURCE_DEADLINE);
	CHECK(event.took_ns >= WAIT_NS);
	/* it still runs: the next one is not kept waiting by that either */
	CHECK(touch_and_jump(at + live_page()));
	CHECK(last_event().why == BEZ_OUTCOME_SOURCE_DEADLINE ||
	      last_event().why == BEZ_OUTCOME_SOURCE_WORKER);
	CHECK_EQ(jumped, 2);
	atomic_store(&released, 1);
}

static const int by_touch = 0, by_notice = 1;

static const struct tap_case cases[] = {
	{ .name = "for the repairer", .run = for_the_repairer,
	  .timeout_s = 20 },
	{ .name = "for a deferred source", .run = for_a_deferred_source,
	  .data = &by_touch },
	{ .name = "for the worker's own repair", .run = for_a_deferred_source,
	  .data = &by_notice },
	{ .name = "for the worker", .run = for_the_worker, .timeout_s = 20 },
};
TAP_MAIN(cases)
