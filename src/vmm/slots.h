/* SPDX-License-Identifier: MIT */
/*
 * Which memory of the monitor the guest sees where.
 *
 * Two sorted arrays: by guest address, a row for each slot; by host address, a row
 * for each piece that has one lowest guest address (the same memory may be in several
 * slots). Readers take no lock and may be a signal handler on top of a writer: each
 * array is there twice, and while the writer changes one they read the other
 * (seqcount_latch of the kernel). Where it grows the older one is kept until the
 * end: all of them together are no larger than the newest.
 */
#ifndef BEZOAR_VMM_SLOTS_H
#define BEZOAR_VMM_SLOTS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* All fields: the writer, relaxed. */
struct bzv_row {
	_Atomic uint64_t start;		/* of the key: gpa or hva */
	_Atomic uint64_t end;
	_Atomic uint64_t other;		/* hva or gpa of start */
	_Atomic uint64_t flags;		/* BEZ_VM_MAP_* */
};

/* One piece, so that who has an older one has its count, too. */
struct bzv_rows {
	uint32_t room;
	_Atomic uint32_t count;		/* writer */
	struct bzv_row row[];
};

struct bzv_order {
	/* even: read copy 0; odd: read copy 1. The writer */
	_Atomic uint32_t latch;
	_Atomic(struct bzv_rows *) copy[2]; /* NULL: none yet; writer */
};

/* What a look-up gives. */
struct bzv_piece {
	uint64_t start, end;		/* of the key */
	uint64_t other;
	uint64_t flags;
};

struct bzv_slots {
	struct bzv_order by_gpa, by_hva;
	void **old;			/* arrays that were outgrown */
	size_t old_count;
};

/* Writers: one at a time. -EEXIST: overlaps a slot. -ENOMEM; nothing changed. */
int bzv_slots_add(struct bzv_slots *slots, uint64_t gpa, uint64_t len,
		  uint64_t hva, uint64_t flags);
/* The slot that begins at @gpa. -ENOENT. -ENOMEM; nothing changed. */
int bzv_slots_remove(struct bzv_slots *slots, uint64_t gpa,
		     struct bzv_piece *ret_slot);
/* All of them; readers find none. */
void bzv_slots_clear(struct bzv_slots *slots);
void bzv_slots_free(struct bzv_slots *slots);

/* The row that holds @key. -ENOENT. Handler-safe. */
int bzv_order_find(const struct bzv_order *order, uint64_t key,
		   struct bzv_piece *ret_piece);
/* The first row that ends after @key. -ENOENT. Handler-safe. */
int bzv_order_next(const struct bzv_order *order, uint64_t key,
		   struct bzv_piece *ret_piece);

/* Another one after each change. Context: any, handler-safe. */
static inline uint32_t bzv_order_version(const struct bzv_order *order)
{
	return atomic_load(&order->latch);
}

#endif
