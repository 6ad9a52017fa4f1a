/* SPDX-License-Identifier: MIT */
/*
 * Numbers for a monitoring system: a file in the text format of Prometheus, for the
 * textfile collector of node_exporter. It is written after something was committed,
 * at most once a second, whole (its name is that of a whole one at any moment), and
 * not while nothing changes. What is in it is in the store: who is killed takes
 * back nothing that was shown.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_METRICS_H
#define BEZOAR_TOOLS_BEZOARD_METRICS_H

#include "batch.h"
#include "latches.h"

struct metrics {
	const char *path;		/* NULL: none are wanted */
	const struct batch *batch;
	struct latches latches;
	uint64_t due_ns;		/* when to write, of clock_now(); 0: what is
					 * written is true */
	uint64_t next_ns;		/* not before */
	int changes, fails;		/* at the last time; -1: never */
	int said;			/* that it cannot be written */
	/* page frames, and what they were counted of: */
	int64_t frames, of_places, of_retired;
	uint64_t of_framed;
};

/* A folder that cannot be written to is said, and tried again. */
void metrics_open(struct metrics *m, const struct batch *batch,
		  const char *path, const char *latches);
/* The last time: the daemon ends. */
void metrics_close(struct metrics *m);

/* m->latches.notify can be read. */
void metrics_latches(struct metrics *m);

/* Write what has changed, or set m->due_ns. */
void metrics_turn(struct metrics *m);

/* What is in the file; @up: that the daemon runs. -1: the store does not answer. */
int metrics_text(struct metrics *m, FILE *to, int up);

#endif
