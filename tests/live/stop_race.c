/* SPDX-License-Identifier: MIT */
/*
 * bez_stop() while another thread attaches itself, or registers a region: one
 * of the two comes first, each says so, and nothing stays behind.
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

#include "live.h"
#include "replace_see.h"

#define LEAST	400		/* rounds, and on until both came first */
#define MOST	20000
#define SCALES	18		/* of delay, to shift the two */
#define FINEST	32		/* steps of it, when near */

static unsigned char *at, *copy;
static pthread_barrier_t begins, ends;
static _Atomic int over;
static _Atomic size_t rounds;
static int answer;			/* the other thread's, in each round */

static void delay(size_t count)
{
	volatile size_t i;

	for (i = 0; i < count; i++)
		continue;
}

/*
 * Every second round tries all scales, one against another. The others look for
 * the moment when it turns who is first, and stay there: what comes in between
 * the two halves of a call comes then.
 */
static long shift, step;		/* the other thread later by that much */

static size_t delay_of(int others)
{
	size_t round = rounds / 2;

	if (rounds % 2)
		return (shift > 0) == others ? (size_t)labs(shift) : 0;
	return (size_t)1 << (others ? round : round / SCALES) % SCALES;
}

static void look_nearer(int first)
{
	long towards = first ? -1 : 1;

	if (rounds % 2 == 0)
		return;
	step = step * towards > 0 ? step * 2 : -step / 4;
	if (labs(step) < FINEST)
		step = towards * FINEST;
	if (labs(step) > 1 << SCALES)
		step = towards * (1 << SCALES);
	shift += step;
}

static struct bez_status status(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

/* It is lost as often and as fast as we like. */
static int add_region(bez_region_t *ret_region)
{
	struct bez_source from = bez_source_mirror(copy);
	struct bez_policy policy = BEZ_POLICY_INIT;

	policy.source = &from;
	policy.max_repeats = 4095;
	return bez_region_add(at, live_page(), &policy, ret_region);
}

static void lose_and_remove(bez_region_t region)
{
	CHECK_EQ(status().regions, 1);
	live_poison(at);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
	CHECK_EQ(bez_region_remove(region), 0);
}

static void works_again(void)
{
	bez_region_t region;

	see_start(0);
	CHECK(status().worker_tid && status().installed);
	CHECK_EQ(add_region(&region), 0);
	lose_and_remove(region);
}

static void *other(void *act)
{
	for (;;) {
		pthread_barrier_wait(&begins);
		if (over)
			return NULL;
		delay(delay_of(1));
		((void (*)(void))(uintptr_t)act)();
		pthread_barrier_wait(&ends);
	}
}

/* @act in the other thread against bez_stop() in this one; @judge looks at the
 * two answers, stops at last if need be, and says whether ours was first. */
static void race(void (*act)(void), int (*judge)(int stopped))
{
	size_t first = 0, was;
	pthread_t thread;

	see_install();
	at = live_pages(1);
	copy = live_pages(1);
	pthread_barrier_init(&begins, NULL, 2);
	pthread_barrier_init(&ends, NULL, 2);
	CHECK_EQ(pthread_create(&thread, NULL, other,
				(void *)(uintptr_t)act), 0);
	was = live_threads();
	while (rounds < LEAST || ((!first || first == rounds) &&
				  rounds < MOST)) {
		int r, was_first;

		works_again();
		pthread_barrier_wait(&begins);
		delay(delay_of(0));
		r = bez_stop();
		pthread_barrier_wait(&ends);
		was_first = judge(r);
		first += (size_t)was_first;
		look_nearer(was_first);
		CHECK(!status().started && !status().worker_tid);
		CHECK_EQ(bez_stop(), -ESRCH);
		CHECK_EQ(live_threads_soon(was), was);
		rounds++;
	}
	over = 1;
	pthread_barrier_wait(&begins);
	pthread_join(thread, NULL);
	tap_diag("bez_stop() was first in %zu of %zu rounds", first,
		 (size_t)rounds);
	CHECK(first && first < rounds);
	works_again();
}

/* ----------------------------------------------------------- who was first */

static void attach(void)
{
	answer = bez_thread_attach();
	/* what is attached may be detached, stopped or not */
	CHECK_EQ(bez_thread_detach(), answer ? -EINVAL : 0);
}

static int judge_attach(int stopped)
{
	CHECK_EQ(stopped, 0);
	CHECK(!answer || answer == -ESRCH);
	return answer != 0;
}

static void against_attach(void)
{
	race(attach, judge_attach);
}

static bez_region_t added;

static void add(void)
{
	answer = add_region(&added);
}

/* Either it is registered, and that keeps us from stopping, or neither. */
static int judge_add(int stopped)
{
	CHECK_EQ(stopped, answer ? 0 : -EBUSY);
	if (answer) {
		CHECK_EQ(answer, -ESRCH);
		return 1;
	}
	lose_and_remove(added);
	CHECK_EQ(bez_stop(), 0);
	return 0;
}

static void against_add(void)
{
	race(add, judge_add);
}

static const struct tap_case cases[] = {
	{ .name = "attach", .run = against_attach },
	{ .name = "add", .run = against_add },
};
TAP_MAIN(cases)
