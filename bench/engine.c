/* SPDX-License-Identifier: MIT */
#include "engine.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench_calibration bench_calibration;

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t count, double q)
{
	double at = q * (double)(count - 1);
	size_t i = (size_t)at;

	qsort(values, count, sizeof(*values), by_value);
	if (i + 1 == count)
		return values[i];
	return values[i] + (at - (double)i) * (values[i + 1] - values[i]);
}

/* Who begins changes from round to round: nobody always runs after the side
 * that leaves the caches worst. */
static int one_round(const struct bench_side *sides, size_t count,
		     unsigned int round, double *samples, size_t n,
		     double (*medians)[BENCH_ROUNDS + 1], size_t *ret_side)
{
	for (size_t i = 0; i < count; i++) {
		size_t side = (i + round) % count;
		int err = sides[side].round(sides[side].arg, samples, n);

		if (err < 0) {
			*ret_side = side;
			return err;
		}
		medians[side][round] = bench_quantile(samples, n, 0.5);
	}
	return 0;
}

static void sum_up(double (*medians)[BENCH_ROUNDS + 1], size_t count,
		   unsigned int rounds, struct bench_figures *figures)
{
	double ratios[BENCH_ROUNDS];

	for (unsigned int r = 0; count > 1 && r < rounds; r++)
		ratios[r] = medians[0][r + 1] / medians[1][r + 1];
	for (size_t side = 0; side < count; side++)
		figures->median[side] =
			bench_quantile(medians[side] + 1, rounds, 0.5);
	figures->ratio = figures->low = figures->high = NAN;
	if (count > 1) {
		figures->ratio = bench_quantile(ratios, rounds, 0.5);
		figures->low = bench_quantile(ratios, rounds, 0.25);
		figures->high = bench_quantile(ratios, rounds, 0.75);
	}
}

int bench_take_turns(const struct bench_side *sides, size_t count,
		     unsigned int rounds, size_t samples,
		     struct bench_figures *ret_figures, size_t *ret_side)
{
	static double medians[BENCH_SIDES][BENCH_ROUNDS + 1];
	double *values;
	int err = 0;

	if (count == 0 || count > BENCH_SIDES || samples == 0 || rounds == 0 ||
	    rounds > BENCH_ROUNDS)
		return -EINVAL;
	values = calloc(samples, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (unsigned int r = 0; err == 0 && r <= rounds; r++)
		err = one_round(sides, count, r, values, samples, medians,
				ret_side);
	free(values);
	if (err == 0)
		sum_up(medians, count, rounds, ret_figures);
	return err;
}

int bench_compare(const struct bench_side *sides, size_t count,
		  unsigned int rounds, size_t samples,
		  struct bench_figures *ret_figures,
		  struct bench_result *result)
{
	size_t side = 0;
	int err = bench_take_turns(sides, count, rounds, samples, ret_figures,
				   &side);

	if (err < 0) {
		bench_cannot(result, sides[side].name, err);
		return err;
	}
	result->ours = ret_figures->median[0];
	result->reference = ret_figures->median[1];
	result->ratio = ret_figures->ratio;
	bench_say(result, "%s / %s, %u rounds of %zu, ratio %.3f..%.3f (middle "
		  "half). ", sides[0].name, sides[1].name, rounds, samples,
		  ret_figures->low, ret_figures->high);
	return 0;
}

void bench_say(struct bench_result *result, const char *fmt, ...)
{
	size_t used = strlen(result->how);
	va_list args;

	va_start(args, fmt);
	vsnprintf(result->how + used, sizeof(result->how) - used, fmt, args);
	va_end(args);
}

/* What sides check has a meaning of its own here, see engine.h. */
static const char *in_words(int err)
{
	switch (-err) {
	case EBADMSG:
		return "wrong bytes were left behind";
	case ENODATA:
		return "not every page was replaced";
	default:
		return strerror(-err);
	}
}

void bench_cannot(struct bench_result *result, const char *what, int err)
{
	result->ours = result->reference = result->ratio = NAN;
	bench_say(result, "Not measured: %s: %s. ", what, in_words(err));
}

void bench_worse(struct bench_result *result, const struct bench_result *other)
{
	bench_say(result, "%s", other->how);
	if (other->ratio <= result->ratio)
		return;
	result->ours = other->ours;
	result->reference = other->reference;
	result->ratio = other->ratio;
}

static int work_a_little(void *arg, double *samples, size_t n)
{
	volatile uint64_t *cells = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();

		for (size_t cell = 0; cell < 4096; cell++)
			cells[cell] += cell;
		samples[i] = bench_span(from, bench_now());
	}
	return 0;
}

int bench_calibrate(void)
{
	static uint64_t cells[4096];
	const struct bench_side same[2] = {
		{ "a loop", work_a_little, cells },
		{ "the same loop", work_a_little, cells },
	};
	struct bench_figures figures;
	double clock[1001];
	size_t side;
	int err;

	for (size_t i = 0; i < 1001; i++) {
		uint64_t from = bench_now();

		clock[i] = (double)(bench_now() - from);
	}
	bench_calibration.clock_ns = bench_quantile(clock, 1001, 0.5);
	err = bench_take_turns(same, 2, 21, 101, &figures, &side);
	if (err == 0)
		bench_calibration.same = figures.ratio;
	return err;
}
