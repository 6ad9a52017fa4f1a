/* SPDX-License-Identifier: MIT */
/*
 * A shard: a lock, and all that it guards. Two kinds of memory of it are large, and
 * registered with bezoar:
 *
 *  items   slabs of 1 MiB, each cut into slots of one size: `struct item`, then
 *	    the key, then the value. Nothing leads from one item to another, so a
 *	    page that is lost takes the keys that were on it, and nothing else.
 *  index   what leads to them: hash chains, and a `struct slot` for each slot of
 *	    each slab. It holds nothing that could not be read from the items again
 *	    (mend.c), so a page of it that is lost takes nothing.
 *
 * The struct itself is small and plain memory.
 *
 * Who touches either kind holds the lock and is in a scope that was entered after
 * it was taken (store.c): a jump out of it finds the lock still held, which is
 * what the mending needs.
 */
#ifndef KV_SHARD_H
#define KV_SHARD_H

#include <bezoar/bezoar.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"

#define SLAB_BYTES	(1u << 20)
#define SLOT_MIN	64u
#define SLAB_SLOTS	(SLAB_BYTES / SLOT_MIN)	/* most in one slab */
#define CLASSES		64
#define CLASS_NONE	0xff

/* As it lies in the slab. @valid is what makes it an item: it is written last,
 * and is 0 in every slot that has none. */
struct item {
	uint64_t cas;
	uint32_t flags;
	uint32_t expires;		/* seconds since 1970; 0: never */
	uint32_t value_len;
	uint8_t key_len;
	uint8_t valid;
	uint16_t reserved;
	char data[];
};

enum slot_state {
	SLOT_NONE = 0,			/* there is no such slot */
	SLOT_FREE,			/* in the free list of its class */
	SLOT_USED,			/* has an item; in a chain and in the
					 * class's queue */
	SLOT_HELD,			/* shard->held: being written */
	SLOT_LOST			/* a page of it could not be made good:
					 * out of use until it can */
};

/* Of the slot with that number - 1; 0 is no slot, so that pages that were never
 * written, or are made anew, are empty lists. */
typedef uint32_t slot_t;

struct slot {
	uint64_t hash;
	slot_t next;			/* of its chain, or of the free list */
	slot_t older, newer;		/* in the queue of its class */
	uint32_t size : 24;		/* bytes of key and value */
	uint32_t state : 7;		/* enum slot_state */
	uint32_t asked_for : 1;		/* since it was last passed over */
};

struct slot_class {
	uint32_t size;			/* bytes of a slot */
	uint32_t slots;			/* in a slab */
	uint32_t slabs;
	slot_t free;
	slot_t oldest, newest;
};

struct shard {
	pthread_mutex_t lock;
	char *items;
	size_t items_len;
	void *index;			/* buckets, then slots */
	size_t index_len;
	slot_t *bucket;
	uint32_t buckets;		/* a power of two */
	struct slot *slot;
	uint32_t slabs, slabs_used;	/* those from slabs_used on have no class */
	uint32_t next_taken;		/* slab to take from another class */
	uint8_t *slab_class;
	struct slot_class class[CLASSES];
	uint64_t cas;			/* given out last */
	slot_t held;			/* by the call that is under way */
	bool index_broken;		/* to be made anew; also half-way in that */
	bool unmended;			/* there is a SLOT_LOST */
	uint64_t flush_at;		/* when all is to be dropped; 0: never */
	uint64_t used_items, used_bytes;
	uint64_t count[STORE_COUNTERS];
	bez_region_t region[2];
} __attribute__((aligned(64)));

/* ------------------------------------------------ slab.c: slots of a size */

void slab_classes(struct shard *s);	/* before all others */
/* That fits @bytes; -1: none. */
int slab_class_of(size_t bytes);

static inline struct item *slot_item(const struct shard *s, slot_t n)
{
	uint32_t slab = (n - 1) / SLAB_SLOTS, i = (n - 1) % SLAB_SLOTS;

	return (struct item *)(s->items + (size_t)slab * SLAB_BYTES +
			       (size_t)i * s->class[s->slab_class[slab]].size);
}

static inline struct slot *slot_at(const struct shard *s, slot_t n)
{
	return &s->slot[n - 1];
}

static inline struct slot_class *slot_class(struct shard *s, slot_t n)
{
	return &s->class[s->slab_class[(n - 1) / SLAB_SLOTS]];
}

/* A slot to write an item into, which is s->held then; 0: there is none, all of
 * the class is lost. May drop items to get it. */
slot_t slab_take(struct shard *s, int class);
void slab_put_free(struct shard *s, slot_t n);
/* None of them is in the free list of their class any more. */
void slab_unfree(struct shard *s, slot_t first, slot_t end);
/* There is no item there any more, whoever reads the slab. Says nothing and does
 * no harm if the page is lost. */
void slab_erase(struct shard *s, slot_t n);
/* Out of index and slab: the slot is free. */
void slab_drop(struct shard *s, slot_t n);

/* --------------------------------------- index.c: from a key to its slot */

void index_seed(uint64_t value);	/* before all others */

slot_t index_find(const struct shard *s, uint64_t hash, const char *key,
		  size_t key_len);
void index_link(struct shard *s, slot_t n, uint64_t hash, uint32_t size);
void index_unlink(struct shard *s, slot_t n);
/* As if it were just stored: last of its class to be dropped. */
void index_refresh(struct shard *s, slot_t n);

/* ------------------------------------------------- mend.c: after a loss */

/* The shard agrees again with what is lost of its memory. The lock is held. */
void mend(struct shard *s);
/* bez_policy.on_lost of both regions. @arg: the shard. */
void mend_told(const struct bez_lost *lost, void *arg);

extern struct shard *shards;
extern unsigned int shard_count;

uint64_t key_hash(const char *key, size_t len);
struct shard *shard_of(uint64_t hash);

#endif
