/* SPDX-License-Identifier: MIT */
#include "region/chunks.h"

#include <stddef.h>

_Atomic(struct bz_region *) bz_chunks[BZ_CHUNKS];
uint32_t bz_first_generation = 1;

struct bz_region *bz_region_by_id(bez_region_t id)
{
	uint32_t index = (uint32_t)id - 1;
	struct bz_region *r;

	if (!(uint32_t)id || index / BZ_CHUNK_REGIONS >= BZ_CHUNKS)
		return NULL;
	r = atomic_load_explicit(&bz_chunks[index / BZ_CHUNK_REGIONS],
				 memory_order_acquire);
	if (!r)
		return NULL;
	r += index % BZ_CHUNK_REGIONS;
	return r->generation == id >> 32 && r->end ? r : NULL;
}
