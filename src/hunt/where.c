/* SPDX-License-Identifier: MIT */
/* Which memory is looked at. */
#include <errno.h>
#include <link.h>

#include "core/core.h"
#include "core/own.h"
#include "hunt/hunt.h"
#include "region/region.h"

#define WORD	8u

struct collect {
	struct bz_pieces want, out;
	const struct bz_hunt *h;
};

static int one_region(uint64_t start, uint64_t end, const void *note,
		      size_t bytes, void *arg)
{
	struct collect *c = arg;
	int r = 0;

	if (c->h->o.flags & BEZ_HUNT_REGIONS)
		r = bz_pieces_add(&c->want, start, end, 0);
	if (!r && bytes)
		r = bz_pieces_add(&c->out, (uint64_t)note & -(uint64_t)WORD,
				  (uint64_t)note + bytes, 0);
	return r;
}

/* The data of the shared library; of a static program it cannot be told from the
 * program's, but what it has are addresses of our tables only. */
static int one_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	uint64_t here = (uint64_t)&bz_core;
	struct collect *c = arg;
	int i, is_ours = 0, r = 0;

	(void)size;
	if (!info->dlpi_name || !*info->dlpi_name)
		return 0;
	for (i = 0; i < info->dlpi_phnum; i++)
		is_ours |= info->dlpi_phdr[i].p_type == PT_LOAD &&
			   here - info->dlpi_addr -
					   info->dlpi_phdr[i].p_vaddr <
				   info->dlpi_phdr[i].p_memsz;
	for (i = 0; !r && is_ours && i < info->dlpi_phnum; i++) {
		uint64_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

		if (info->dlpi_phdr[i].p_type == PT_LOAD)
			r = bz_pieces_add(&c->out, start & -(uint64_t)WORD,
					  start + info->dlpi_phdr[i].p_memsz,
					  0);
	}
	return r;
}

static int collect_own(struct collect *c, const struct bz_pieces *more)
{
	uint64_t start, end;
	uint32_t i = 0;
	size_t k;
	int r;

	r = bz_pieces_add(&c->out, c->h->low, c->h->high, 0);
	for (k = 0; !r && k < more->count; k++)
		r = bz_pieces_add(&c->out, more->at[k].start & -(uint64_t)WORD,
				  more->at[k].end, 0);
	if (!r)
		r = bz_region_each(one_region, c);
	if (!r)
		r = dl_iterate_phdr(one_object, c);
	/* last: lists grow meanwhile, and each is one of these */
	while (!r && bz_own_next(&i, &start, &end))
		r = bz_pieces_add(&c->out, start, end, 0);
	return r;
}

static int collect_wanted(struct collect *c, const struct bz_pieces *stacks)
{
	const struct bez_hunt_options *o = &c->h->o;
	size_t i;
	int r = 0;

	for (i = 0; !r && i < o->range_count; i++) {
		uint64_t start = (uint64_t)o->ranges[i].addr;

		if (start + o->ranges[i].len < start)
			return -EINVAL;
		r = bz_pieces_add(&c->want, (start + WORD - 1) & -(uint64_t)WORD,
				  (start + o->ranges[i].len) & -(uint64_t)WORD,
				  0);
	}
	for (i = 0; !r && i < stacks->count; i++)
		r = bz_pieces_add(&c->want, stacks->at[i].start,
				  stacks->at[i].end, 0);
	for (i = 0; !r && o->flags & BEZ_HUNT_MAPPINGS && i < c->h->maps.count;
	     i++) {
		const struct bz_piece *p = &c->h->maps.at[i];
		uint32_t needs = BZ_PIECE_READ | BZ_PIECE_WRITE |
				 BZ_PIECE_PRIVATE;

		if ((p->flags & needs) == needs &&
		    !(p->flags & BZ_PIECE_DEVICE))
			r = bz_pieces_add(&c->want, p->start, p->end, 0);
	}
	return r;
}

/* What may be read now. Before @maps is used as it is. */
static int readable(const struct bz_pieces *maps, struct bz_pieces *ret)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < maps->count; i++)
		if (maps->at[i].flags & BZ_PIECE_READ)
			r = bz_pieces_add(ret, maps->at[i].start,
					  maps->at[i].end, maps->at[i].flags);
	return r;
}

static int put_together(struct bz_hunt *h, struct collect *c)
{
	struct bz_pieces less = { 0 }, open = { 0 }, both = { 0 };
	int r;

	bz_pieces_join(&c->want);
	bz_pieces_join(&c->out);
	r = bz_pieces_less(&c->want, &c->out, &less);
	if (!r)
		r = readable(&h->maps, &open);
	if (!r)
		r = bz_pieces_both(&less, &open, &both);
	if (!r)
		r = bz_pieces_less(&both, &h->quarry.lost, &h->spans);
	if (!r)
		h->bag.skipped += bz_pieces_bytes(&less) -
				  bz_pieces_bytes(&h->spans);
	bz_pieces_free(&less);
	bz_pieces_free(&open);
	bz_pieces_free(&both);
	return r;
}

int bz_where(struct bz_hunt *h, const struct bz_pieces *stacks,
	     const struct bz_pieces *more)
{
	struct collect c = { .h = h };
	int r = collect_wanted(&c, stacks);

	if (!r)
		r = collect_own(&c, more);
	if (!r)
		r = put_together(h, &c);
	bz_pieces_free(&c.want);
	bz_pieces_free(&c.out);
	return r;
}
