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
 * it: that is believed for some seconds, wide or not, unless the page has been
 * mended meanwhile. An early notice may be from any time, and is never believed of
 * such a page.
 *
 * Before Linux 6.11 a huge page that stays mapped is reported without an address at
 * first, and then by one page that can be read, for ever: kill_accessing_process().
 * So the thread goes on over that, too, and if it has done so ROUNDS times in a row
 * the page is bad. One such report can be late, where the program itself puts pages
 * there; not so many. Of memory that other processes mend nobody here can say that.
 *
 * Two words for each of 1,024 buckets; the first:
 *
 *	0		nothing in it was ever mended
 *	all ones	something was, and nobody has gone on since
 *	times << 56 | page / 1,024 << 22 | tid
 *			this thread has gone on over this page since, so many times
 *			in a row (all ones: a wide report of it)
 *
 * and the second when it last did, ns. Pages share a bucket by their number modulo
 * 1,024; all that one can do to the other is to be in doubt once more. Stored by
 * who has claimed a page in it, so words about that very page are there when the
 * next one has claimed it; and not inside another fault of the same thread, which is
 * older than that. Another page's owner may come in between: so the first says "all
 * ones" while the second is written.
 */
#include "core/core.h"
#include "region/region.h"

#define MENDED		UINT64_MAX	/* more than any page and thread */
#define TID_BITS	22		/* the kernel's limit */
#define TIMES_SHIFT	56		/* that and a page: as much as there is */
#define TIMES		0xffull
#define WIDE		TIMES		/* enough at once */
#define ROUNDS		8u
#define SOON_NS		5000000000u

static uint64_t page_of(struct bz_extent x)
{
	return x.start >> bz_core.page_shift;
}

static struct bz_mended *bucket_of(struct bz_mm *mm, uint64_t page)
{
	return &mm->mended[page & (BZ_MENDED - 1)];
}

static uint64_t gone_on(const struct bz_walk *w, struct bz_extent x)
{
	return page_of(x) / BZ_MENDED << TID_BITS | bz_walk_tid(w);
}

/* Told of a page by its start; or a touch of just that. */
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
		atomic_store_explicit(&bucket_of(mm, page + i)->word, MENDED,
				      memory_order_relaxed);
}

/* How often this thread has gone on over @x, not long ago and nobody else since. */
static uint64_t times(struct bz_mended *b, const struct bz_walk *w,
		      const struct bz_fault *fault, struct bz_extent x)
{
	/* acquire: pairs with the release in bz_go_on_over() */
	uint64_t word = atomic_load_explicit(&b->word, memory_order_acquire);
	uint64_t n = word >> TIMES_SHIFT, when;

	if ((word ^ n << TIMES_SHIFT) != gone_on(w, x))
		return 0;
	when = atomic_load_explicit(&b->when, memory_order_relaxed);
	/* the second look: pairs with "all ones" there */
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&b->word, memory_order_relaxed) != word ||
	    fault->taken_ns - when > SOON_NS)
		return 0;
	return n;
}

int bz_bad_anyway(struct bz_mm *mm, const struct bz_walk *w,
		  const struct bz_fault *fault, struct bz_extent x, int others)
{
	struct bz_mended *b = bucket_of(mm, page_of(x));
	uint64_t n = 0;

	if (fault->cause == BEZ_CAUSE_POISON_AR && x.width == bz_core.page)
		n = times(b, w, fault, x);
	if (n == WIDE || (n >= ROUNDS && is_whole(fault, x) && !others))
		return 1;
	return is_wide(fault, x) && !others &&
	       !atomic_load_explicit(&b->word, memory_order_relaxed);
}

void bz_go_on_over(struct bz_mm *mm, const struct bz_walk *w,
		   const struct bz_fault *fault, struct bz_extent x, int others)
{
	struct bz_mended *b = bucket_of(mm, page_of(x));
	int wide = is_wide(fault, x);
	uint64_t n = WIDE;

	if (fault->cause != BEZ_CAUSE_POISON_AR || w->depth != 1 ||
	    (!wide && (!is_whole(fault, x) || others)))
		return;
	if (!wide) {
		n = times(b, w, fault, x);
		if (n < TIMES - 1)
			n++;
	}
	atomic_store_explicit(&b->word, MENDED, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&b->when, fault->taken_ns, memory_order_relaxed);
	atomic_store_explicit(&b->word, n << TIMES_SHIFT | gone_on(w, x),
			      memory_order_release);
}
