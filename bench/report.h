/* SPDX-License-Identifier: MIT */
/* What the benches found, as a table for people and as JSON. */
#ifndef BEZOAR_BENCH_REPORT_H
#define BEZOAR_BENCH_REPORT_H

#include "engine.h"

#include <stdio.h>

/* False as well where there is no ratio. */
bool report_met(const struct bench_question *question,
		const struct bench_result *result);

void report_head(FILE *out);
void report_row(FILE *out, const struct bench_question *question,
		const struct bench_result *result);

/* A list of { name, ours, reference, ratio, unit, target, met, how }. */
void report_json(FILE *out, const struct bench_question *const *questions,
		 const struct bench_result *results, size_t count);

#endif
