/* SPDX-License-Identifier: MIT */
/*
 * The inventory: what was lost in this process and not replaced;
 * <bezoar/bezoar.h> includes this.
 *
 * A region whose ladder names BEZ_ACTION_DEGRADE enters a page here that could
 * not be replaced. From then on it stays lost: every access to it, by whatever
 * means and from whichever thread, has the same answer with the same address,
 * until its owner has it opened again (bez_lost_fill()). A child of fork(2)
 * inherits the inventory with the memory.
 *
 *	static uint64_t seen;
 *	uint64_t now = bez_lost_generation();
 *
 *	if (now != seen) {		(something was lost, or opened again)
 *		mark_what_is_lost();	(by bez_lost_next(), or bez_lost_in())
 *		seen = now;
 *	}
 */
#ifndef BEZOAR_LOST_H
#define BEZOAR_LOST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Some memory, where several pieces of it are handed over. */
struct bez_range {
	void *addr;
	size_t len;			/* bytes */
};

struct bez_lost {
	uint64_t seq;		/* 1, 2, 3 ... in the order of the losses */
	uint64_t time_ns;	/* CLOCK_MONOTONIC when it was lost */
	void *addr;		/* of the extent, all of which is lost */
	size_t width;		/* its bytes, a power of two */
	void *touched;		/* what the kernel named: in the catch of a scope
				 * and for a relay by this access, else by the
				 * first */
	uint64_t region;	/* bez_region_t */
	uint16_t cause;		/* enum bez_cause */
	uint16_t why;		/* enum bez_outcome: why it was not replaced;
				 * BEZ_OUTCOME_NONE: nobody was to try */
	int32_t tid;		/* of the thread that met it first */
	uint64_t reserved;	/* 0 */
};

/*
 * Is any byte of [@addr, @addr + @len) lost? 1 or 0. With nothing lost in the
 * process that is one load; else some two nanoseconds for each lost extent.
 * Context: any, handler-safe.
 */
int bez_lost_in(const void *addr, size_t len);

/*
 * Another number after each loss and each clearing (compare for equality), and
 * one whose lower 32 bits are 0 as long as nothing is lost: they are how many
 * extents there are. One relaxed load. Context: any, handler-safe.
 */
uint64_t bez_lost_generation(void);

/*
 * One extent after the other, in no order: *@at is 0 to begin with and the
 * inventory's afterwards. 0, or -ENOENT: there is no more. What comes or goes
 * meanwhile may be missed; nothing is seen twice. -EINVAL: a NULL.
 * Context: any, handler-safe.
 */
int bez_lost_next(uint64_t *at, struct bez_lost *ret_lost);

/*
 * The pages of [@addr, @addr + @len) are lost, though no access has met that: a
 * guest that has come from another host says so, or a file that was restored. They
 * are entered and closed like what was met, and on_lost is told; whoever touches
 * one has the answer that every access to a lost page has. The good bytes that were
 * there are gone; of shared memory they are closed for this process alone, and the
 * file keeps them. What is lost already is left as it is. Private memory without a
 * file is poison then where the kernel can do that (UFFDIO_POISON, Linux 6.6), all
 * else is covered by a mapping of an empty file. 0: all of it is lost.
 *
 * -EINVAL: not page-aligned, it wraps around, or of a huge page, which is lost as a
 * whole, only a part is in the range. -ENOENT: a page is in no region, or in one
 * whose ladder does not name BEZ_ACTION_DEGRADE. -ENOSPC: the inventory is full.
 * -ENOMEM: no memory, or no mappings left. -EOPNOTSUPP: memory of a kind, or with
 * an attribute (a name, MADV_WIPEONFORK, a userfaultfd of the program's) that a
 * cover can not have. -EAGAIN: somebody else is at it. -EIO: anything else; the event
 * has it (cause BEZ_CAUSE_SAID). Of several extents those before the one that
 * failed are lost then. -ESRCH: not started.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_lost_add(void *addr, size_t len);

/*
 * Open what is lost in [@addr, @addr + @len) again, in fresh memory with the
 * attributes that it had, and take it out of the inventory: with what lies at the
 * same distance from @from as it does from @addr, @len bytes of the owner's. In
 * one step: who touches it finds it lost, or has these bytes. What is not lost is
 * left alone. 0: nothing in there is lost any more.
 *
 * -EINVAL: of an extent only a part is in the range, it wraps around, or @from is
 * NULL or overlaps it: nothing was changed, unless that extent was lost only
 * meanwhile. -EFAULT: what is at @from is lost itself, and cannot be replaced.
 * -ENOMEM: no memory, no huge page or no mappings left. -EOPNOTSUPP: the memory is of a kind that cannot be opened again;
 * remove the region and map it anew; or it has no read access (PROT_NONE): give
 * it that before. -EAGAIN: somebody else is at it. -EIO:
 * anything else; the event has it (cause BEZ_CAUSE_RECOVER). Of several extents
 * those before the one that failed are open then. -ESRCH: not started.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_lost_fill(void *addr, size_t len, const void *from);

/*
 * The same with zeros, which others may read before the owner has written it anew;
 * of shared memory with what the file has, if somebody has put something good
 * there since. Not so of a file on a disk: what was put there cannot be told from
 * what is older, and the zeros go over either.
 */
int bez_lost_clear(void *addr, size_t len);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
