/* SPDX-License-Identifier: MIT */
/*
 * How long does it take to find the region of an address, as the handler
 * must? All regions are asked for, in random order.
 */
#include "faults.h"
#include "questions.h"
#include "ref_sigsegv.h"

#include <errno.h>
#include <stdlib.h>

struct lookups {
	char **addrs;		/* one in each region */
	size_t count;
	size_t (*find)(char *const *addrs, size_t count);
};

static size_t find(char *const *addrs, size_t count)
{
	bez_region_t region;
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += bez_region_at(addrs[i], &region) == 0;
	return found;
}

/* A sample is the mean of many: one look-up is shorter than a clock. */
static int round_of(void *arg, double *samples, size_t n)
{
	const struct lookups *side = arg;
	size_t batch = side->count / n;

	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();
		size_t found = side->find(side->addrs + i * batch, batch);

		samples[i] = bench_span(from, bench_now()) / (double)batch;
		if (found != batch)
			return -ENOENT;
	}
	return 0;
}

static int prepare(size_t regions, char ***ret_addrs)
{
	struct bench_memory memory;
	int err = bench_memory_open(regions, 2, 0, &memory);
	char **addrs = calloc(regions, sizeof(*addrs));

	if (err == 0 && !addrs)
		err = -ENOMEM;
	if (err == 0)
		err = bez_start(NULL);
	if (err == 0)
		err = bench_regions_add(&memory, 0, 1, NULL, regions);
	if (err == 0)
		err = ref_sigsegv_register(memory.data,
					   memory.stride * memory.page,
					   memory.page, NULL, regions);
	for (size_t i = 0; err == 0 && i < regions; i++)
		addrs[i] = bench_memory_at(&memory, i) +
			   memory.order[i] % memory.page;
	*ret_addrs = addrs;
	return err;
}

static void run(bool quick, struct bench_result *result)
{
	size_t regions = quick ? 100000 : 1000000;
	struct lookups ours = { NULL, regions, find };
	struct lookups peer = { NULL, regions, ref_sigsegv_find };
	const struct bench_side sides[2] = {
		{ "bez_region_at", round_of, &ours },
		{ "sigsegv_dispatch", round_of, &peer },
	};
	struct bench_figures figures;
	int err;

	if (ref_sigsegv_absent())
		return bench_cannot(result, ref_sigsegv_absent(), -ENOSYS);
	err = prepare(regions, &ours.addrs);
	peer.addrs = ours.addrs;
	if (err < 0)
		return bench_cannot(result, "registering the regions", err);
	bench_say(result, "%zu regions, each asked for once a round. ",
		  regions);
	bench_compare(sides, 2, quick ? 5 : 11, 250, &figures, result);
}

const struct bench_question bench_lookup_1m = {
	"lookup_1m", "ns", 0.5, false, run };
