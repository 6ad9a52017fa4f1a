/* SPDX-License-Identifier: MIT */
/*
 * One repairer for an extent: many threads, equal, overlapping and different
 * extents, at most one holder of each page at any moment; and those who wait.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "fault/fault.h"
#include "unit.h"

#define THREADS	6
#define ROUNDS	300000
#define BASE	0x7f0000000000ull
#define SPACE	4		/* pages that all of them want */

static struct bz_mm *mm;

/* ----------------------------------------------------------- one at a time */

static _Atomic uint32_t holders[SPACE];
static _Atomic uint32_t broken, got, taken;
static pthread_barrier_t start;

static struct bz_extent extent_of(uint32_t random)
{
	uint64_t pages = 1u << (random >> 8) % 3;
	uint64_t page = random % SPACE & ~(pages - 1);

	return (struct bz_extent){ .start = BASE + page * 4096,
				   .width = pages * 4096 };
}

/* Now and then for longer, so that on few processors, too, others come by. */
static void hold(struct bz_extent x, uint32_t random)
{
	uint64_t i, first = (x.start - BASE) / 4096, n = x.width / 4096;

	for (i = first; i < first + n; i++)
		if (atomic_fetch_add(&holders[i], 1))
			atomic_fetch_add(&broken, 1);
	if (!(random % 64))
		sched_yield();
	for (i = first; i < first + n; i++)
		atomic_fetch_sub(&holders[i], 1);
}

static void *claimant(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg * 2654435761u + 1, i;
	struct bz_walk *w = unit_enter(mm);

	pthread_barrier_wait(&start);
	for (i = 0; i < ROUNDS && !atomic_load(&broken); i++) {
		struct bz_conflict conflict;
		struct bz_extent x;

		seed = seed * 1664525u + 1013904223u;
		x = extent_of(seed >> 8);
		switch (bz_claim(mm, w, x, &conflict)) {
		case BZ_CLAIMED:
			hold(x, seed >> 24);
			bz_walk_unclaim(w, w->depth);
			atomic_fetch_add(&got, 1);
			break;
		case BZ_CLAIM_TAKEN:
			atomic_fetch_add(&taken, 1);
			break;
		case BZ_CLAIM_OWN:
		default:
			atomic_fetch_add(&broken, 1);
		}
	}
	bz_walk_leave(mm, w, NULL);
	return NULL;
}

static void at_most_one(void)
{
	pthread_t t[THREADS];
	uintptr_t i;

	mm = unit_mm();
	pthread_barrier_init(&start, NULL, THREADS);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, claimant, (void *)i), 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	tap_diag("%u claims held, %u refused", got, taken);
	CHECK_EQ(broken, 0);
	CHECK_EQ(got + taken, THREADS * ROUNDS);
	CHECK(got > ROUNDS / 10);
	CHECK(!bz_walk_any(mm));
	for (i = 0; i < BZ_WALKS; i++) {
		CHECK_EQ(mm->walk[i].claim[0], 0);
		CHECK_EQ(mm->walk[i].owner, 0);
	}
}

/* ---------------------------------------------------------- who meets whom */

/* Two slots of our own making, without threads. */
static struct bz_walk *slot(uint32_t tid)
{
	struct bz_walk *w = bz_walk_enter(mm, tid, NULL, 0);

	CHECK(w);
	return w;
}

static struct bz_extent pages(uint64_t first, uint64_t n)
{
	return (struct bz_extent){ BASE + first * 4096, n * 4096 };
}

static void overlaps(void)
{
	static const struct {
		uint64_t first, n;
		int meets;
	} other[] = {
		{ 512, 512, 1 }, { 512, 1, 1 }, { 1023, 1, 1 }, { 700, 1, 1 },
		{ 511, 1, 0 }, { 1024, 1, 0 }, { 0, 512, 0 }, { 0, 1024, 1 },
		{ 1024, 1024, 0 }, { 0, 262144, 1 }, { 262144, 262144, 0 },
	};
	struct bz_walk *a, *b;
	struct bz_conflict c;
	size_t i;

	mm = unit_mm();
	a = slot(1001);
	b = slot(1002);
	CHECK_EQ(bz_claim(mm, a, pages(512, 512), &c), BZ_CLAIMED);
	for (i = 0; i < COUNT_OF(other); i++) {
		memset(&c, 0, sizeof(c));
		CHECK_EQ(bz_claim(mm, b, pages(other[i].first, other[i].n), &c),
			 other[i].meets ? BZ_CLAIM_TAKEN : BZ_CLAIMED);
		CHECK(!other[i].meets || (c.walk == a && c.depth == 0));
		bz_walk_unclaim(b, b->depth);
		CHECK_EQ(b->claim[0], 0);
	}
	bz_walk_unclaim(a, a->depth);
	CHECK_EQ(bz_claim(mm, b, pages(512, 512), &c), BZ_CLAIMED);
}

/* Of two that announced at the same moment the lower slot is in the right: the
 * higher one steps back from a WANT, the lower one waits for a decision. */
static void tie(void)
{
	struct bz_walk *low, *high;
	struct bz_conflict c;
	uint64_t want;

	mm = unit_mm();
	low = slot(1001);
	high = slot(1002);
	CHECK(low < high);
	CHECK_EQ(bz_claim(mm, low, pages(0, 1), &c), BZ_CLAIMED);
	want = (low->claim[0] & ~3ull) | 1;

	atomic_store(&low->claim[0], want);
	CHECK_EQ(bz_claim(mm, high, pages(0, 1), &c), BZ_CLAIM_TAKEN);
	CHECK(c.walk == low);

	/* one that never decides counts as in the way */
	atomic_store(&low->claim[0], 0);
	atomic_store(&high->claim[0], want);
	double_watch();
	CHECK_EQ(bz_claim(mm, low, pages(0, 1), &c), BZ_CLAIM_TAKEN);
	double_rest();
	CHECK(c.walk == high);
	CHECK(double_count(SYS_sched_yield, 0) > 0);
	/* a hold is in the way at once */
	atomic_store(&high->claim[0], want + 1);
	double_watch();
	CHECK_EQ(bz_claim(mm, low, pages(0, 1), &c), BZ_CLAIM_TAKEN);
	double_rest();
	CHECK_EQ(double_count(SYS_sched_yield, 0), 0);
}

/* It steps back when we have looked a few times. */
static struct bz_walk *hesitant;

static void decide_against(long nr, const long arg[6])
{
	(void)arg;
	if (nr == SYS_sched_yield)
		atomic_store(&hesitant->claim[0], 0);
}

static void tie_won(void)
{
	struct bz_conflict c;
	struct bz_walk *low;

	mm = unit_mm();
	low = slot(1001);
	hesitant = slot(1002);
	CHECK_EQ(bz_claim(mm, hesitant, pages(0, 1), &c), BZ_CLAIMED);
	hesitant->claim[0]--;			/* HOLD to WANT */
	double_before(decide_against);
	double_watch();
	CHECK_EQ(bz_claim(mm, low, pages(0, 1), &c), BZ_CLAIMED);
	double_rest();
}

static void own(void)
{
	struct bz_conflict c;
	struct bz_walk *w;

	mm = unit_mm();
	w = slot(1001);
	CHECK_EQ(bz_claim(mm, w, pages(4, 4), &c), BZ_CLAIMED);
	CHECK(bz_walk_enter(mm, 1001, NULL, 0) == w);
	CHECK_EQ(w->depth, 2);
	CHECK_EQ(bz_claim(mm, w, pages(5, 1), &c), BZ_CLAIM_OWN);
	CHECK_EQ(bz_claim(mm, w, pages(8, 1), &c), BZ_CLAIMED);
	CHECK(w->claim[0] && w->claim[1]);
	bz_walk_unclaim(w, 2);
	CHECK(w->claim[0] && !w->claim[1]);
}

/* -------------------------------------------------------------- who waits */

static struct bz_conflict conflict;
static _Atomic int waited;

static void *waiter(void *arg)
{
	(void)arg;
	atomic_store(&waited, 1 - bz_claim_wait(mm, conflict, pages(0, 1),
						60000000000u, 1));
	return NULL;
}

static void woken(void)
{
	pthread_t t[4];
	uint32_t i, round;
	struct bz_walk *a, *b;

	mm = unit_mm();
	unit_patience(50);
	a = slot(1001);
	b = slot(1002);
	for (round = 0; round < 50; round++) {
		CHECK_EQ(bz_claim(mm, a, pages(0, 1), &conflict), BZ_CLAIMED);
		CHECK_EQ(bz_claim(mm, b, pages(0, 1), &conflict),
			 BZ_CLAIM_TAKEN);
		for (i = 0; i < COUNT_OF(t); i++)
			CHECK_EQ(pthread_create(&t[i], NULL, waiter, NULL), 0);
		/* some are asleep by now, some are not there yet */
		while (!atomic_load(&a->waiters))
			sched_yield();
		bz_walk_unclaim(a, 1);
		for (i = 0; i < COUNT_OF(t); i++)
			pthread_join(t[i], NULL);
		CHECK_EQ(waited, 1);
		CHECK_EQ(a->waiters, 0);
	}
}

/* Deadlines, by a clock that runs. Whatever the futex says, it is not over
 * before the claim is dropped or time is up. */
static void patience(void)
{
	static const int errors[] = { ETIMEDOUT, EAGAIN, EINTR, EINVAL, EPERM,
				      ENOSYS };
	struct bz_walk *a, *b;
	size_t e;

	mm = unit_mm();
	unit_patience(50);
	a = slot((uint32_t)getpid());	/* alive */
	b = slot(1002);
	CHECK_EQ(bz_claim(mm, a, pages(0, 1), &conflict), BZ_CLAIMED);
	CHECK_EQ(bz_claim(mm, b, pages(0, 1), &conflict), BZ_CLAIM_TAKEN);
	for (e = 0; e < COUNT_OF(errors); e++) {
		struct double_rule futex = { .nr = SYS_futex,
					     .err = errors[e] };

		double_reset();
		double_stop_clock();
		double_clock(1000000);
		double_rule(&futex);
		double_watch();
		CHECK_EQ(bz_claim_wait(mm, conflict, pages(0, 1), 100000000, 3),
			 -ETIMEDOUT);
		double_rest();
		/* three rounds, each a look at whether the owner lives */
		CHECK_EQ(double_count(SYS_tkill, 0), 3);
		CHECK(double_count(SYS_futex, 0) >= 3);
		CHECK_EQ(a->waiters, 0);
		CHECK(a->claim[0]);
	}
	double_reset();
}

/* The owner died with its claim: whoever waits buries it. */
static void buried(void)
{
	struct bz_walk *a, *b;
	int i;

	mm = unit_mm();
	a = slot(unit_dead());
	b = slot((uint32_t)getpid());
	atomic_store(&a->mark, 7);
	atomic_store(&a->placing, 1);
	for (i = 0; i < 3; i++) {
		a->depth = (uint32_t)i + 1;
		CHECK_EQ(bz_claim(mm, a, pages((uint64_t)i, 1), &conflict),
			 BZ_CLAIMED);
	}
	CHECK_EQ(bz_claim(mm, b, pages(1, 1), &conflict), BZ_CLAIM_TAKEN);
	CHECK_EQ(conflict.depth, 1);
	double_clock(1000000);
	double_watch();
	/* the first round times out and finds the body, the second is over */
	CHECK_EQ(bz_claim_wait(mm, conflict, pages(1, 1), 2000000, 2), 0);
	double_reset();
	CHECK_EQ(a->owner, 0);
	CHECK(!a->mark && !a->placing);
	for (i = 0; i < BZ_DEPTH; i++)
		CHECK_EQ(a->claim[i], 0);
	CHECK_EQ(bz_claim(mm, b, pages(1, 1), &conflict), BZ_CLAIMED);
	/* neither the living nor those who are nobody are buried */
	bz_walk_bury(mm, b);
	CHECK(b->owner && b->claim[0]);
	a = bz_walk_enter(mm, BZ_WALK_ANYBODY, NULL, 0);
	bz_walk_bury(mm, a);
	CHECK_EQ(a->owner, BZ_WALK_ANYBODY);
}

static const struct tap_case cases[] = {
	{ .name = "at most one holder", .run = at_most_one },
	{ .name = "what overlaps", .run = overlaps },
	{ .name = "a tie", .run = tie },
	{ .name = "a tie is won when the other steps back", .run = tie_won },
	{ .name = "own claim", .run = own },
	{ .name = "waiters are woken", .run = woken },
	{ .name = "waiters lose patience", .run = patience },
	{ .name = "a dead owner is buried", .run = buried },
};
TAP_MAIN(cases)
