/* SPDX-License-Identifier: MIT */
/* What has been shown, as a table or as JSON, and whether all is well. */
#ifndef DEMO_REPORT_H
#define DEMO_REPORT_H

#include "options.h"
#include "poison.h"
#include "run.h"
#include "scratch.h"

struct result {
	const struct options *options;
	const struct memory *memory;
	struct poison *poison;
	int child_status;		/* without bezoar, see wait(2) */
	struct run run;
	struct scratch scratch;
	int broke_off;			/* the run did not come to its end */
};

/* Written to stdout. 1: all is well. */
int report(const struct result *result);

#endif
