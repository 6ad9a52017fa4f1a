/* SPDX-License-Identifier: MIT */
/* The table of slots against the plainest one, and its readers against its writer. */
#define _GNU_SOURCE
#include "vmm/slots.h"

#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define MOST	64
#define SPACE	256			/* pages of either side */
#define P	4096ull
#define HVA0	0x7000000000ull

struct plain {
	uint64_t gpa, len, hva;
};

static struct bzv_slots slots;
static struct plain plain[MOST];
static int count;

static uint64_t state = 88172645463325252u;

static uint64_t below(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % n;
}

static int overlaps(uint64_t gpa, uint64_t len)
{
	int i;

	for (i = 0; i < count; i++)
		if (gpa < plain[i].gpa + plain[i].len && plain[i].gpa < gpa + len)
			return 1;
	return 0;
}

static void add(void)
{
	uint64_t gpa = below(SPACE) * P, len = (1 + below(12)) * P;
	uint64_t hva = HVA0 + below(SPACE) * P;
	int want = overlaps(gpa, len) ? -EEXIST : 0;

	CHECK_EQ(bzv_slots_add(&slots, gpa, len, hva, 0), want);
	if (!want)
		plain[count++] = (struct plain){ gpa, len, hva };
}

static void drop(void)
{
	struct bzv_piece got;
	int i = (int)below((uint64_t)count);

	CHECK_EQ(bzv_slots_remove(&slots, plain[i].gpa, &got), 0);
	CHECK_EQ(got.end - got.start, plain[i].len);
	CHECK_EQ(got.other, plain[i].hva);
	plain[i] = plain[--count];
}

/* Every page of both spaces has the answer that looking at all slots gives. */
static void compare(void)
{
	uint64_t page;

	for (page = 0; page < SPACE + 16; page++) {
		uint64_t at = page * P + 8, gpa = UINT64_MAX, hva = 0;
		struct bzv_piece p;
		int i, is = 0;

		for (i = 0; i < count; i++) {
			if (at - plain[i].gpa < plain[i].len) {
				hva = plain[i].hva + (at - plain[i].gpa);
				is = 1;
			}
			if (HVA0 + at - plain[i].hva < plain[i].len &&
			    plain[i].gpa + (HVA0 + at - plain[i].hva) < gpa)
				gpa = plain[i].gpa + (HVA0 + at - plain[i].hva);
		}
		CHECK_EQ(bzv_order_find(&slots.by_gpa, at, &p), is ? 0 : -ENOENT);
		if (is)
			CHECK_EQ(p.other + (at - p.start), hva);
		CHECK_EQ(bzv_order_find(&slots.by_hva, HVA0 + at, &p),
			 gpa != UINT64_MAX ? 0 : -ENOENT);
		if (gpa != UINT64_MAX)
			CHECK_EQ(p.other + (HVA0 + at - p.start), gpa);
	}
}

static void random_ones(void)
{
	struct bzv_piece p;
	int round;

	for (round = 0; round < 3000; round++) {
		if (count && (count == MOST || below(5) < 2))
			drop();
		else
			add();
		if (round % 20 == 0)
			compare();
	}
	while (count)
		drop();
	compare();
	CHECK_EQ(bzv_slots_remove(&slots, 0, &p), -ENOENT);
	bzv_slots_free(&slots);
}

static void in_order(void)
{
	uint64_t at = 0, i;
	struct bzv_piece p;

	for (i = 0; i < 5000; i++)
		CHECK_EQ(bzv_slots_add(&slots, 3 * i * P, 2 * P,
				       HVA0 + 2 * (5000 - i) * P, i & 1), 0);
	for (i = 0; i < 5000; i++) {
		CHECK_EQ(bzv_order_next(&slots.by_gpa, at, &p), 0);
		CHECK_EQ(p.start, 3 * i * P);
		CHECK_EQ(p.flags, i & 1);
		at = p.end;
		CHECK_EQ(bzv_order_find(&slots.by_hva,
					HVA0 + 2 * (5000 - i) * P + P + 1, &p), 0);
		CHECK_EQ(p.other, 3 * i * P);
	}
	CHECK_EQ(bzv_order_next(&slots.by_gpa, at, &p), -ENOENT);
	bzv_slots_free(&slots);
}

/* -------------------------------------------------------------- all at once */

static _Atomic int over;
static _Atomic uint64_t looks;

#define FIXED 2000

/* Rows 0, 2, 4 ... are always there; what lies between comes and goes. */
static void look(uint64_t i)
{
	struct bzv_piece p;

	CHECK_EQ(bzv_order_find(&slots.by_gpa, 2 * i * P + 5, &p), 0);
	CHECK_EQ(p.start, 2 * i * P);
	CHECK_EQ(p.other, HVA0 + 2 * i * P);
	/* of this side what touches may be one piece */
	CHECK_EQ(bzv_order_find(&slots.by_hva, HVA0 + 2 * i * P + 5, &p), 0);
	CHECK_EQ(p.other + (HVA0 + 2 * i * P - p.start), 2 * i * P);
	looks++;
}

static void *reads(void *arg)
{
	uint64_t i = 0;

	(void)arg;
	while (!over)
		look(i++ % FIXED);
	return NULL;
}

static void on_alarm(int sig)
{
	static uint64_t i;

	(void)sig;
	look(i++ % FIXED);
}

/* Also in a handler on top of the writer: it must not wait for that. */
static void while_written(void)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } };
	struct sigaction act = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct bzv_piece p;
	pthread_t thread;
	sigset_t alarm;
	uint64_t i;
	int round;

	for (i = 0; i < FIXED; i++)
		CHECK_EQ(bzv_slots_add(&slots, 2 * i * P, P, HVA0 + 2 * i * P,
				       0), 0);
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &alarm, NULL), 0);
	CHECK_EQ(pthread_create(&thread, NULL, reads, NULL), 0);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &alarm, NULL), 0);
	CHECK_EQ(sigaction(SIGALRM, &act, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (round = 0; round < 6; round++) {
		for (i = 0; i < FIXED; i += 20)
			CHECK_EQ(bzv_slots_add(&slots, (2 * i + 1) * P, P,
					       HVA0 + (2 * i + 1) * P, 0), 0);
		for (i = 0; i < FIXED; i += 20)
			CHECK_EQ(bzv_slots_remove(&slots, (2 * i + 1) * P, &p),
				 0);
	}
	often = (struct itimerval){ { 0, 0 }, { 0, 0 } };
	CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	over = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(looks > 1000);
	bzv_slots_free(&slots);
}

static const struct tap_case cases[] = {
	{ .name = "random", .run = random_ones, .timeout_s = 120 },
	{ .name = "thousands", .run = in_order },
	{ .name = "while it is written", .run = while_written },
};
TAP_MAIN(cases)
