/* SPDX-License-Identifier: MIT */
/*
 * What does it cost a program that loses nothing? Two processes take turns in
 * walking through the same pages from cache line to cache line; in one of
 * them bezoar is started and a million regions cover the memory. The turns
 * are short and many: one in a hundred is asked for, and a neighbour on the
 * memory bus makes more than that between one turn and the next.
 */
#include "faults.h"
#include "questions.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE 64

/* A cell of each line names the next line: one closed walk through all. */
struct walk {
	const char *base;
	size_t lines;
	uint32_t at;
	size_t steps;
};

/* A child that walks on when it is told to. */
struct walker {
	int ask[2], answer[2];
};

static uint32_t *cell(const char *base, size_t line)
{
	return (uint32_t *)(void *)((uintptr_t)base + line * LINE);
}

/* Sattolo's shuffle leaves one cycle. */
static void lay_out(char *base, size_t lines)
{
	uint64_t state = 88172645463325252u;

	for (size_t i = 0; i < lines; i++)
		*cell(base, i) = (uint32_t)i;
	for (size_t i = lines - 1; i > 0; i--) {
		uint32_t kept = *cell(base, i);
		size_t other;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		other = state % i;
		*cell(base, i) = *cell(base, other);
		*cell(base, other) = kept;
	}
}

static uint32_t go(const struct walk *walk, size_t steps)
{
	uint32_t at = walk->at;

	while (steps-- > 0)
		at = *(const volatile uint32_t *)cell(walk->base, at);
	return at;
}

static void serve(const struct walker *walker, struct walk walk)
{
	double took;
	char word;

	while (read(walker->ask[0], &word, 1) == 1) {
		uint64_t from = bench_now();

		walk.at = go(&walk, walk.steps);
		took = bench_span(from, bench_now()) / (double)walk.steps;
		if (write(walker->answer[1], &took, sizeof(took)) < 0)
			return;
	}
}

static int send_out(struct walker *walker, struct walk walk,
		    const struct bench_memory *regions)
{
	double ready = 0;

	if (pipe(walker->ask) < 0 || pipe(walker->answer) < 0)
		return -errno;
	switch (fork()) {
	case -1:
		return -errno;
	case 0:
		close(walker->ask[1]);
		if (regions)
			ready = bez_start(NULL);
		if (regions && ready == 0)
			ready = bench_regions_add(regions, 0, 1, NULL,
						  regions->slots);
		if (write(walker->answer[1], &ready, sizeof(ready)) > 0)
			serve(walker, walk);
		_exit(0);
	}
	close(walker->ask[0]);
	close(walker->answer[1]);
	if (read(walker->answer[0], &ready, sizeof(ready)) != sizeof(ready))
		return -ECHILD;
	return (int)ready;
}

static int turn(void *arg, double *samples, size_t n)
{
	const struct walker *walker = arg;

	for (size_t i = 0; i < n; i++)
		if (write(walker->ask[1], "", 1) != 1 ||
		    read(walker->answer[0], &samples[i], sizeof(*samples)) !=
		    sizeof(*samples))
			return -ECHILD;
	return 0;
}

static void run(bool quick, struct bench_result *result)
{
	size_t regions = quick ? 100000 : 1000000;
	struct bench_memory memory;
	struct walker with, without;
	const struct bench_side sides[2] = {
		{ "with bezoar and regions", turn, &with },
		{ "without", turn, &without },
	};
	struct walk walk = { .lines = (256u << 20) / LINE, .steps = 10000 };
	struct walk far;
	struct bench_figures figures;
	int err = bench_memory_open(regions, 1, 0, &memory);

	if (err < 0)
		return bench_cannot(result, "preparing the memory", err);
	lay_out(memory.data, walk.lines);
	walk.base = memory.data;
	/* Half the way apart, or one would find what the other has fetched. */
	far = walk;
	far.at = go(&walk, walk.lines / 2);
	err = send_out(&with, walk, &memory);
	if (err == 0)
		err = send_out(&without, far, NULL);
	if (err < 0)
		return bench_cannot(result, "starting the two", err);
	bench_say(result, "ns for a step to a random cache line of 256 MiB, "
		  "%zu regions. ", regions);
	bench_compare(sides, 2, quick ? 400 : 2000, 1, &figures, result);
}

const struct bench_question bench_idle = {
	"idle", "ns", 1.01, false, run };
