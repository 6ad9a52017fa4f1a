/* SPDX-License-Identifier: MIT */
/* One page of five, mirrored, lost, and the walk that brings it back. */
#ifndef BEZOAR_TESTS_REPAIRING_H
#define BEZOAR_TESTS_REPAIRING_H

#include <stdint.h>

#include "../live/live.h"
#include "ladder.h"
#include "unit.h"

#define REPAIR_PAGES	5
#define REPAIR_LOST	2	/* the page that is lost */

extern unsigned char *repair_at, *repair_copy;

/* What the last walk did. */
extern struct repaired {
	int r;
	struct bz_result result;
	uint32_t calls, lies;
} repaired;

/* Start, without a worker; register the pages with their mirror. */
void repair_begin(uint32_t flags);

/* Lose the page, and check that nobody can read it any more. */
void repair_lose(void);

/* The ladder for it, from a walk slot, as the handler and the worker climb it;
 * with the double watching. Checks that nothing is held afterwards. */
void repair_climb(void);

/* The page holds its bytes or is closed, and what repair_climb() said is just
 * that; the others are as they were; nothing is registered. @what, @n and
 * @err are for the message. */
void repair_judge(const char *what, uint32_t n, int err);

/* The first call of the last walk that was lied about, or -1. */
long repair_liar(void);

/* Make the page good whatever it is, and the double forget. */
void repair_mend(void);

#endif
