/* SPDX-License-Identifier: MIT */
/* A word that was found: replaced, counted, told. */
#include <errno.h>

#include "core/own.h"
#include "hunt/hunt.h"

#define TRIES 16u		/* with a word that is one thing and another */

/*
 * Whatever is stored is the tombstone, over a value that points into what is lost:
 * if somebody has written another such value, over that.
 */
static uint16_t replace(const struct bz_hunt *h, uint64_t *at,
			struct bez_hunt_found *found, uint32_t flags)
{
	const struct bz_piece *x = NULL;
	uint64_t is = found->value;
	uint32_t i;
	int r;

	if (!(flags & BZ_PIECE_WRITE))
		return BEZ_HUNT_READ_ONLY;
	for (i = 0; i < TRIES; i++) {
		r = bz_hunt_swap(at, &is, h->o.tombstone);
		if (!r && x) {
			found->value = is;
			found->extent = (void *)x->start;
			found->width = x->end - x->start;
		}
		if (!r)
			return BEZ_HUNT_REPLACED;
		if (r != -EAGAIN)
			return BEZ_HUNT_GONE;
		x = bz_quarry_has(&h->quarry, is);
		if (!x)
			break;
	}
	return BEZ_HUNT_CHANGED;
}

static void count(struct bz_bag *bag, uint16_t what)
{
	bag->found++;
	bag->replaced += what == BEZ_HUNT_REPLACED;
	bag->changed += what == BEZ_HUNT_CHANGED;
	bag->read_only += what == BEZ_HUNT_READ_ONLY;
	bag->gone += what == BEZ_HUNT_GONE;
}

static void take(struct bz_hunt *h, struct bz_bag *bag,
		 struct bez_hunt_found *found, uint32_t flags)
{
	uint64_t i;

	found->what = BEZ_HUNT_FOUND;
	if (found->at && (h->o.flags & BEZ_HUNT_REPLACE))
		found->what = replace(h, found->at, found, flags);
	count(bag, found->what);
	if (!h->o.found)
		return;
	i = atomic_fetch_add_explicit(&h->filled, 1, memory_order_relaxed);
	if (i < h->o.room)
		h->o.found[i] = *found;
}

void bz_note(struct bz_hunt *h, struct bz_bag *bag, uint64_t *at,
	     uint64_t value, uint32_t flags, int32_t tid, uint32_t reg)
{
	const struct bz_piece *x = bz_quarry_has(&h->quarry, value);
	struct bez_hunt_found found;

	/* ours may be new: lists have grown since the memory was chosen */
	if (!x || (at && bz_own_has((uint64_t)at)))
		return;
	found = (struct bez_hunt_found){
		.at = at, .value = value, .extent = (void *)x->start,
		.width = x->end - x->start, .tid = tid, .reg = (uint16_t)reg,
	};
	if (!h->o.fn) {
		take(h, bag, &found, flags);
		return;
	}
	/* all of it: what was replaced has to be told, also when it is enough */
	pthread_mutex_lock(&h->telling);
	if (!atomic_load_explicit(&h->end, memory_order_relaxed)) {
		take(h, bag, &found, flags);
		if (h->o.fn(&found, h->o.arg))
			atomic_store(&h->end, -ECANCELED);
	}
	pthread_mutex_unlock(&h->telling);
}
