/* SPDX-License-Identifier: MIT */
/*
 * A scratch area: results that can be computed again, and so have no source.
 * What is lost of it is named, done without for a moment, and made anew.
 */
#ifndef DEMO_SCRATCH_H
#define DEMO_SCRATCH_H

#include <stdint.h>

#include "memory.h"

struct scratch {
	uint64_t asked;		/* pages to be lost */
	uint64_t made;		/* that were */
	uint64_t left;		/* times that a thread left by its scope */
	uint64_t told;		/* losses that on_lost was told of */
	uint64_t renewed;	/* pages that were named, cleared, made anew */
	uint64_t sums;		/* over a page that was whole */
	uint64_t wrong;		/* of these */
};

/* Lose @count pages of it by @backend while threads add it up. 0; -1: said on
 * stderr. */
int scratch_run(const struct memory *m, uint64_t count, uint64_t seed,
		uint32_t backend, struct scratch *ret_scratch);

#endif
