/* SPDX-License-Identifier: MIT */
#include "region/lost.h"

#include <errno.h>

#define STATE	3u
#define BUSY	1u
#define READY	2u

struct bz_inventory bz_inventory;
_Atomic uint64_t bz_lost_word;

static uint64_t word_of(struct bz_extent x, uint64_t state)
{
	return x.start | (uint64_t)__builtin_ctzll(x.width) << 2 | state;
}

static struct bz_extent extent_of(uint64_t key)
{
	return (struct bz_extent){
		.start = key & ~(uint64_t)0xfff,
		.width = (uint64_t)1 << (key >> 2 & 63),
	};
}

/* acquire: pairs with bz_lost_grow(). */
static struct bz_lost_chunk *chunk_of(uint32_t slot)
{
	return atomic_load_explicit(&bz_inventory.chunk[slot / BZ_LOST_CHUNK],
				    memory_order_acquire);
}

static _Atomic uint64_t *key_of(uint32_t slot)
{
	return &chunk_of(slot)->key[slot % BZ_LOST_CHUNK];
}

static struct bz_lost_slot *slot_of(uint32_t slot)
{
	return &chunk_of(slot)->slot[slot % BZ_LOST_CHUNK];
}

/* What was entered before the count was is there, and below the top: pairs with
 * bz_lost_enter(). */
static uint32_t top(void)
{
	if (!(uint32_t)atomic_load_explicit(&bz_lost_word,
					    memory_order_acquire))
		return 0;
	return atomic_load_explicit(&bz_inventory.top, memory_order_relaxed);
}

int bz_lost_walk(uint32_t *i, struct bz_lost_at *ret)
{
	uint32_t end = top();

	while (*i < end) {
		uint32_t slot = (*i)++;
		/* acquire: pairs with bz_lost_enter() */
		uint64_t key = atomic_load_explicit(key_of(slot),
						    memory_order_acquire);

		if ((key & STATE) != READY)
			continue;
		ret->slot = slot;
		ret->key = key;
		ret->x = extent_of(key);
		return 1;
	}
	return 0;
}

int bz_lost_find(uint64_t addr, struct bz_lost_at *ret)
{
	uint32_t i = 0;

	while (bz_lost_walk(&i, ret))
		if (addr - ret->x.start < ret->x.width)
			return 1;
	return 0;
}

uint64_t bz_lost_before(uint64_t addr, uint64_t len)
{
	struct bz_lost_at at;
	uint32_t i = 0;

	while (len && bz_lost_walk(&i, &at)) {
		if (addr - at.x.start < at.x.width)
			len = 0;
		else if (at.x.start - addr < len)
			len = at.x.start - addr;
	}
	return len;
}

/* ------------------------------------------------------------ in and out */

static void raise_top(uint32_t to)
{
	uint32_t was = atomic_load_explicit(&bz_inventory.top,
					    memory_order_relaxed);

	while (was < to && !atomic_compare_exchange_weak_explicit(
				   &bz_inventory.top, &was, to,
				   memory_order_relaxed, memory_order_relaxed))
		continue;
}

int bz_lost_take(struct bz_extent x, struct bz_lost_at *ret)
{
	uint32_t slots = atomic_load_explicit(&bz_inventory.slots,
					      memory_order_acquire), i;

	for (i = 0; i < slots; i++) {
		uint64_t was = 0;

		if (atomic_load_explicit(key_of(i), memory_order_relaxed) ||
		    !atomic_compare_exchange_strong(key_of(i), &was,
						    word_of(x, BUSY)))
			continue;
		/* BUSY before the content: pairs with bz_lost_read() */
		atomic_thread_fence(memory_order_release);
		raise_top(i + 1);
		ret->slot = i;
		ret->key = word_of(x, READY);
		ret->x = x;
		return 0;
	}
	return -ENOSPC;
}

void bz_lost_enter(const struct bz_lost_at *at, const struct bez_lost *lost,
		   enum bz_lost_cover cover)
{
	struct bz_lost_slot *s = slot_of(at->slot);

	s->lost = *lost;
	atomic_store_explicit(&s->cover, cover, memory_order_relaxed);
	/* while the key is BUSY: pairs with next_untold() in lost.c */
	atomic_store_explicit(&s->seq,
			      atomic_fetch_add(&bz_inventory.drawn, 1) + 1,
			      memory_order_relaxed);
	atomic_store_explicit(key_of(at->slot), at->key, memory_order_release);
	/* release, after the key: pairs with top() */
	atomic_fetch_add_explicit(&bz_lost_word, ((uint64_t)1 << 32) + 1,
				  memory_order_release);
}

void bz_lost_give_up(const struct bz_lost_at *at)
{
	atomic_store_explicit(key_of(at->slot), 0, memory_order_release);
}

int bz_lost_remove(const struct bz_lost_at *at)
{
	uint64_t key = at->key;

	if (!atomic_compare_exchange_strong(key_of(at->slot), &key, 0))
		return 0;
	atomic_fetch_add_explicit(&bz_lost_word, ((uint64_t)1 << 32) - 1,
				  memory_order_release);
	return 1;
}

int bz_lost_read(const struct bz_lost_at *at, struct bez_lost *ret_lost)
{
	struct bz_lost_slot *s = slot_of(at->slot);
	uint64_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed);
	struct bez_lost lost = s->lost;

	lost.seq = seq;
	/* the content before the second look at both: pairs with the compare-
	 * and-swap of who takes the slot next */
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(key_of(at->slot), memory_order_relaxed) !=
		    at->key ||
	    atomic_load_explicit(&s->seq, memory_order_relaxed) != seq)
		return 0;
	*ret_lost = lost;
	return 1;
}

enum bz_lost_cover bz_lost_cover(const struct bz_lost_at *at)
{
	return (enum bz_lost_cover)atomic_load_explicit(
		&slot_of(at->slot)->cover, memory_order_relaxed);
}

void bz_lost_set_cover(const struct bz_lost_at *at, enum bz_lost_cover cover)
{
	atomic_store_explicit(&slot_of(at->slot)->cover, cover,
			      memory_order_relaxed);
}

/* ------------------------------------------------------------- for anybody */

int bez_lost_in(const void *addr, size_t len)
{
	return bz_lost_count() &&
	       bz_lost_before((uint64_t)addr, len) != len;
}

uint64_t bez_lost_generation(void)
{
	return atomic_load_explicit(&bz_lost_word, memory_order_relaxed);
}

int bez_lost_next(uint64_t *at, struct bez_lost *ret_lost)
{
	struct bz_lost_at found;
	uint32_t i;

	if (!at || !ret_lost)
		return -EINVAL;
	i = (uint32_t)*at;
	while (bz_lost_walk(&i, &found)) {
		*at = i;
		if (bz_lost_read(&found, ret_lost))
			return 0;
	}
	return -ENOENT;
}
