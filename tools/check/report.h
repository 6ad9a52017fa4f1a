/* SPDX-License-Identifier: MIT */
/* What a probe's process leaves for who waits for it: shared between both. */
#ifndef BEZOAR_CHECK_REPORT_H
#define BEZOAR_CHECK_REPORT_H

#include "check.h"

struct report {
	volatile enum verdict verdict;
	const char *volatile doing;	/* static: the same in both */
	char why[PROBE_WHY];
	int real;
	unsigned int pages;		/* that may be lost */
	_Atomic unsigned int lost;
	uint64_t frames[PROBE_FRAMES];	/* before they are lost */
};

extern struct report *report;

#endif
