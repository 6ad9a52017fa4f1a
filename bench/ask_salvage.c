/* SPDX-License-Identifier: MIT */
/* Asks salvage.c, which is a program of its own. */
#include "questions.h"

#include <errno.h>
#include <stdio.h>

static void ask(bool quick, struct bench_result *result)
{
	FILE *f = popen(quick ? BENCH_SALVAGE " quick" : BENCH_SALVAGE, "r");
	double low, high;
	int got = 0;

	if (f)
		got = fscanf(f, "%lf %lf %lf %lf %lf", &result->ours,
			     &result->reference, &result->ratio, &low, &high);
	if (!f || pclose(f) != 0 || got != 5)
		return bench_cannot(result, "running " BENCH_SALVAGE, -EIO);
	bench_say(result, "bezoar / a bare loop of pread(2), %s, ratio "
		  "%.3f..%.3f (middle half). Reads that meet the bad page end "
		  "as the kernel ends them, by a double. ",
		  quick ? "5 rounds" : "21 rounds of 16", low, high);
}

const struct bench_question bench_salvage_2m = {
	"salvage_2m", "ns", 1.2, false, ask };
