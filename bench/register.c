/* SPDX-License-Identifier: MIT */
/*
 * How long does it take to register a region when there are to be a million?
 * By address and in random order; the worse of the two is the answer. Each
 * round starts from nothing, in a process of its own.
 *
 * libsigsegv takes any address, so it is compared with BEZ_POLICY_IS_MAPPED,
 * which leaves out the question whether the range is mapped: one system call,
 * more than a whole registration. What it costs with the call is said beside.
 */
#include "faults.h"
#include "questions.h"
#include "ref_sigsegv.h"

#include <errno.h>

struct registering {
	struct bench_memory *memory;
	uint32_t flags;		/* BEZ_POLICY_* */
	const uint32_t *order;	/* NULL: by address */
};

static int ours_once(void *arg, double *ret_ns)
{
	const struct registering *side = arg;
	size_t count = side->memory->slots;
	int err = bez_start(NULL);
	uint64_t from;

	if (err < 0)
		return err;
	from = bench_now();
	err = bench_regions_add(side->memory, side->flags, 1, side->order,
				count);
	*ret_ns = bench_span(from, bench_now()) / (double)count;
	return err;
}

static int peer_once(void *arg, double *ret_ns)
{
	const struct registering *side = arg;
	const struct bench_memory *memory = side->memory;
	uint64_t from = bench_now();
	int err = ref_sigsegv_register(memory->data,
				       memory->stride * memory->page,
				       memory->page, side->order,
				       memory->slots);

	*ret_ns = bench_span(from, bench_now()) / (double)memory->slots;
	return err;
}

static int ours(void *arg, double *samples, size_t n)
{
	(void)n;
	return bench_in_child(ours_once, arg, samples);
}

static int peer(void *arg, double *samples, size_t n)
{
	(void)n;
	return bench_in_child(peer_once, arg, samples);
}

static void run(bool quick, struct bench_result *result)
{
	size_t regions = quick ? 100000 : 1000000;
	unsigned int rounds = quick ? 3 : 7;
	struct bench_memory memory;
	struct registering by_address = { &memory, BEZ_POLICY_IS_MAPPED,
					  NULL };
	struct registering asking = { &memory, 0, NULL }, by_chance;
	const struct bench_side ordered[3] = {
		{ "bez_region_add", ours, &by_address },
		{ "sigsegv_register", peer, &by_address },
		{ "bez_region_add, asking", ours, &asking },
	};
	const struct bench_side random[2] = {
		{ "bez_region_add", ours, &by_chance },
		{ "sigsegv_register", peer, &by_chance },
	};
	struct bench_figures figures;
	struct bench_result other = { .how = "" };
	int err;

	if (ref_sigsegv_absent())
		return bench_cannot(result, ref_sigsegv_absent(), -ENOSYS);
	err = bench_memory_open(regions, 2, 0, &memory);
	if (err < 0)
		return bench_cannot(result, "preparing the memory", err);
	by_chance = by_address;
	by_chance.order = memory.order;
	bench_say(result, "%zu regions, each round in a new process. By "
		  "address: ", regions);
	if (bench_compare(ordered, 3, rounds, 1, &figures, result) < 0)
		return;
	bench_say(result, "%.0f / %.0f ns = %.3f (%.0f ns if it asks whether "
		  "the range is mapped). In random order: ", result->ours,
		  result->reference, result->ratio, figures.median[2]);
	if (bench_compare(random, 2, rounds, 1, &figures, &other) < 0)
		return bench_worse(result, &other);
	bench_say(&other, "%.0f / %.0f ns = %.3f. ", other.ours,
		  other.reference, other.ratio);
	bench_worse(result, &other);
}

const struct bench_question bench_register_1m = {
	"register_1m", "ns", 1.0, false, run };
