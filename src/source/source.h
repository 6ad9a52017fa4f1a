/* SPDX-License-Identifier: MIT */
/*
 * Third room: the good bytes.
 */
#ifndef BEZOAR_SOURCE_SOURCE_H
#define BEZOAR_SOURCE_SOURCE_H

#include <stdint.h>

#include "core/mm.h"
#include "types.h"

/* What bz_source_fill() is given, and finds. */
struct bz_content {
	void *from;		/* in: where to build x.width bytes; out: where
				 * they lie, which may be elsewhere */
	uint16_t kind;		/* out: enum bez_source_kind that delivered, or
				 * was asked last */
	uint8_t salvage;	/* in: the file has poison there, and not a hole
				 * that would read as zeros: it may be read */
	uint8_t own_file;	/* out: the file behind the region was the
				 * source */
	uint8_t in_place;	/* in: it may stay in a mirror; out: it does, at
				 * from, and is not to be wiped */
};

/*
 * Build the content of @x: the first source that delivers, and whose bytes match
 * the digests if there are any. Returns BEZ_OUTCOME_NONE, or why the last one
 * asked did not do.
 *
 * The caller holds the claim of @x and the mark under which @hit was found, and
 * wipes what was built. Context: handler-safe.
 */
enum bez_outcome bz_source_fill(struct bz_mm *mm, struct bz_walk *w,
				const struct bz_hit *hit, struct bz_extent x,
				uint64_t taken_ns, struct bz_content *content);

/*
 * Where the first source has the content of @x already, ready to be used from
 * there; NULL: it has to be built. With digests it always has, so that what was
 * checked is what is used. Nobody has looked whether it can be read.
 */
void *bz_source_in_place(const struct bz_hit *hit, struct bz_extent x);

#endif
