/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
/* The bench engine on sides whose times are known. */
#include "engine.h"
#include "report.h"
#include "tap.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A side that takes what the table says, round by round. */
struct told {
	const double *ns;
	size_t round;
	int err;
};

static int tell(void *arg, double *samples, size_t n)
{
	struct told *told = arg;

	for (size_t i = 0; i < n; i++)
		samples[i] = told->ns[told->round];
	samples[0] = 1e9;		/* one outlier in each round */
	told->round++;
	return told->err;
}

static void quantiles(void)
{
	double odd[3] = { 9, 1, 4 }, even[4] = { 4, 1, 3, 2 }, one[1] = { 7 };

	CHECK(bench_quantile(odd, 3, 0.5) == 4);
	CHECK(bench_quantile(even, 4, 0.5) == 2.5);
	CHECK(bench_quantile(even, 4, 0) == 1);
	CHECK(bench_quantile(even, 4, 1) == 4);
	CHECK(bench_quantile(one, 1, 0.25) == 7);
}

/* The first round is for warming up; a slow spell that meets both sides of a
 * round leaves the ratio alone. */
static void ratio_of_rounds(void)
{
	static const double ns[2][4] = { { 900, 20, 200, 40 },
					 { 100, 10, 100, 10 } };
	struct told told[2] = { { ns[0], 0, 0 }, { ns[1], 0, 0 } };
	const struct bench_side sides[2] = { { "a", tell, &told[0] },
					     { "b", tell, &told[1] } };
	struct bench_result result = { NAN, NAN, NAN, "" };
	struct bench_figures figures;

	CHECK_EQ(bench_compare(sides, 2, 3, 9, &figures, &result), 0);
	CHECK(result.ratio == 2);
	CHECK(result.ours == 40);
	CHECK(result.reference == 10);
	CHECK(figures.low == 2);
	CHECK(figures.high == 3);
	CHECK_EQ(told[0].round, 4);
}

static void failing_side(void)
{
	static const double ns[2] = { 1, 1 };
	struct told told[2] = { { ns, 0, 0 }, { ns, 0, -ENODATA } };
	const struct bench_side sides[2] = { { "a", tell, &told[0] },
					     { "the bad one", tell, &told[1] } };
	struct bench_result result = { 1, 1, 1, "" };
	const struct bench_question question = { "q", "ns", 1.0, false, NULL };
	struct bench_figures figures;

	CHECK_EQ(bench_compare(sides, 2, 1, 2, &figures, &result), -ENODATA);
	CHECK(isnan(result.ratio));
	CHECK(strstr(result.how, "the bad one: not every page was replaced"));
	CHECK(!report_met(&question, &result));
}

static void worse_of_two(void)
{
	struct bench_result result = { 1, 1, 1, "first. " };
	const struct bench_result better = { 1, 2, 0.5, "second. " };
	const struct bench_result worse = { 3, 2, 1.5, "third. " };
	const struct bench_result none = { NAN, NAN, NAN, "fourth. " };

	bench_worse(&result, &better);
	CHECK(result.ratio == 1);
	bench_worse(&result, &worse);
	CHECK(result.ratio == 1.5);
	CHECK(result.ours == 3);
	bench_worse(&result, &none);
	CHECK(isnan(result.ratio));
	CHECK(strcmp(result.how, "first. second. third. fourth. ") == 0);
}

static void targets(void)
{
	const struct bench_question most = { "q", "ns", 1.25, false, NULL };
	const struct bench_question least = { "q", "pages/s", 0.8, true, NULL };
	struct bench_result result = { 1, 1, 1.25, "" };

	CHECK(report_met(&most, &result));
	CHECK(report_met(&least, &result));
	result.ratio = 1.26;
	CHECK(!report_met(&most, &result));
	result.ratio = 0.79;
	CHECK(!report_met(&least, &result));
	CHECK(report_met(&most, &result));
}

static void json(void)
{
	const struct bench_question question = { "q", "ns", 1.25, false, NULL };
	const struct bench_question *const questions[2] = { &question,
							     &question };
	const struct bench_result results[2] = { { 12.5, 10, 1.25, "so" },
						 { NAN, NAN, NAN,
						   "a \"b\"\n" } };
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	report_json(out, questions, results, 2);
	fclose(out);
	CHECK(strcmp(text,
		     "[\n"
		     "  { \"name\": \"q\", \"ours\": 12.5, "
		     "\"reference\": 10, \"ratio\": 1.25,\n"
		     "    \"unit\": \"ns\", \"target\": 1.25, "
		     "\"met\": true,\n"
		     "    \"how\": \"so\" },\n"
		     "  { \"name\": \"q\", \"ours\": null, "
		     "\"reference\": null, \"ratio\": null,\n"
		     "    \"unit\": \"ns\", \"target\": 1.25, "
		     "\"met\": false,\n"
		     "    \"how\": \"a \\\"b\\\"\\u000a\" }\n"
		     "]\n") == 0);
}

static int seven(void *arg, double *ret_value)
{
	*ret_value = getpid() == *(pid_t *)arg ? -1 : 7;
	return 0;
}

static int refuse(void *arg, double *ret_value)
{
	(void)arg;
	*ret_value = 7;
	return -EPERM;
}

static int die(void *arg, double *ret_value)
{
	(void)arg;
	(void)ret_value;
	abort();
}

static void children(void)
{
	pid_t self = getpid();
	double value = 1;

	CHECK_EQ(bench_in_child(refuse, NULL, &value), -EPERM);
	CHECK_EQ(bench_in_child(die, NULL, &value), -ECHILD);
	CHECK(value == 1);
	CHECK_EQ(bench_in_child(seven, &self, &value), 0);
	CHECK(value == 7);
}

static void places(void)
{
	unsigned int cpus = bench_cpus();
	cpu_set_t set;

	CHECK(cpus >= 1);
	CHECK_EQ(bench_pin(cpus), 0);	/* the first one again */
	CHECK_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
	CHECK_EQ(CPU_COUNT(&set), 1);
	CHECK_EQ(bench_cpus(), cpus);
	CHECK_EQ(bench_unpin(), 0);
	CHECK_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
	CHECK_EQ(CPU_COUNT(&set), cpus);
}

static void calibration(void)
{
	CHECK_EQ(bench_calibrate(), 0);
	CHECK(bench_calibration.clock_ns > 0);
	CHECK(bench_calibration.same > 0.2 && bench_calibration.same < 5);
}

static const struct tap_case cases[] = {
	{ .name = "quantiles", .run = quantiles },
	{ .name = "ratio of rounds", .run = ratio_of_rounds },
	{ .name = "a side that fails", .run = failing_side },
	{ .name = "the worse of two", .run = worse_of_two },
	{ .name = "targets", .run = targets },
	{ .name = "json", .run = json },
	{ .name = "children", .run = children },
	{ .name = "places", .run = places },
	{ .name = "calibration", .run = calibration },
};

TAP_MAIN(cases)
