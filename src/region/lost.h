/* SPDX-License-Identifier: MIT */
/*
 * The inventory of what was lost and not replaced. A table of slots in chunks
 * that are made in normal context and stay while the library is started; a
 * child of fork(2) inherits it.
 *
 *	chunk[] ──► [ key[512] | slot[512] ]
 *
 *	key   63                 12 11       8 7      2 1    0
 *	      | start of the extent | 0       | log2 w | state |
 *
 *	      state 0: free. BUSY: taken by who enters it, by compare-and-swap
 *	      from 0; nobody else looks at the slot then. READY: it is lost;
 *	      stored by the same, with release, once the slot is filled. Back to 0
 *	      by compare-and-swap from READY, by who clears the extent or removes
 *	      its region, or from BUSY by who gives up entering it.
 *
 * Keys lie side by side, as all that a look-up reads.
 */
#ifndef BEZOAR_REGION_LOST_H
#define BEZOAR_REGION_LOST_H

#include <stdatomic.h>
#include <stdint.h>

#include "types.h"

#define BZ_LOST_CHUNK	512u
#define BZ_LOST_CHUNKS	64u		/* 32,768 extents */
#define BZ_LOST_SPARE	256u		/* more are made below so many */

/* What keeps an extent closed. */
enum bz_lost_cover {
	BZ_AS_IT_WAS = 0,		/* the kernel */
	BZ_COVERED = 1,			/* a mapping in its place */
	BZ_COVERED_SHARED = 2		/* likewise, and it was a shared one */
};

struct bz_lost_slot {
	_Atomic uint64_t seq;		/* who enters it */
	struct bez_lost lost;		/* likewise; seq aside */
	_Atomic uint64_t told;		/* seq of the last one that its owner was
					 * told of; worker */
	_Atomic uint32_t cover;		/* enum bz_lost_cover; who enters it, and a
					 * child of fork(2) before it runs */
};

struct bz_lost_chunk {
	_Atomic uint64_t key[BZ_LOST_CHUNK];
	struct bz_lost_slot slot[BZ_LOST_CHUNK];
};

struct bz_inventory {
	_Atomic uint64_t drawn;		/* seq of the last loss; who enters one */
	_Atomic uint32_t top;		/* above the highest slot that was ever
					 * used; raised by who enters */
	_Atomic uint32_t slots;		/* that there are; under the lock of the
					 * regions */
	_Atomic uint64_t telling;	/* region whose on_lost() runs; worker */
	_Atomic uint32_t tells;		/* futex; moves when one has; worker */
	_Atomic(struct bz_lost_chunk *) chunk[BZ_LOST_CHUNKS]; /* the same lock */
};

extern struct bz_inventory bz_inventory;

/*
 * How often something came or went << 32 | how many extents are READY. Added to
 * by who enters or takes out, after the key. Apart, because copies look at it:
 * copy/move.h.
 */
extern _Atomic uint64_t bz_lost_word __attribute__((visibility("hidden")));

static inline uint32_t bz_lost_count(void)
{
	return (uint32_t)atomic_load_explicit(&bz_lost_word,
					      memory_order_relaxed);
}

/* One that was found. */
struct bz_lost_at {
	uint32_t slot;
	uint64_t key;
	struct bz_extent x;
};

/* ----------------------------------------------------------- handler-safe */

/* The extent in the inventory that @addr is in: 1, or 0. */
int bz_lost_find(uint64_t addr, struct bz_lost_at *ret);

/* How many bytes of [@addr, @addr + @len) lie before the first lost one. */
uint64_t bz_lost_before(uint64_t addr, uint64_t len);

/*
 * A slot for @x, which the caller has claimed: 0, or -ENOSPC. It is not seen
 * before bz_lost_enter(), which draws its number; or it is given back by
 * bz_lost_give_up().
 */
int bz_lost_take(struct bz_extent x, struct bz_lost_at *ret);
void bz_lost_enter(const struct bz_lost_at *at, const struct bez_lost *lost,
		   enum bz_lost_cover cover);
void bz_lost_give_up(const struct bz_lost_at *at);

/* Copy what the slot has: 1, or 0 if it is another's by now. */
int bz_lost_read(const struct bz_lost_at *at, struct bez_lost *ret_lost);
enum bz_lost_cover bz_lost_cover(const struct bz_lost_at *at);
void bz_lost_set_cover(const struct bz_lost_at *at, enum bz_lost_cover cover);

/* Take it out: 1, or 0 if somebody else has. */
int bz_lost_remove(const struct bz_lost_at *at);

/* The next that is READY from slot *@i on, and *@i behind it: 1, or 0. */
int bz_lost_walk(uint32_t *i, struct bz_lost_at *ret);

/* ----------------------------------------------------------- normal context */

/* Under the lock of the regions: see to it that there is room. 0 or -ENOMEM. */
int bz_lost_grow(void);
int bz_lost_has_room(void);	/* without it */

/* What is lost in the region goes with it; and waits until its on_lost() has
 * come back, if another thread runs it. 0 or -EBUSY. */
void bz_lost_forget(bez_region_t region);
int bz_lost_wait_told(bez_region_t region, uint64_t patience_ns);

/*
 * The next loss in order behind number @after: 1, or 0: there is none; -EAGAIN: one
 * is just being entered that may be, and rings when it is. On the worker.
 */
int bz_lost_after(uint64_t after, uint32_t *ret_slot,
		  struct bez_lost *ret_lost);

/* Does @slot still have the loss number @seq? */
int bz_lost_is(uint32_t slot, uint64_t seq);

/* In a child of fork(2): what another thread had begun to enter. */
void bz_lost_forked(void);

/* The memory went back to the system. */
void bz_lost_reset(void);

#endif
