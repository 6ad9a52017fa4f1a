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
#define WATCHED_TICKS	10u		/* who waited so long is no loop */
#define WATCHED_LIMIT	3u

/* Threads that come late to a page that was replaced find it good, one after
 * the other; a loop does so thousands of times. */
#define GOOD_LIMIT	4000u

static _Atomic uint64_t *bucket_of(_Atomic uint64_t *buckets, uint64_t page)
{
	return &buckets[(page ^ page >> 10 ^ page >> 30) & (BZ_REPEATS - 1)];
}

static uint64_t again(struct bz_mm *mm, uint64_t page, uint64_t now_ns)
{
	uint64_t tick = now_ns / TICK_NS & FIELD;
	_Atomic uint64_t *bucket = bucket_of(mm->repeats, page);
	uint64_t was = atomic_load_explicit(bucket, memory_order_relaxed);
	uint64_t count = 0;

	if (was >> 24 == page && ((tick - (was >> 12)) & FIELD) <= 1)
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
	return again(mm, page_of(x), now_ns) > limit;
}

int bz_good_again(struct bz_mm *mm, struct bz_extent x, uint64_t now_ns)
{
	return again(mm, page_of(x) | 1ull << 39, now_ns) > GOOD_LIMIT;
}

/*
 * Here a word is
 *
 *	63          24 23          4 3     0
 *	| page         | 1/10 s      | count |
 *
 * and what counts is how long it was from the end of the last look, which takes its time,
 * to this fault. Two pages that share a word would forget each other for ever, as slow as
 * this is: so whoever finds another's that is new is refused, as if this were not here.
 */
enum bez_outcome bz_watched(struct bz_mm *mm, const struct bz_fault *fault,
			    struct bz_extent x, struct bz_memory memory)
{
	uint64_t page = page_of(x), was, tick, count;
	_Atomic uint64_t *bucket = bucket_of(mm->watched, page);

	if (memory.kind != BZ_MEMORY_ANON || x.width != bz_core.page ||
	    fault->cause == BEZ_CAUSE_RECOVER)
		return BEZ_OUTCOME_REFUSED_KIND;
	was = atomic_load_explicit(bucket, memory_order_relaxed);
	count = was & 0xf;
	tick = fault->taken_ns / TICK_NS;
	if (((tick - (was >> 4)) & 0xfffff) > WATCHED_TICKS)
		count = 0;
	if (count >= WATCHED_LIMIT || (count && was >> 24 != page))
		return BEZ_OUTCOME_REFUSED_KIND;
	tick = bz_now_ns() / TICK_NS & 0xfffff;
	atomic_store_explicit(bucket, page << 24 | tick << 4 | (count + 1),
			      memory_order_relaxed);
	return BEZ_OUTCOME_ASKED_AGAIN;
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
