/* SPDX-License-Identifier: MIT */
/*
 * Allocators: which of their ranges are lost, and which are about to go;
 * <bezoar/bezoar.h> includes this.
 *
 * An allocator that hands out a free block again hands out what is lost in it.
 * Two things keep it from that. A function is told of each loss, so that whole
 * ranges can be taken out of circulation. That comes later than the loss; so each
 * block is looked at before it is handed out, which is one relaxed load as long as
 * nothing is lost:
 *
 *	for (;;) {
 *		p = take_a_block(size);
 *		if (!(uint32_t)bez_lost_generation() || !bez_lost_in(p, size))
 *			return p;
 *		keep_it_for_ever(p);
 *	}
 *
 * A block that was not lost then and is a moment later is lost in the hands of its
 * owner, like any other memory in use. The heap is in regions whose ladder names
 * BEZ_ACTION_DEGRADE; nothing else is entered in the inventory.
 *
 * ABOUT TO GO. The kernel tells a process nothing before it takes a page whose
 * errors it still corrects (soft offline): the content is moved, the address stays
 * and nothing is lost. So RETIRING comes from who knows: an early notice of the
 * kernel about a page of a region that can be read, as one that could not be
 * unmapped (BUS_MCEERR_AO); or from bez_quarantine_retire(), for who reads the corrected
 * errors (EDAC, rasdaemon) and finds the frame in /proc/self/pagemap, which takes
 * CAP_SYS_ADMIN.
 */
#ifndef BEZOAR_QUARANTINE_H
#define BEZOAR_QUARANTINE_H

#include <bezoar/lost.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define BEZ_QUARANTINES_MAX	8u	/* functions */
#define BEZ_RETIRING_MAX	128u	/* ranges at a time */

/* Pinned like outcomes. */
enum bez_quarantine_kind {
	BEZ_QUARANTINE_LOST = 1,	/* it is in the inventory: hand out
					 * nothing there */
	BEZ_QUARANTINE_RETIRING = 2,	/* good so far: better not begin with it */
	BEZ_QUARANTINE_BACK = 3		/* one of them that is no more: it was
					 * cleared or filled, or is not retiring
					 * after all */
};

struct bez_quarantined {
	uint32_t kind;			/* enum bez_quarantine_kind */
	uint32_t cause;			/* enum bez_cause: of the loss; of what is
					 * retiring _POISON_AO or _SAID */
	void *addr;			/* the whole extent, or the range that was
					 * said, which may be more than a range
					 * that was declared */
	size_t len;
	uint64_t region;		/* bez_region_t that it was in then; 0: none */
	uint64_t seq;			/* bez_lost.seq of the loss; 0: retiring */
};

/*
 * Told on the worker, in normal context, one at a time: of each loss that is
 * entered, in their order, and of what else happens to it. It may do what any
 * thread may and call all functions of the library but bez_stop(). What is lost it
 * touches in a scope of its own. What was cleared before its turn came is not told;
 * of a loss that was told and whose region is removed there is no BACK, as that
 * memory is the allocator's to unmap; and a region may be gone when the call comes.
 * @what lives as long as the call.
 */
typedef void (*bez_quarantine_fn)(const struct bez_quarantined *what,
				  void *arg);

struct bez_quarantine {
	uint32_t size;			/* sizeof(struct bez_quarantine) */
	uint32_t count;			/* ranges; 0: of all memory */
	const struct bez_range *ranges;	/* copied; only what overlaps one is told */
	bez_quarantine_fn fn;
	void *arg;			/* passed to fn */
};

#define BEZ_QUARANTINE_INIT \
	{ sizeof(struct bez_quarantine), 0, NULL, NULL, NULL }

/* Names one; 0 is never one, and none is used twice. */
typedef uint64_t bez_quarantine_t;

/*
 * From now on @quarantine->fn is told, and first of what is lost or retiring
 * already. It may be called before this returns.
 *
 * -EINVAL: no function, a range that is empty or wraps around, NULL, or there is no
 * worker (BEZ_START_NO_WORKER). -ENOSPC: there are BEZ_QUARANTINES_MAX. -ENOMEM,
 * -E2BIG, -ESRCH (not started).
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_quarantine_add(const struct bez_quarantine *quarantine,
		       bez_quarantine_t *ret_quarantine);

/*
 * No more, and wait until a call that is on its way has come back: hold no lock
 * that the function takes. From inside the function it does not wait: that call is
 * the last. bez_stop() does it for all.
 *
 * -ENOENT: no such one. -EBUSY: after ten seconds the function has not come back; it
 * is not called again, and this may be repeated. -ESRCH: not started.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_quarantine_remove(bez_quarantine_t quarantine);

/*
 * [@addr, @addr + @len) is good, and will not be for long: who has declared a part
 * of it is told so (RETIRING), also who is added later. bez_quarantine_back() says
 * that it is not so any more, or that other memory is behind the addresses now: of
 * all that lies in the range as a whole (BACK). What is lost, or whose region is
 * removed, is not retiring any more, which is not told.
 *
 * -EINVAL: empty, or it wraps around. -ENOSPC: BEZ_RETIRING_MAX are retiring.
 * -ENOENT: nothing in there is retiring. -ESRCH: not started.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_quarantine_retire(void *addr, size_t len);
int bez_quarantine_back(void *addr, size_t len);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
