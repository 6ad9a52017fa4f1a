/* SPDX-License-Identifier: MIT */
/*
 * A region with a deferred source may be removed at any moment: when that is
 * done the function runs no more and its argument may be freed, even if the
 * fault that asked for it was given up long before.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define ALIVE	0x616c697665ull
#define ROUNDS	3000
#define SECONDS	5.0

struct arg {
	_Atomic uint64_t canary;	/* ALIVE until it is freed */
	_Atomic int *go;		/* the function waits for it; or NULL */
	uint32_t steps;			/* and takes that long */
};

static _Atomic int running, calls, dead;

static int fill(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	struct arg *a = arg;
	volatile uint32_t i;

	(void)offset;
	running = 1;
	calls++;
	dead += a->canary != ALIVE;
	for (i = 0; i < a->steps; i++)
		dead += a->canary != ALIVE;
	while (a->go && !*a->go)
		sched_yield();
	live_fill(dst, bytes, 0);
	dead += a->canary != ALIVE;
	return 0;
}

static unsigned char *at;
static struct arg arg;

static bez_region_t add(uint64_t deadline_ns)
{
	struct bez_source from = bez_source_deferred(fill, &arg, deadline_ns);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	arg.canary = ALIVE;
	policy.source = &from;
	policy.max_repeats = 4095;
	CHECK_EQ(bez_region_add(at, live_page(), &policy, &region), 0);
	return region;
}

/* -------------------------------------------------------- given up, running */

static _Atomic int removed, remover;

static void *removes(void *region)
{
	remover = (int)syscall(SYS_gettid);
	CHECK_EQ(bez_region_remove(*(bez_region_t *)region), 0);
	removed = 1;
	arg.canary = 0;
	return NULL;
}

static void given_up(void)
{
	_Atomic int go = 0;
	unsigned char byte;
	bez_region_t region, found;
	pthread_t thread;

	see_install();
	see_start(0);
	at = live_pages(1);
	arg.go = &go;
	region = add(1000000);
	live_poison(at);
	/* it may be given up before the worker begins */
	while (!running)
		CHECK(see_lost(at, &byte));
	CHECK_EQ(pthread_create(&thread, NULL, removes, &region), 0);
	while (!bez_region_at(at, &found) || (!removed && !live_sleeps(remover)))
		sched_yield();
	CHECK(!removed);
	go = 1;
	pthread_join(thread, NULL);
	CHECK_EQ(calls, 1);
	CHECK_EQ(dead, 0);
}

/* ------------------------------------------------------------ at any moment */

static pthread_barrier_t begins, ends;
static _Atomic int over;
static _Atomic size_t lost;

/* Deadlines about as long as the function takes: the answer comes, or is
 * given up before it was taken, or while it runs. */
static void *touches(void *unused)
{
	unsigned char byte;

	CHECK_EQ(bez_thread_attach(), 0);
	for (;;) {
		pthread_barrier_wait(&begins);
		if (over)
			return unused;
		if (see_lost(at, &byte))
			lost++;
		else
			CHECK_EQ(byte, live_byte(0, 0));
		pthread_barrier_wait(&ends);
	}
}

/* Somebody else who is inside for a moment, so that the worker's place in the
 * table is before the thread's or behind it. */
static void *looks_up(void *unused)
{
	bez_region_t found;

	while (!over)
		bez_region_at(at, &found);
	return unused;
}

static void at_any_moment(void)
{
	pthread_t thread[2];
	double end;
	size_t round;

	see_install();
	see_start(0);
	at = live_pages(1);
	pthread_barrier_init(&begins, NULL, 2);
	pthread_barrier_init(&ends, NULL, 2);
	CHECK_EQ(pthread_create(&thread[0], NULL, touches, NULL), 0);
	CHECK_EQ(pthread_create(&thread[1], NULL, looks_up, NULL), 0);
	end = see_seconds() + SECONDS;
	for (round = 0; !calls || !lost || lost == round ||
			(round < ROUNDS && see_seconds() < end); round++) {
		bez_region_t region = add(1000 << round % 12);
		volatile uint32_t i;

		live_poison(at);
		arg.steps = 100 << round / 12 % 10;
		pthread_barrier_wait(&begins);
		for (i = 0; i >> round % 17 == 0; i++)
			continue;
		CHECK_EQ(bez_region_remove(region), 0);
		arg.canary = 0;
		pthread_barrier_wait(&ends);
		CHECK_EQ(dead, 0);
		/* without a region it stays lost; made good by hand */
		CHECK_EQ(madvise(at, live_page(), MADV_DONTNEED), 0);
		live_fill(at, live_page(), 0);
	}
	over = 1;
	pthread_barrier_wait(&begins);
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	tap_diag("%zu rounds, %d calls, %zu times given up", round, (int)calls,
		 (size_t)lost);
	CHECK(calls && lost && lost < round);
}

static const struct tap_case cases[] = {
	{ .name = "given up, and it runs on", .run = given_up },
	{ .name = "at any moment", .run = at_any_moment },
};
TAP_MAIN(cases)
