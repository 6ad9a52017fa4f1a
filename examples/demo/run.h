/* SPDX-License-Identifier: MIT */
/*
 * The run: the workers work, a second with poison and as long without it in
 * turns, so that whatever else the machine does slows down both alike.
 */
#ifndef DEMO_RUN_H
#define DEMO_RUN_H

#include "options.h"
#include "poison.h"
#include "workers.h"

struct stretch {
	uint64_t operations;
	double seconds;
};

struct run {
	struct stretch clean, poisoned;	/* sums */
	uint64_t wrong_bytes, wrong_answers, unreadable;
};

/*
 * All poison of the plan, at its rate and until each page was taken; then one
 * look at everything. 0; -1: said on stderr; *ret_run is valid in any case, at
 * any time: the caller's escape may be taken.
 */
int run(const struct options *options, struct poison *p, struct run *ret_run);

#endif
