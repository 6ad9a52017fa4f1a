/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "run.h"

#include <stdio.h>
#include <time.h>

#include "progress.h"
#include "regions.h"

#define TICK_NS		1000000		/* between looks at the events */
#define PATIENCE_S	60		/* without any page being taken */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void tick(struct poison *p)
{
	const struct timespec t = { .tv_nsec = TICK_NS };
	struct work work = workers_so_far();

	nanosleep(&t, NULL);
	poison_collect(p);
	progress("%llu of %llu lost and taken: %llu from file, %llu from "
		 "mirror; %llu refused, %llu wrong bytes",
		 (unsigned long long)p->taken, (unsigned long long)p->count,
		 (unsigned long long)p->from_file,
		 (unsigned long long)p->from_mirror,
		 (unsigned long long)p->refused,
		 (unsigned long long)work.wrong_bytes);
}

/* Make poison at its rate until @goal in all is made and has come to an end. */
static int lose(struct poison *p, uint64_t goal, uint64_t rate)
{
	double start = now(), moved = start, passed;
	uint64_t made = p->made, before = poison_settled(p), due;
	int r;

	while (poison_settled(p) < goal) {
		passed = now() - start;
		due = made + 1 + (uint64_t)(passed * (double)rate);
		for (r = 0; !r && p->made < goal && p->made < due;)
			r = poison_next(p);
		if (r < 0)
			return -1;
		tick(p);
		if (regions_sent())
			return -1;
		if (poison_settled(p) != before) {
			before = poison_settled(p);
			moved = now();
		}
		if (now() - moved > PATIENCE_S) {
			fprintf(stderr, "demo: for %d s no lost page was "
				"taken\n", PATIENCE_S);
			return -1;
		}
	}
	return 0;
}

/* What was done since @before and @start, added to @to. */
static void add(struct stretch *to, uint64_t before, double start)
{
	to->operations += workers_so_far().operations - before;
	to->seconds += now() - start;
}

/* The next @count pages; then as long without any. */
static int take_turns(struct poison *p, uint64_t count, uint64_t rate,
		      struct run *run)
{
	uint64_t before = workers_so_far().operations;
	double start = now(), length;
	int r = lose(p, p->made + count, rate);

	add(&run->poisoned, before, start);
	if (r)
		return r;
	length = now() - start;
	before = workers_so_far().operations;
	start = now();
	while (now() - start < length && !regions_sent())
		tick(p);
	add(&run->clean, before, start);
	return regions_sent() ? -1 : 0;
}

int run(const struct options *o, struct poison *p, struct run *ret_run)
{
	struct work work, sweep;
	int r = workers_start(p->memory, o->seed, 1);

	while (!r && p->made < p->count)
		r = take_turns(p, p->count - p->made < o->rate ?
			       p->count - p->made : o->rate, o->rate, ret_run);
	work = workers_stop();
	progress_end();
	ret_run->wrong_bytes = work.wrong_bytes;
	ret_run->wrong_answers = work.wrong_answers;
	ret_run->unreadable = work.unreadable;
	/* and what nobody came by any more */
	sweep = workers_sweep(p->memory);
	ret_run->wrong_bytes += sweep.wrong_bytes;
	ret_run->unreadable += sweep.unreadable;
	return r;
}
