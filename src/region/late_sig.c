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
 * Before Linux 6.11 a huge page that stays mapped is reported without an address at
 * first, and then by one page that can be read, for ever: kill_accessing_process().
 * So the thread goes on over that once, too; and if within seconds it is told of the
 * same page again, which nobody has mended, then it is bad. Of memory that other
 * processes mend as well nobody here can say that.
 *
 * One word for each of 1,024 buckets:
 *
 *	0		nothing in it was ever mended
 *	all ones	something was, and nobody has gone on since
 *	when << 56 | page / 1,024 << 22 | tid
 *			this thread has gone on over this page since; when: in
 *			seconds or so, or all ones for a wide report
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
#define WHEN_SHIFT	56		/* that and a page: as much as there is */
#define WIDE		0xffull
#define SOON		5u

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

static uint64_t when(const struct bz_fault *fault)
{
	return (fault->taken_ns >> 30) % 255;
}

/* Told of a page, as of its start: not by a touch, which names the byte. */
static int is_whole(const struct bz_fault *fault, struct bz_extent x)
{
	return x.width == bz_core.page && fault->addr == x.start;
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
	uint64_t then = word >> WHEN_SHIFT;

	if (fault->cause == BEZ_CAUSE_POISON_AR && x.width == bz_core.page &&
	    (word ^ then << WHEN_SHIFT) == gone_on(w, x))
		return then == WIDE || (is_whole(fault, x) &&
					(when(fault) + 255 - then) % 255 <= SOON);
	return is_wide(fault, x) && !word && !others;
}

void bz_go_on_over(struct bz_mm *mm, const struct bz_walk *w,
		   const struct bz_fault *fault, struct bz_extent x, int others)
{
	int wide = is_wide(fault, x);

	if (fault->cause == BEZ_CAUSE_POISON_AR && w->depth == 1 &&
	    (wide || (is_whole(fault, x) && !others)))
		atomic_store_explicit(bucket_of(mm, page_of(x)),
				      (wide ? WIDE : when(fault)) << WHEN_SHIFT |
					      gone_on(w, x),
				      memory_order_relaxed);
}
