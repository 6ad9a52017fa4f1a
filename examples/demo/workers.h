/* SPDX-License-Identifier: MIT */
/*
 * The work: four threads that go over all memory without pause, check each page
 * against its digest and ask the index for blocks, each thread from another
 * place. They know nothing of poison, but that what they do can be broken off
 * by a page that is lost for good.
 */
#ifndef DEMO_WORKERS_H
#define DEMO_WORKERS_H

#include "memory.h"

#define WORKERS	4

struct work {
	uint64_t operations;	/* pages checked and questions asked */
	uint64_t wrong_bytes;	/* read */
	uint64_t wrong_answers;
	uint64_t unreadable;	/* of operations: by a page lost for good */
};

/* 0; -1: said on stderr. @attach: to bezoar. */
int workers_start(const struct memory *m, uint64_t seed, int attach);

/* The sum of what has been done since the start. */
struct work workers_so_far(void);

/* The same, when all have come to an end. */
struct work workers_stop(void);

/* One look at each page, by the caller. */
struct work workers_sweep(const struct memory *m);

#endif
