/* SPDX-License-Identifier: MIT */
/*
 * Reports that come late. A huge page that could not be split stays mapped, bad
 * page and all, so that only the report says what is bad: it is wider than the
 * page, and comes but once. Between the kernel's queuing it and our claim another
 * thread may have mended the page and gone, and the program have written to it:
 * then it is of a page that is no more, and nothing in the signal tells (the time
 * at which the handler begins is none: a thread may be kept from beginning).
 *
 * So it is kept which pages have been mended. A wide report of one of those is
 * not believed: the thread runs again, and if the page is as bad as before the
 * kernel says so again, of one page and not more. What it says to a thread that
 * has gone on since was queued since, as an instruction of this thread has raised
 * it: that is believed, wide or not, unless the page has been mended meanwhile.
 * An early notice may be from any time, and is never believed of such a page.
 *
 * One word for each of 1,024 buckets:
 *
 *	0		nothing in it was ever mended
 *	all ones	something was, and nobody has gone on since
 *	page / 1,024 << 22 | tid
 *			this thread has gone on over this page since
 *
 * Pages share a bucket by their number modulo 1,024; all that one can do to the
 * other is to be in doubt once more. Stored by who has claimed a page in it, so a
 * word about that very page is there when the next one has claimed it; and not
 * inside another fault of the same thread, which is older than that.
 */
#include "core/core.h"
#include "region/region.h"

#define MENDED		UINT64_MAX	/* more than any page and thread */
#define TID_BITS	22		/* the kernel's limit */

static uint64_t page_of(struct bz_extent x)
{
	return x.start >> bz_core.page_shift;
}

static _Atomic uint64_t *bucket_of(struct bz_mm *mm, uint64_t page)
{
	return &mm->mended[page & (BZ_MENDED - 1)];
}

static uint64_t gone_on(const struct bz_walk *w, struct bz_extent x)
{
	return page_of(x) / BZ_MENDED << TID_BITS | bz_walk_tid(w);
}

static int is_wide(const struct bz_fault *fault, struct bz_extent x)
{
	return fault->lsb > bz_core.page_shift && x.width == bz_core.page;
}

void bz_mended(struct bz_mm *mm, struct bz_extent x)
{
	uint64_t page = page_of(x), n = x.width >> bz_core.page_shift, i;

	for (i = 0; i < n && i < BZ_MENDED; i++)
		atomic_store_explicit(bucket_of(mm, page + i), MENDED,
				      memory_order_relaxed);
}

int bz_bad_anyway(struct bz_mm *mm, const struct bz_walk *w,
		  const struct bz_fault *fault, struct bz_extent x, int others)
{
	uint64_t word = atomic_load_explicit(bucket_of(mm, page_of(x)),
					     memory_order_relaxed);

	if (fault->cause == BEZ_CAUSE_POISON_AR && x.width == bz_core.page &&
	    word == gone_on(w, x))
		return 1;
	return is_wide(fault, x) && !word && !others;
}

void bz_go_on_over(struct bz_mm *mm, const struct bz_walk *w,
		   const struct bz_fault *fault, struct bz_extent x)
{
	if (is_wide(fault, x) && fault->cause == BEZ_CAUSE_POISON_AR &&
	    w->depth == 1)
		atomic_store_explicit(bucket_of(mm, page_of(x)), gone_on(w, x),
				      memory_order_relaxed);
}
