/* SPDX-License-Identifier: MIT */
/*
 * Who is told of what is lost or retiring, and of what of it comes back. The
 * inventory and the table of what is retiring are the truth; each function has a
 * list beside them of what it was told, and is told of the difference.
 *
 *	inventory slot, retiring slot ──┐
 *	told[slot] of the function   ───┴─► not there: LOST, RETIRING
 *					    other, or gone: BACK
 *
 *	state	FREE -> READY by who adds one, under the lock; READY -> DYING by
 *		who removes it, DYING -> FREE by the same when nobody is in it
 *	in	the place of the one that the worker is in, from 1, else 0. The
 *		worker stores it and then looks at the state, who removes one
 *		stores the state and then looks at it.
 */
#ifndef BEZOAR_HUNT_QUARANTINE_TABLE_H
#define BEZOAR_HUNT_QUARANTINE_TABLE_H

#include <stdatomic.h>
#include <stdint.h>

#include <bezoar/quarantine.h>

#include "region/lost.h"

#define BZ_TOLD_LOST	(BZ_LOST_CHUNK * BZ_LOST_CHUNKS)
#define BZ_TOLD		(BZ_TOLD_LOST + BEZ_RETIRING_MAX)

/* What one was told of a slot. Worker. */
struct bz_told {
	uint64_t seq;			/* of the loss, or of retiring; 0: nothing */
	struct bez_quarantined what;
};

enum bz_quarantine_state {
	BZ_QUARANTINE_FREE = 0,
	BZ_QUARANTINE_READY = 1,
	BZ_QUARANTINE_DYING = 2
};

struct bz_quarantine {
	_Atomic uint32_t state;
	_Atomic uint32_t removes_itself; /* worker; 0 by who adds it */
	uint64_t id;			/* this, and down to map: who adds it */
	bez_quarantine_fn fn;
	void *arg;
	uint32_t count;
	struct bez_range *ranges;
	struct bz_told *told;		/* BZ_TOLD; what nobody wrote has no memory */
	uint64_t map_size;		/* both of them, from told on */
	uint32_t own;			/* bz_own_add() of that */
	uint32_t top;			/* above the losses it was told; worker */
	uint64_t after;			/* last loss that was looked at; worker */
	uint64_t seen[2];		/* generation and changes when nothing was
					 * left to tell; worker */
};

/* A range that is retiring. */
struct bz_retiring {
	_Atomic uint64_t seq;		/* 0: free. Release, after the rest; lock */
	_Atomic uint64_t addr, len, region; /* likewise */
	_Atomic uint32_t cause;
};

struct bz_quarantines {
	struct bz_quarantine one[BEZ_QUARANTINES_MAX];
	struct bz_retiring retiring[BEZ_RETIRING_MAX];
	_Atomic uint32_t count;		/* that are not FREE; under the lock */
	_Atomic uint32_t in;		/* worker */
	_Atomic uint32_t outs;		/* futex; moves when it comes out; worker */
	_Atomic uint64_t changes;	/* of retiring[] and one[]; lock */
};

extern struct bz_quarantines bz_quarantines;

/* Does it want to be told of this range? */
int bz_quarantine_wants(const struct bz_quarantine *q, uint64_t addr,
			uint64_t len);

/* Give back what a dead one has. Under the lock, or where nobody else is. */
void bz_quarantine_free(struct bz_quarantine *q);

/* Under the lock: take out of retiring[] what lies in the range. How many? */
uint32_t bz_retiring_drop(uint64_t addr, uint64_t len);

#endif
