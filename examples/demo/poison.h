/* SPDX-License-Identifier: MIT */
/*
 * The poison: which pages, in which order, and what became of each. A page
 * counts as taken when a thread has got the SIGBUS of touching it, which is
 * known from bezoar's events; who makes the poison takes none of it.
 */
#ifndef DEMO_POISON_H
#define DEMO_POISON_H

#include <bezoar/bezoar.h>

#include "memory.h"

#define POISON_OUTCOMES	256	/* above any number of enum bez_outcome */

struct poison {
	const struct memory *memory;
	uint32_t backend;		/* asked for, then: used */
	size_t *plan;			/* page numbers */
	uint64_t count;			/* of them */
	uint64_t made;
	unsigned char *is_out;		/* [page]: made and not yet replaced */
	uint64_t out;			/* how many are */

	uint64_t taken;			/* SIGBUS by touch, and replaced */
	uint64_t early;			/* SIGBUS as early notice to bezoar's
					 * thread, before anybody touched it */
	uint64_t from_file, from_mirror; /* of taken and early */
	uint64_t *took_ns;		/* of each that was taken */

	uint64_t outcomes[POISON_OUTCOMES];
	uint64_t not_ours;		/* replaced, but no poison of ours */
	uint64_t missed;		/* events that were overwritten */
	uint64_t seq;
};

/* 0; -1: said on stderr. */
int poison_plan(struct poison *p, const struct memory *m, uint64_t count,
		uint64_t seed, uint32_t backend);

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

/* Of what was collected: outcomes of a page that was not made good. */
uint64_t poison_refused(const struct poison *p);

#endif
