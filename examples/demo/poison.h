/* SPDX-License-Identifier: MIT */
/*
 * The poison: which pages, in which order, and what became of each. A page
 * counts as taken when a thread has got the SIGBUS of touching it, which is
 * known from bezoar's events; who makes the poison takes none of it. What is
 * replaced before anybody touched it, after an early notice, does not count.
 */
#ifndef DEMO_POISON_H
#define DEMO_POISON_H

#include <bezoar/bezoar.h>

#include "memory.h"

#define POISON_OUTCOMES	256	/* above any number of enum bez_outcome */

enum poison_state {
	POISON_GOOD,
	POISON_OUT,			/* made, and nobody came by yet */
	POISON_REFUSED,			/* lost for good */
};

struct poison {
	const struct memory *memory;
	uint32_t backend;		/* asked for, then: used */
	size_t *plan;			/* page numbers */
	uint64_t count;			/* of them */
	uint64_t made;
	unsigned char *state;		/* [page]: enum poison_state */
	uint64_t out;			/* how many are OUT */

	uint64_t taken;			/* SIGBUS by touch, and replaced */
	uint64_t early;			/* SIGBUS as early notice to bezoar's
					 * thread, before anybody touched it */
	uint64_t from_file, from_mirror; /* of taken and early */
	uint64_t *took_ns;		/* of each that was taken */

	uint64_t refused;		/* SIGBUS by touch, and not replaced */
	uint64_t refused_why[POISON_OUTCOMES];
	uint64_t passed_over;		/* of made: was lost for good before */

	uint64_t outcomes[POISON_OUTCOMES];
	uint64_t not_ours;		/* replaced, but no poison of ours */
	uint64_t missed;		/* events that were overwritten */
	uint64_t seq;
};

/* 0; -1: said on stderr. */
int poison_plan(struct poison *p, const struct memory *m, uint64_t count,
		uint64_t seed, uint32_t backend);

/* The plan on stdout: a line for each page, of which file, and which of it
 * from 0. 0, or 2: it could not be written. */
int poison_print(const struct poison *p);

/*
 * Lose the next page of the plan. 1: not now: too many are out, or this very
 * page still is. -1: it did not work, said on stderr.
 */
int poison_next(struct poison *p);

/* Lose the first page of the plan in a child of fork(2), without harm to the
 * parent. 0 or a negative errno. */
int poison_in_child(const struct poison *p);

/* Read bezoar's events. Often enough, or some are missed; which is counted. */
void poison_collect(struct poison *p);

/* Of what was collected: how many of those that were made have come to an end,
 * whichever. */
uint64_t poison_settled(const struct poison *p);

/* Of what was collected: faults that were not made good, ours or not. */
uint64_t poison_unsaved(const struct poison *p);

#endif
