/* SPDX-License-Identifier: MIT */
/*
 * The bench engine: what is compared takes turns in one process, round by
 * round and in changing order, so that a busy neighbour or a warm cache meets
 * both sides alike. A round gives a median for each side and their ratio; the
 * answer is the median of these ratios. Absolute figures of two runs must not
 * be compared, the ratios may.
 */
#ifndef BEZOAR_BENCH_ENGINE_H
#define BEZOAR_BENCH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define BENCH_SIDES	8	/* most that can take turns */
#define BENCH_ROUNDS	4096
#define BENCH_HOW	1536

/* What one question answers. NAN: could not be measured; how says why. */
struct bench_result {
	double ours;
	double reference;
	double ratio;		/* ours / reference */
	char how[BENCH_HOW];
};

struct bench_question {
	const char *name;
	const char *unit;	/* of ours and reference */
	double target;
	bool at_least;		/* the ratio is to be >= target, not <= */
	void (*run)(bool quick, struct bench_result *ret_result);
};

/*
 * One of those that take turns. @round measures @n times and fills @samples;
 * what it prepares and checks is its own affair and not in the samples. It
 * returns 0 or a negative errno: -EBADMSG for wrong bytes, -ENODATA for work
 * that was not done.
 */
struct bench_side {
	const char *name;
	int (*round)(void *arg, double *samples, size_t n);
	void *arg;
};

struct bench_figures {
	double median[BENCH_SIDES];	/* of the medians of the rounds */
	double ratio;			/* sides[0] / sides[1] */
	double low, high;		/* quartiles of the rounds' ratios */
};

/*
 * Run @rounds of all sides, after one round that is thrown away. Returns 0,
 * or what a side returned, *@ret_side then being that side.
 */
int bench_take_turns(const struct bench_side *sides, size_t count,
		     unsigned int rounds, size_t samples,
		     struct bench_figures *ret_figures, size_t *ret_side);

/* The same, and put the answer or the reason why there is none in @result. */
int bench_compare(const struct bench_side *sides, size_t count,
		  unsigned int rounds, size_t samples,
		  struct bench_figures *ret_figures,
		  struct bench_result *result);

/* Sorts @values. */
double bench_quantile(double *values, size_t count, double q);

/* Append to result->how. */
void bench_say(struct bench_result *result, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* There is no answer, and this is why: err is a negative errno. */
void bench_cannot(struct bench_result *result, const char *what, int err);

/* Add what @other says, and take its figures if its ratio is the higher one or
 * it has none. */
void bench_worse(struct bench_result *result, const struct bench_result *other);

/* Measured once: what reading the clock adds to a span. */
struct bench_calibration {
	double clock_ns;
	double same;	/* the ratio of a piece of code to itself */
};

extern struct bench_calibration bench_calibration;

int bench_calibrate(void);

/* Pin the calling thread to the @nth processor it may use, modulo their
 * number. */
int bench_pin(unsigned int nth);
/* Let the calling thread use all processors that the program was given. */
int bench_unpin(void);
/* The same as bench_pin() for another thread of this process. */
int bench_pin_thread(int tid, unsigned int nth);
unsigned int bench_cpus(void);

/* Run it in a child of its own and take over the one figure it returns. */
int bench_in_child(int (*fn)(void *arg, double *ret_value), void *arg,
		   double *ret_value);

static inline uint64_t bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* From one bench_now() to a later one, without the cost of asking. */
static inline double bench_span(uint64_t from, uint64_t to)
{
	double ns = (double)(to - from) - bench_calibration.clock_ns;

	return ns > 0 ? ns : 0;
}

#endif
