/* SPDX-License-Identifier: MIT */
/*
 * A thread that walks through the house holds a walk slot: one row of a fixed
 * table that says who is inside, how deep, which extents it is repairing and
 * whether it is reading the region table.
 *
 *	walk[i]   owner   0: free. Else the thread's number, and above it where
 *	                  its handler's frame lies, in 16 bytes, modulo 2^32 (0:
 *	                  in normal context). CAS by the thread that takes it,
 *	                  0 again by the same thread (or by one that found the
 *	                  owner dead).
 *	          mark    0, or the epoch in which its owner began to read the
 *	                  region table. Written by the owner.
 *	          claim[] 0, or the extent that the owner is repairing at that
 *	                  depth, see fault/claim_sig.c. Written by the owner.
 *	          gen     counts what waiters wait for: a claim or mark dropped.
 *	          waiters how many sleep on gen. Written by the waiters.
 *	          until   0, or the time (ns) up to which its owner may be kept
 *	                  by a deferred source: no reason to give up on its
 *	                  claim. Written by the owner.
 *	          lock[]  0, or what the owner has locked for its claim at that
 *	          depth, so that it goes with that. Owner.
 *	          the rest is the owner's alone, but for the request that it
 *	                  shares with the worker (worker/defer.h).
 *	used      one bit a slot: set after the slot was taken and before it is
 *	          used, cleared before it is given back. Who looks through the
 *	          table looks only at these.
 *
 * A signal can come between any two steps. Where the bit is set the slot is
 * whole, and a handler on top of us goes one deeper in it; where it is not, that
 * handler takes a slot of its own. One that jumps away from there leaves our
 * slot taken and without its bit: the thread knows it again by the number and
 * by the frame, which is not below its own any more.
 *
 * The table lies in memory that fork(2) wipes, so a child finds it empty.
 */
#ifndef BEZOAR_CORE_WALK_H
#define BEZOAR_CORE_WALK_H

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

#include <bezoar/bezoar.h>

#define BZ_WALKS 256
#define BZ_DEPTH 4			/* faults inside faults */

/* Taken by a reader that is not in a fault and will not nest. */
#define BZ_WALK_ANYBODY 0x80000000u

/* Where a guarded call comes back to, see core/guard.h. */
struct bz_guard {
	void *env[5];			/* __builtin_setjmp */
	struct bz_guard *outer;
	uint32_t depth;
	uint32_t keys;			/* core/keys.h */
};

/* States of a request to the worker. */
enum bz_request_state {
	BZ_REQ_IDLE = 0,
	BZ_REQ_POSTED = 1,		/* by the walker */
	BZ_REQ_RUNNING = 2,		/* by the worker */
	BZ_REQ_DONE = 3,		/* by the worker */
	BZ_REQ_ABANDONED = 4		/* by the walker: too late */
};

struct bz_request {
	_Atomic uint32_t state;		/* futex; CAS by both, as above */
	int32_t result;			/* worker, before DONE */
	bez_fill_fn fill;		/* walker, before POSTED; all below */
	void *arg;
	void *page;			/* to fill */
	uint64_t offset;
	uint64_t mark;			/* the walker's, for the worker to hold */
};

/* A range of an open file that is locked (F_OFD_SETLK). */
struct bz_file_lock {
	int32_t fd;
	uint64_t dev, ino;		/* of the file; 0 and 0: no lock */
	uint64_t start, len;
};

struct bz_walk {
	_Alignas(64) _Atomic uint64_t owner;
	_Atomic uint32_t gen;
	_Atomic uint32_t waiters;
	_Atomic uint64_t mark;
	uint32_t depth;
	_Atomic uint32_t placing;	/* owner: see core/gate.h */
	struct bz_guard *guard;
	_Atomic uint64_t claim[BZ_DEPTH];

	_Alignas(64) uint64_t mask;	/* of signals, at depth 1 */
	_Atomic uint64_t until;

	struct bz_file_lock lock[BZ_DEPTH];

	_Alignas(64) struct bz_request request;
	uint32_t held;			/* a SIGBUS that was sent meanwhile */
	siginfo_t held_info;
};

struct bz_mm;

/* The thread that holds @w; 0: none. */
static inline uint32_t bz_walk_tid(const struct bz_walk *w)
{
	return (uint32_t)atomic_load_explicit(&w->owner, memory_order_relaxed);
}

/*
 * The slot of the calling thread, taken if need be, one deeper than before. At
 * depth 1 the caller sets its mask. @frame: of the signal handler that calls;
 * NULL in normal context. NULL: the table stayed full until the deadline.
 * Context: handler-safe.
 */
struct bz_walk *bz_walk_enter(struct bz_mm *mm, uint32_t tid, const void *frame,
			      uint64_t wait_ns);

/*
 * One level up; at the top the slot is given back. 1: then a SIGBUS that was
 * sent meanwhile is at @ret_held, and the caller's to deliver; else 0.
 */
int bz_walk_leave(struct bz_mm *mm, struct bz_walk *w, siginfo_t *ret_held);

/* The same from any depth, with all claims and the mark. */
int bz_walk_drop(struct bz_mm *mm, struct bz_walk *w, siginfo_t *ret_held);

/* The slot that @tid holds, or NULL. */
struct bz_walk *bz_walk_of(struct bz_mm *mm, uint32_t tid);

/* Is any slot in use? If not, the caller is not in a handler either. */
int bz_walk_any(struct bz_mm *mm);

/* Drop claim[@depth] and its lock, the mark or placing of @w and tell who waits for
 * that. */
void bz_walk_unclaim(struct bz_walk *w, uint32_t depth);
void bz_walk_placed(struct bz_walk *w);
void bz_walk_unmark(struct bz_walk *w);

/* All three at the level of @w, the mark only if @unmark. */
void bz_walk_done(struct bz_walk *w, int unmark);

/*
 * Sleep until @w->gen moved from @gen, at most @ns. The caller has read @gen
 * before it looked at what it waits for. 0, or -ETIMEDOUT.
 */
int bz_walk_wait(struct bz_walk *w, uint32_t gen, uint64_t ns);

/* The owner of @w is gone without having given it back: clean up after it. */
void bz_walk_bury(struct bz_mm *mm, struct bz_walk *w);

#endif
