/* SPDX-License-Identifier: MIT */
/* Walk slots: taken, nested, given back, and what happens when all are. */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "unit.h"

static struct bz_mm *mm;

static void nests(void)
{
	struct bz_walk *w;
	uint32_t i;

	mm = unit_mm();
	CHECK(!bz_walk_any(mm));
	w = bz_walk_enter(mm, 77, NULL, 0);
	for (i = 2; i <= BZ_DEPTH + 1; i++)
		CHECK(bz_walk_enter(mm, 77, NULL, 0) == w);
	CHECK_EQ(w->depth, BZ_DEPTH + 1);
	CHECK(bz_walk_of(mm, 77) == w);
	CHECK(!bz_walk_of(mm, 78));
	CHECK(bz_walk_enter(mm, 78, NULL, 0) != w);
	for (i = BZ_DEPTH + 1; i; i--) {
		CHECK_EQ(w->depth, i);
		CHECK(bz_walk_of(mm, 77) == w);
		bz_walk_leave(mm, w, NULL);
	}
	CHECK(!bz_walk_of(mm, 77));
	CHECK(bz_walk_any(mm));
	bz_walk_leave(mm, bz_walk_of(mm, 78), NULL);
	CHECK(!bz_walk_any(mm));
}

/* What a slot's last owner left is not the next one's. */
static void fresh(void)
{
	struct bz_walk *w;

	mm = unit_mm();
	w = bz_walk_enter(mm, 77, NULL, 0);
	bz_walk_enter(mm, 77, NULL, 0);
	w->guard = (struct bz_guard *)1;
	w->held = 1;
	atomic_store(&w->mark, 3);
	atomic_store(&w->claim[0], 0x7001);
	atomic_store(&w->claim[1], 0x8001);
	atomic_store(&w->placing, 1);
	bz_walk_drop(mm, w, NULL);
	CHECK(!bz_walk_any(mm));
	CHECK(!w->mark && !w->placing && !w->claim[0] && !w->claim[1]);
	CHECK(bz_walk_enter(mm, 99, NULL, 0) == w);
	CHECK_EQ(w->depth, 1);
	CHECK(!w->guard && !w->held);
	CHECK_EQ(bz_walk_tid(w), 99);
}

/* Every slot has pages of its own. */
static void own_pages(void)
{
	size_t page = unit_page();
	uint32_t i, d;
	char *last = NULL;

	mm = unit_mm();
	for (i = 0; i < BZ_WALKS; i++)
		for (d = 1; d <= BZ_WALK_PAGES; d++) {
			char *at = bz_mm_page(mm, &mm->walk[i], BZ_PAGE_STAGE,
					      d);

			CHECK(at >= (char *)(mm + 1));
			CHECK_EQ((uintptr_t)at & (page - 1), 0);
			CHECK(!last || at == last + page);
			last = at;
		}
	CHECK(bz_mm_page(mm, &mm->walk[3], BZ_PAGE_SCRATCH, 2) ==
	      bz_mm_page(mm, &mm->walk[3], BZ_PAGE_STAGE, BZ_DEPTH + 2));
	CHECK(bz_mm_page(mm, &mm->walk[3], BZ_PAGE_DEFER, BZ_DEPTH) ==
	      bz_mm_page(mm, &mm->walk[3], BZ_PAGE_STAGE, BZ_WALK_PAGES));
}

static void fill_all(void)
{
	uint32_t i;

	mm = unit_mm();
	for (i = 0; i < BZ_WALKS; i++) {
		struct bz_walk *w = bz_walk_enter(mm, 1000 + i, NULL, 0);

		CHECK(w);
		CHECK(w == &mm->walk[i]);
	}
}

/* Full: no until the deadline, never earlier, never an abort. */
static void full(void)
{
	fill_all();
	double_stop_clock();
	double_clock(1000000);
	double_watch();
	CHECK(!bz_walk_enter(mm, 5, NULL, 100000000));
	CHECK(double_count(SYS_futex, 0) >= 2);
	double_reset();
	/* who has one may go deeper all the same */
	CHECK(bz_walk_enter(mm, 1000 + BZ_WALKS - 1, NULL, 0) ==
	      &mm->walk[BZ_WALKS - 1]);
	CHECK_EQ(mm->walk[BZ_WALKS - 1].depth, 2);
}

static uint32_t naps;

static void leave_after_some(long nr, const long arg[6])
{
	(void)arg;
	if (nr == SYS_futex && ++naps == 7)
		bz_walk_leave(mm, &mm->walk[100], NULL);
}

static void room_again(void)
{
	fill_all();
	unit_patience(30);
	double_before(leave_after_some);
	double_watch();
	CHECK(bz_walk_enter(mm, 5, NULL, UINT64_MAX / 2) == &mm->walk[100]);
	double_reset();
	CHECK_EQ(naps, 7);
}

/* ------------------------------------------------- many threads, few slots */

#define THREADS	8
#define ROUNDS	4000

static _Atomic uint32_t inside[BZ_WALKS], wrong;

static void *passer(void *arg)
{
	uint32_t tid = (uint32_t)(uintptr_t)arg + 1, i;

	for (i = 0; i < ROUNDS; i++) {
		struct bz_walk *w = bz_walk_enter(mm, tid, NULL, UINT64_MAX / 2);
		size_t at = (size_t)(w - mm->walk);

		if (atomic_fetch_add(&inside[at], 1) || w->depth != 1 ||
		    bz_walk_tid(w) != tid)
			atomic_fetch_add(&wrong, 1);
		atomic_fetch_sub(&inside[at], 1);
		bz_walk_leave(mm, w, NULL);
	}
	return NULL;
}

static void many(void)
{
	pthread_t t[THREADS];
	uintptr_t i;

	/* three slots are left for eight threads */
	fill_all();
	unit_patience(50);
	for (i = 1; i <= 3; i++)
		bz_walk_leave(mm, &mm->walk[i * 50], NULL);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, passer, (void *)i), 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(wrong, 0);
	CHECK(!mm->walk[50].owner && !mm->walk[100].owner &&
	      !mm->walk[150].owner);
}

static const struct tap_case cases[] = {
	{ .name = "enter, nest, leave", .run = nests },
	{ .name = "a slot is fresh", .run = fresh },
	{ .name = "pages of its own", .run = own_pages },
	{ .name = "all slots are taken", .run = full },
	{ .name = "until one is given back", .run = room_again },
	{ .name = "many threads, few slots", .run = many },
};
TAP_MAIN(cases)
