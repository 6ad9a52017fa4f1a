/* SPDX-License-Identifier: MIT */
/*
 * The loop guard. What is replaced and fails again at once is not repaired by
 * replacing it once more, and what faults although it is good will not stop
 * either. One word for each of 1,024 buckets:
 *
 *	63          24 23     12 11      0
 *	| page         | 1/10 s  | count |	page: modulo 2^39, and one bit
 *						for what is counted
 *
 * Two pages that share a bucket forget each other: a loop is then noticed
 * later, never a good page refused. Written by who has claimed the page; two
 * of them may meet in a bucket, and one count is lost.
 */
#include "core/core.h"
#include "region/region.h"

#define TICK_NS		100000000u
#define FIELD		0xfffu
#define CLOSE		1u		/* tick: replaced, or found good, anew */
#define WATCHED		100u		/* ticks: each look at it takes some, too */

/* Threads that come late to a page that was replaced find it good, one after
 * the other; a loop does so thousands of times. */
#define GOOD_LIMIT	4000u

#define WATCHED_LIMIT	3u

static uint64_t again(_Atomic uint64_t *buckets, uint64_t page, uint64_t now_ns,
		      uint64_t gap)
{
	uint64_t tick = now_ns / TICK_NS & FIELD;
	_Atomic uint64_t *bucket =
		&buckets[(page ^ page >> 10 ^ page >> 30) & (BZ_REPEATS - 1)];
	uint64_t was = atomic_load_explicit(bucket, memory_order_relaxed);
	uint64_t count = 0;

	if (was >> 24 == page && ((tick - (was >> 12)) & FIELD) <= gap)
		count = was & FIELD;
	if (count < FIELD)
		count++;
	atomic_store_explicit(bucket, page << 24 | tick << 12 | count,
			      memory_order_relaxed);
	return count;
}

static uint64_t page_of(struct bz_extent x)
{
	return (x.start >> bz_core.page_shift) & ((1ull << 39) - 1);
}

int bz_repeats(struct bz_mm *mm, struct bz_extent x, uint64_t now_ns,
	       uint32_t limit)
{
	return again(mm->repeats, page_of(x), now_ns, CLOSE) > limit;
}

int bz_good_again(struct bz_mm *mm, struct bz_extent x, uint64_t now_ns)
{
	return again(mm->repeats, page_of(x) | 1ull << 39, now_ns, CLOSE) >
	       GOOD_LIMIT;
}

enum bez_outcome bz_watched(struct bz_mm *mm, const struct bz_fault *fault,
			    struct bz_extent x, struct bz_memory memory)
{
	return memory.kind == BZ_MEMORY_ANON && x.width == bz_core.page &&
	       fault->cause != BEZ_CAUSE_RECOVER &&
	       again(mm->watched, page_of(x), fault->taken_ns, WATCHED) <=
		       WATCHED_LIMIT ?
	       BEZ_OUTCOME_ASKED_AGAIN : BEZ_OUTCOME_REFUSED_KIND;
}

/* One window of a second for the process: such faults are rare, and who has
 * many of them has a machine that cannot name its errors. */
int bz_missing_again(struct bz_mm *mm, uint64_t now_ns, uint32_t limit)
{
	uint64_t ms = now_ns / 1000000;
	uint64_t was = atomic_load(&mm->missing), now, count;

	do {
		count = was & 0xff;
		/* signed: another thread's fault may be a little newer */
		if ((int64_t)(ms - (was >> 8)) > 1000) {
			count = 0;
			now = ms << 8 | 1;
		} else {
			now = was + (count < 0xff);
		}
	} while (!atomic_compare_exchange_weak(&mm->missing, &was, now));
	return count < limit;
}
