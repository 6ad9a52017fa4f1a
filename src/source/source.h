/* SPDX-License-Identifier: MIT */
/*
 * Third room: the good bytes.
 */
#ifndef BEZOAR_SOURCE_SOURCE_H
#define BEZOAR_SOURCE_SOURCE_H

#include <stdint.h>

#include "core/mm.h"
#include "types.h"

/*
 * Build the content of @x, which lies in @hit, at *@from (x.width bytes), or say
 * there where it lies: the first source that delivers, and whose bytes match
 * the digest if there is one. Returns BEZ_OUTCOME_NONE, or why the last one
 * asked did not do; @ret_kind is the one that delivered or was asked last.
 *
 * The caller holds the claim of @x and the mark under which @hit was found, and
 * wipes what is at *@from. Context: handler-safe.
 */
enum bez_outcome bz_source_fill(struct bz_mm *mm, struct bz_walk *w,
				const struct bz_hit *hit, struct bz_extent x,
				uint64_t taken_ns, void **from,
				uint16_t *ret_kind);

#endif
