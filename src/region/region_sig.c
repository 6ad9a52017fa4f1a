/* SPDX-License-Identifier: MIT */
#include "region/region.h"

#include "core/core.h"
#include "region/table.h"

_Atomic uint32_t bz_region_strict;

int bz_region_mark(struct bz_walk *w)
{
	/* an older mark keeps all that a newer one would, and more */
	if (atomic_load_explicit(&w->mark, memory_order_relaxed))
		return 0;
	atomic_store_explicit(&w->mark,
			      atomic_load_explicit(&bz_table.epoch,
						   memory_order_relaxed),
			      memory_order_relaxed);
	/* the mark before the look-up: pairs with bz_table_next_epoch() */
	atomic_thread_fence(memory_order_seq_cst);
	return 1;
}

static void describe(struct bz_region *r, struct bz_hit *ret_hit)
{
	struct bz_hit *h = ret_hit;
	uint32_t memory, i;

	h->id = bz_region_id(r);
	h->region = r;
	h->start = r->start;
	h->end = r->end;
	h->flags = r->flags;
	h->max_repeats = r->max_repeats;
	for (i = 0; i < sizeof(h->actions); i++)
		h->actions[i] = r->actions[i];
	h->sources = r->sources;
	memory = atomic_load_explicit(&r->memory, memory_order_relaxed);
	h->memory.kind = (uint8_t)memory;
	h->memory.shift = (uint8_t)(memory >> 8);
	h->share = r->share;
	h->source = r->list ? r->list : &r->one;
	h->digests = r->digests;
	h->relay = r->relay;
	h->name = r->name;
}

int bz_region_find(uint64_t addr, struct bz_hit *ret_hit)
{
	struct bz_region *r = bz_table_find(addr);

	if (!r)
		return -ENOENT;
	/* its other lines, while the first is read */
	__builtin_prefetch(&r->name);
	__builtin_prefetch(&r->faults, 1);
	describe(r, ret_hit);
	return 0;
}

int bz_region_in(uint64_t start, uint64_t width)
{
	uint64_t at;

	/* neighbours are in one node, which is at hand after the first */
	for (at = start; at - start < width; at += bz_core.page)
		if (bz_table_find(at))
			return 1;
	return 0;
}

void bz_region_learn(struct bz_hit *hit, struct bz_memory memory)
{
	uint16_t to = (uint16_t)(memory.kind | memory.shift << 8), was = 0;

	hit->memory = memory;
	if (memory.kind == BZ_MEMORY_MIXED)
		atomic_store_explicit(&hit->region->memory, to,
				      memory_order_relaxed);
	/* who was slow to look does not know of what has become mixed since */
	else if (!atomic_compare_exchange_strong_explicit(
			&hit->region->memory, &was, to, memory_order_relaxed,
			memory_order_relaxed))
		hit->memory.kind = (uint8_t)was;
}

int bz_region_is_mixed(struct bz_hit *hit)
{
	uint32_t memory = atomic_load_explicit(&hit->region->memory,
					       memory_order_relaxed);

	if ((uint8_t)memory != BZ_MEMORY_MIXED)
		return 0;
	hit->memory.kind = BZ_MEMORY_MIXED;
	return 1;
}

static void add_one(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

void bz_region_count(const struct bz_hit *hit, const struct bz_result *result,
		     uint32_t cause)
{
	struct bz_region *r = hit->region;

	/* why it was not replaced says more than that it was not */
	atomic_store_explicit(&r->last_outcome,
			      result->why ? result->why : result->outcome,
			      memory_order_relaxed);
	if (cause == BEZ_CAUSE_POISON_AO)
		atomic_fetch_add_explicit(&r->notices, 1,
					  memory_order_relaxed);
	else
		add_one(&r->faults);
	if (result->outcome == BEZ_OUTCOME_REPLACED)
		add_one(&r->replaced);
	else if (result->outcome == BEZ_OUTCOME_DEFAULT ||
		 result->outcome == BEZ_OUTCOME_COPY_SHORT ||
		 result->outcome == BEZ_OUTCOME_UNWOUND ||
		 result->outcome == BEZ_OUTCOME_RELAYED ||
		 result->outcome == BEZ_OUTCOME_DEGRADED ||
		 result->outcome == BEZ_OUTCOME_LEFT)
		atomic_fetch_add_explicit(&r->not_replaced, 1,
					  memory_order_relaxed);
}

int bez_region_at(const void *addr, bez_region_t *ret_region)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_region *r;
	struct bz_walk *w;
	bez_region_t region = 0;

	if (!ret_region)
		return -EINVAL;
	if (!mm)
		return -ENOENT;
	w = bz_walk_enter(mm, BZ_WALK_ANYBODY, NULL, UINT64_MAX / 2);
	bz_region_mark(w);
	r = bz_table_find((uint64_t)addr);
	if (r)
		region = bz_region_id(r);
	bz_walk_unmark(w);
	bz_walk_leave(mm, w, NULL);
	if (!region)
		return -ENOENT;
	*ret_region = region;
	return 0;
}
