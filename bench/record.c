/* SPDX-License-Identifier: MIT */
/*
 * What does it add to a repair that a record of it is written? The same pages
 * are lost and replaced without and with a record, in turns; the difference
 * of the two medians is one sample, against a bare write of as many bytes to the
 * same kind of descriptor. That one comes right after a repair, too: nobody
 * writes a record with the kernel's way to the file still in the caches.
 */
#define _GNU_SOURCE
#include "faults.h"
#include "questions.h"

#include <bezoar/record.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct recording {
	const char *name;
	struct bench_memory *memory;
	int fd;				/* to write to */
	int drain;			/* a pipe's other end; -1: a file */
	double without, with;		/* of the last round */
};

/* What was written is of no use. */
static int empty(const struct recording *r)
{
	static char bytes[65536];
	ssize_t n;

	if (r->drain < 0)
		return ftruncate(r->fd, 0) ? -errno : 0;
	do
		n = read(r->drain, bytes, sizeof(bytes));
	while (n > 0);
	return errno == EAGAIN ? 0 : -errno;
}

/* Touch each page, and write as much as a record is. */
static int write_after_each(void *arg, double *samples, size_t n)
{
	static const char bytes[BEZ_RECORD_BYTES];
	const struct recording *r = arg;
	int err = bench_memory_poison(r->memory);

	for (size_t i = 0; err == 0 && i < n; i++) {
		uint64_t from;

		ref_load(bench_memory_at(r->memory, i) + 8);
		from = bench_now();
		if (write(r->fd, bytes, sizeof(bytes)) != sizeof(bytes))
			err = -ENODATA;
		samples[i] = bench_span(from, bench_now());
	}
	return err;
}

static int touch_each(void *arg, double *samples, size_t n)
{
	const struct recording *r = arg;

	return bench_faults_ours(r->memory, samples, n);
}

/* A round of @work over pages that are repaired, with records to @fd (0: none). */
static int repairs(struct recording *r, int fd,
		   int (*work)(void *arg, double *samples, size_t n),
		   double *samples, size_t n)
{
	struct bez_source from = bez_source_mirror(r->memory->mirror);
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_status before = { .size = sizeof(before) }, after = before;
	bez_region_t region;
	int err;

	options.record_fd = fd;
	options.record_rate = UINT32_MAX;
	policy.source = &from;
	policy.max_repeats = UINT32_MAX;
	err = bez_start(&options);
	if (err < 0)
		return err;
	err = bez_region_add(r->memory->data, r->memory->len, &policy, &region);
	if (err < 0)
		return err;
	bez_status(&before);
	err = work(r, samples, n);
	bez_status(&after);
	if (err == 0 && after.records - before.records != (fd ? n : 0))
		err = -ENODATA;
	bez_region_remove(region);
	bez_stop();
	return err < 0 ? err : empty(r);
}

/* Without, with, with, without: what drifts is in neither. */
static int added(void *arg, double *samples, size_t n)
{
	struct recording *r = arg;
	double sum[2] = { 0, 0 };

	for (size_t turn = 0; turn < 4; turn++) {
		size_t with = turn == 1 || turn == 2;
		int err = repairs(r, with ? r->fd : 0, touch_each, samples, n);

		if (err < 0)
			return err;
		sum[with] += bench_quantile(samples, n, 0.5);
	}
	r->without = sum[0] / 2;
	r->with = sum[1] / 2;
	for (size_t i = 0; i < n; i++)
		samples[i] = r->with - r->without;
	return 0;
}

static int bare_write(void *arg, double *samples, size_t n)
{
	return repairs(arg, 0, write_after_each, samples, n);
}

static void compare(bool quick, struct recording *r,
		    struct bench_result *result)
{
	const struct bench_side sides[2] = {
		{ "what a record adds", added, r },
		{ "a bare write", bare_write, r },
	};
	struct bench_figures figures;

	bench_say(result, "%s: ", r->name);
	if (bench_compare(sides, 2, quick ? 5 : 21, r->memory->used, &figures,
			  result) == 0)
		bench_say(result, "A repair takes %.0f ns without, %.0f with. ",
			  r->without, r->with);
}

static void record(bool quick, struct bench_result *result)
{
	char name[] = "/tmp/bezoar-bench-XXXXXX";
	struct bench_memory memory;
	struct bench_result pipes = *result;
	struct recording r = { "To a file", &memory, -1, -1, 0, 0 };
	int ends[2], err = bench_memory_open(512, 1, 512, &memory);

	if (err < 0)
		return bench_cannot(result, "preparing the memory", err);
	r.fd = mkostemp(name, O_APPEND);
	if (r.fd < 0)
		return bench_cannot(result, "making a file", -errno);
	unlink(name);
	compare(quick, &r, result);
	/* room for a round, and never a wait */
	if (pipe2(ends, O_NONBLOCK) ||
	    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) < 0)
		return bench_cannot(result, "making a pipe", -errno);
	r = (struct recording){ "To a pipe", &memory, ends[1], ends[0], 0, 0 };
	compare(quick, &r, &pipes);
	bench_worse(result, &pipes);
}

const struct bench_question bench_record = {
	"record", "ns", 1.3, false, record };
