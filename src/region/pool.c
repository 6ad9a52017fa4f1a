/* SPDX-License-Identifier: MIT */
#include "region/pool.h"

#include <stddef.h>
#include <string.h>

#include "region/arena.h"
#include "region/chunks.h"

union list {
	struct bz_source source[BEZ_SOURCE_MAX_LIST];
	union list *next;
};

#define LISTS_AT_ONCE 256

static struct {
	struct bz_region *free;
	uint64_t first, made;		/* registrations that exist at all */
	union list *free_list;
} pool;

struct bz_region *bz_pool_get(void)
{
	struct bz_region *r = pool.free;

	if (r) {
		pool.free = r->next_free;
		return r;
	}
	if (pool.made == BZ_CHUNK_REGIONS * BZ_CHUNKS)
		return NULL;
	if (pool.made % BZ_CHUNK_REGIONS == 0) {
		struct bz_region *chunk =
			bz_arena_get(BZ_CHUNK_REGIONS * sizeof(*chunk));

		if (!chunk)
			return NULL;
		/* release: pairs with bz_region_by_id() */
		atomic_store_explicit(
			&bz_chunks[pool.made / BZ_CHUNK_REGIONS], chunk,
			memory_order_release);
	}
	r = atomic_load_explicit(&bz_chunks[pool.made / BZ_CHUNK_REGIONS],
				 memory_order_relaxed);
	r += pool.made % BZ_CHUNK_REGIONS;
	r->index = (uint32_t)pool.made++;
	r->generation = bz_first_generation;
	return r;
}

void bz_pool_put(struct bz_region *r)
{
	/* the last id that it has: it is never used again */
	if (!++r->generation)
		return;
	r->next_free = pool.free;
	pool.free = r;
}

struct bz_region *bz_pool_nth(uint64_t i)
{
	if (i >= pool.made)
		return NULL;
	return atomic_load_explicit(&bz_chunks[i / BZ_CHUNK_REGIONS],
				    memory_order_relaxed) + i % BZ_CHUNK_REGIONS;
}

struct bz_source *bz_pool_get_list(void)
{
	union list *l;
	uint32_t i;

	if (!pool.free_list) {
		l = bz_arena_get(LISTS_AT_ONCE * sizeof(*l));
		if (!l)
			return NULL;
		for (i = 0; i < LISTS_AT_ONCE; i++) {
			l[i].next = pool.free_list;
			pool.free_list = &l[i];
		}
	}
	l = pool.free_list;
	pool.free_list = l->next;
	return l->source;
}

void bz_pool_put_list(struct bz_source *list)
{
	union list *l = (union list *)list;

	if (!l)
		return;
	l->next = pool.free_list;
	pool.free_list = l;
}

/*
 * An id of this start must not name a region of the next, so that one begins
 * with a higher generation. A registration that has used up most of its ids
 * would leave too few for all: its place in the directory is left alone.
 */
static uint64_t spare_ids(void)
{
	uint64_t i, spent = 0;

	for (i = pool.first; i < pool.made; i++) {
		uint32_t generation = bz_chunks[i / BZ_CHUNK_REGIONS]
					[i % BZ_CHUNK_REGIONS].generation;

		if (!generation || generation > UINT32_MAX / 2)
			spent = i + 1;
		else if (generation >= bz_first_generation)
			bz_first_generation = generation + 1;
	}
	return spent;
}

void bz_pool_reset(void)
{
	uint64_t spent = spare_ids(), first = pool.first, i;

	for (i = first; i < pool.made; i += BZ_CHUNK_REGIONS)
		atomic_store(&bz_chunks[i / BZ_CHUNK_REGIONS], NULL);
	if (spent)		/* chunks are whole */
		first = (spent + BZ_CHUNK_REGIONS - 1) & -BZ_CHUNK_REGIONS;
	memset(&pool, 0, sizeof(pool));
	pool.first = pool.made = first;
}
