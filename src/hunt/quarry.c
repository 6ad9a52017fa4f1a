/* SPDX-License-Identifier: MIT */
/* What is hunted, as it is at the beginning. */
#include <errno.h>

#include "hunt/hunt.h"
#include "region/lost.h"

#define SIGN ((uint64_t)1 << 63)

static int take_given(const struct bez_hunt_options *o, struct bz_pieces *ret)
{
	uint64_t start;
	size_t i;
	int r = 0;

	for (i = 0; !r && i < o->extent_count; i++) {
		start = (uint64_t)o->extents[i].addr;
		/* a word of 0 is none, which what pads a block relies on */
		if (!start || !o->extents[i].len ||
		    start + o->extents[i].len < start)
			return -EINVAL;
		r = bz_pieces_add(ret, start, start + o->extents[i].len, 0);
	}
	return r;
}

static int take_lost(struct bz_pieces *ret)
{
	struct bz_lost_at at;
	uint32_t i = 0;
	int r = 0;

	while (!r && bz_lost_walk(&i, &at))
		r = bz_pieces_add(ret, at.x.start, at.x.start + at.x.width, 0);
	bz_pieces_join(ret);
	return r;
}

/* No extent starts at an address that the mask cuts: nothing would point there. */
static int fits(const struct bz_pieces *extents, uint64_t mask)
{
	size_t i;

	for (i = 0; i < extents->count; i++)
		if (extents->at[i].start & ~mask)
			return 0;
	return 1;
}

static void set_lane(struct bz_lanes *lanes, uint64_t from, uint64_t to)
{
	uint64_t i = lanes->count++;

	lanes->lo[i] = from;
	lanes->span[i] = to - from;
	lanes->slo[i] = from - SIGN;
	lanes->sspan[i] = to - from + SIGN;
}

/*
 * The intervals: all that lies between the widest gaps. @gaps: where, by index of
 * the extent before; insertion keeps the widest first.
 */
static void set_lanes(struct bz_quarry *q)
{
	const struct bz_piece *x = q->extents.at;
	size_t gaps[BZ_LANES - 1], count = 0, i, k, from = 0;

	for (i = 0; i < BZ_LANES; i++)
		q->lanes.sspan[i] = SIGN;
	q->lanes.count = 0;
	if (!q->extents.count)
		return;
	for (i = 0; i + 1 < q->extents.count; i++) {
		uint64_t gap = x[i + 1].start - x[i].end;

		for (k = count; k > 0; k--) {
			size_t j = gaps[k - 1];

			if (x[j + 1].start - x[j].end >= gap)
				break;
			if (k < BZ_LANES - 1)
				gaps[k] = j;
		}
		if (k < BZ_LANES - 1) {
			gaps[k] = i;
			if (count < BZ_LANES - 1)
				count++;
		}
	}
	/* in the order of the addresses */
	for (i = 0; i <= count; i++) {
		size_t to = q->extents.count - 1;

		for (k = 0; k < count; k++)
			if (gaps[k] >= from && gaps[k] < to)
				to = gaps[k];
		set_lane(&q->lanes, x[from].start, x[to].end);
		from = to + 1;
	}
}

int bz_quarry_take(const struct bez_hunt_options *o, struct bz_quarry *q)
{
	int r;

	/* before the look: who hunts again for what came after sees another */
	q->generation = bez_lost_generation();
	atomic_thread_fence(memory_order_acquire);
	q->lanes.mask = o->mask ? o->mask : UINT64_MAX;
	r = take_lost(&q->lost);
	if (!r && o->extents)
		r = take_given(o, &q->extents);
	else if (!r)
		r = bz_pieces_less(&q->lost, &(struct bz_pieces){ 0 },
				   &q->extents);
	if (r)
		return r;
	bz_pieces_join(&q->extents);
	if (!fits(&q->extents, q->lanes.mask))
		return -EINVAL;
	set_lanes(q);
	return (o->flags & BEZ_HUNT_REPLACE) &&
	       bz_quarry_has(q, o->tombstone) ? -EINVAL : 0;
}

void bz_quarry_free(struct bz_quarry *q)
{
	bz_pieces_free(&q->extents);
	bz_pieces_free(&q->lost);
}
