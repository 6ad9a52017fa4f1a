/* SPDX-License-Identifier: MIT */
#include "faults.h"
#include "engine.h"

#include <errno.h>

void bench_touch(const struct bench_memory *memory, double *samples, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *at = bench_memory_at(memory, i) + 8;
		uint64_t from = bench_now();

		ref_load(at);
		samples[i] = bench_span(from, bench_now());
	}
}

uint64_t bench_replaced(void)
{
	struct bez_status status = { .size = sizeof(status) };

	return bez_status(&status) == 0 ? status.replaced : 0;
}

int bench_faults_ours(void *arg, double *samples, size_t n)
{
	const struct bench_memory *memory = arg;
	uint64_t before = bench_replaced();
	int err = bench_memory_poison(memory);

	if (err < 0)
		return err;
	bench_touch(memory, samples, n);
	if (bench_replaced() - before != n)
		return -ENODATA;
	return bench_memory_good(memory) ? 0 : -EBADMSG;
}

int bench_faults_bare(void *arg, double *samples, size_t n)
{
	const struct bench_faults_ref *side = arg;
	const struct bench_memory *memory = side->memory;
	int err = bench_memory_poison(memory);

	if (err == 0)
		err = ref_resume_begin(memory->data, memory->mirror,
				       memory->len, memory->page, side->fd,
				       side->way);
	if (err < 0)
		return err;
	bench_touch(memory, samples, n);
	/* Where nothing was replaced there is nothing to look at. */
	if (side->way != REF_SKIP && !bench_memory_good(memory))
		err = -EBADMSG;
	ref_resume_end();
	return err;
}

int bench_regions_add(const struct bench_memory *memory, uint32_t flags,
		      size_t pages, const uint32_t *order, size_t count)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	int err = 0;

	/* A bench loses the same pages again and again, and fast. */
	policy.max_repeats = UINT32_MAX;
	policy.flags = flags;
	for (size_t i = 0; err == 0 && i < count; i++) {
		size_t nth = order ? order[i] : i;
		char *at = bench_memory_slot(memory, nth * pages);
		struct bez_source from = bez_source_mirror(
			memory->mirror + (at - memory->data));

		policy.source = &from;
		err = bez_region_add(at, pages * memory->page, &policy,
				     &region);
	}
	return err;
}
