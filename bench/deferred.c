/* SPDX-License-Identifier: MIT */
/*
 * How long does a load take whose page comes from a source on the worker?
 * With the worker on the same processor, and (where there are two) on another
 * one, whose wake-up then is most of it; the worse ratio is the answer.
 */
#include "faults.h"
#include "questions.h"
#include "ref_deferred.h"

#include <errno.h>
#include <string.h>

static int fill(void *dst, size_t len, uint64_t offset, void *mirror)
{
	memcpy(dst, (const char *)mirror + offset, len);
	return 0;
}

static int bare(void *arg, double *samples, size_t n)
{
	int err = bench_memory_poison(arg);

	if (err == 0)
		err = ref_deferred_begin();
	if (err < 0)
		return err;
	bench_touch(arg, samples, n);
	ref_deferred_end();
	return bench_memory_good(arg) ? 0 : -EBADMSG;
}

/* A second to answer: a busy machine shall not end in another action. */
static int start(const struct bench_memory *memory, int *ret_tid)
{
	struct bez_source from = bez_source_deferred(fill, memory->mirror,
						     1000000000);
	struct bez_status status = { .size = sizeof(status) };
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	int err = bez_start(NULL);

	policy.source = &from;
	policy.max_repeats = UINT32_MAX;
	if (err == 0)
		err = bez_region_add(memory->data, memory->len, &policy,
				     &region);
	if (err == 0)
		err = bez_status(&status);
	if (err == 0 && status.worker_tid == 0)
		err = -ESRCH;
	if (err == 0)
		*ret_tid = status.worker_tid;
	return err;
}

static int compare(const struct bench_side *sides, const int tids[2],
		   unsigned int cpu, bool quick, struct bench_result *result)
{
	struct bench_figures figures;
	int err = bench_pin_thread(tids[0], cpu);

	if (err == 0)
		err = bench_pin_thread(tids[1], cpu);
	if (err < 0) {
		bench_cannot(result, "pinning the workers", err);
		return err;
	}
	bench_say(result, "Worker on %s processor: ",
		  cpu == 0 ? "the same" : "another");
	err = bench_compare(sides, 2, quick ? 5 : 21, quick ? 128 : 512,
			    &figures, result);
	if (err == 0)
		bench_say(result, "%.0f / %.0f ns = %.3f. ", result->ours,
			  result->reference, result->ratio);
	return err;
}

static void run(bool quick, struct bench_result *result)
{
	size_t pages = quick ? 128 : 512;
	struct bench_memory memory;
	const struct bench_side sides[2] = {
		{ "bezoar", bench_faults_ours, &memory },
		{ "bare hand-off", bare, &memory },
	};
	struct bench_result other = { .how = "" };
	int err = bench_memory_open(pages, 1, pages, &memory), tids[2];

	if (err == 0)
		err = start(&memory, &tids[0]);
	if (err == 0)
		err = ref_deferred_start(memory.data, memory.mirror,
					 memory.len, &tids[1]);
	if (err < 0)
		return bench_cannot(result, "starting the workers", err);
	if (compare(sides, tids, 0, quick, result) < 0 || bench_cpus() < 2)
		return;
	compare(sides, tids, 1, quick, &other);
	bench_worse(result, &other);
}

const struct bench_question bench_deferred = {
	"deferred", "ns", 1.25, false, run };
