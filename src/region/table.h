/* SPDX-License-Identifier: MIT */
/*
 * The region table: a B+ tree by start address. Readers take no lock; writers
 * hold one mutex and never change what a reader may see, except for three
 * single stores: a pointer to a child is replaced, an entry is appended behind
 * the last one, a key of an inner node is raised where nothing lies below it.
 *
 *	root --> [ level 1 | count | { key, -, child } ... ]
 *			      |
 *			      v
 *		 [ level 0 | count | { start, end, region } ... ]
 *
 * A child of an inner node holds what starts at its key or above, and below
 * the key that follows; the first key counts as minus infinity. No region
 * reaches over the key that follows it in any node above, so one way down is
 * enough to find it. An entry has all that a look-up needs, side by side,
 * because every cache line that is fetched costs more than the comparing.
 *
 * A node that was replaced is retired with the next epoch and used again only
 * when no reader has an older mark. tests/models/table.pml is this.
 */
#ifndef BEZOAR_REGION_TABLE_H
#define BEZOAR_REGION_TABLE_H

#include <stdatomic.h>
#include <stdint.h>

#include "types.h"

#define BZ_FAN 32			/* entries of a node: 12 cache lines */
#define BZ_LEVELS 8			/* 16^8 regions at the worst filling */

struct bz_entry {
	_Atomic uint64_t key;		/* writer; of inner nodes it may rise */
	_Atomic uint64_t end;		/* leaf: end of the region */
	_Atomic uint64_t at;		/* address: of the registration, or of
					 * the child */
};

struct bz_node {
	_Atomic uint32_t count;		/* writer; grows only by appending */
	uint32_t level;			/* 0: leaf */
	struct bz_node *next;		/* writer: free or retired list */
	uint64_t tag;			/* writer: epoch of retirement */
	struct bz_entry entry[BZ_FAN];
};

/* One registration: three cache lines, in the order in which the handler
 * needs them. Written under the lock before it is published; the counters by
 * handlers, relaxed. */
struct bz_region {
	_Alignas(64) uint64_t start;	/* 0 and 0: free */
	uint64_t end;
	uint32_t generation;		/* upper half of its id */
	uint32_t index;			/* lower half - 1 */
	uint32_t flags;
	uint32_t max_repeats;
	uint8_t actions[4];
	uint8_t sources;
	uint8_t dying;			/* out of the table, faults may linger */
	_Atomic uint16_t memory;	/* kind | shift << 8, as far as known;
					 * handlers, relaxed */
	struct bz_source *list;		/* several sources; from the pool */
	const uint64_t *digests;
	struct bz_share *share;		/* the file behind it; or NULL */

	struct bz_source one;		/* the only source, if list is NULL */
	struct bz_region *next_free;
	bez_lost_fn on_lost;		/* NULL: nobody */
	void *on_lost_arg;
	const struct bez_relay *relay;	/* NULL: nobody */

	char name[BEZ_NAME_MAX + 1];
	_Atomic uint64_t faults;
	_Atomic uint64_t replaced;
	_Atomic uint32_t not_replaced;
	_Atomic uint32_t notices;
	_Atomic uint32_t last_outcome;
};

struct bz_table {
	_Atomic(struct bz_node *) root;	/* NULL: empty */
	_Atomic uint64_t epoch;		/* writers; starts at 1 */
};

extern struct bz_table bz_table;

/* The region that holds @addr, or NULL. The caller holds a mark, or the lock.
 * Context: handler-safe. */
struct bz_region *bz_table_find(uint64_t addr);

static inline bez_region_t bz_region_id(const struct bz_region *r)
{
	return (uint64_t)r->generation << 32 | (r->index + 1);
}

/* The registration called @id, or NULL if there is none any more. The caller
 * holds a mark or the lock. Context: handler-safe. */
struct bz_region *bz_region_by_id(bez_region_t id);

/* Writers: all under the lock. -EEXIST, -ENOMEM; nothing changed then. */
int bz_table_insert(struct bz_region *r);
int bz_table_remove(struct bz_region *r);

/* The next epoch: who marks from now on sees what was published before. */
uint64_t bz_table_next_epoch(void);

/* The oldest mark that is set; UINT64_MAX: none. */
uint64_t bz_table_oldest_mark(void);

/* Forget every node; they go with the arena. Only when no handler can run. */
void bz_table_reset(void);

#endif
