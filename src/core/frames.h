/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_CORE_FRAMES_H
#define BEZOAR_CORE_FRAMES_H

#include "core/mm.h"
#include "types.h"

/* Negative, as a guarded call answers it. */
enum bz_way {
	BZ_WAY_UNKNOWN = 0,	/* code that no table describes, or no tables */
	BZ_WAY_LIVE = -1,
	BZ_WAY_DEAD = -2	/* it has returned, or been jumped over; or the
				 * code does not run on top of it */
};

/*
 * Is the frame that has entered a scope, as it was (@saved: bez_scope.saved), one
 * of those that the code of @fault runs on top of? @x: what is lost, which is not
 * read. Context: handler-safe.
 */
enum bz_way bz_frames_way(struct bz_walk *w, const struct bz_fault *fault,
			  struct bz_extent x, const uint64_t *saved);

#endif
