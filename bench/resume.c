/* SPDX-License-Identifier: MIT */
/*
 * How long does a load take that finds its page lost: fault, replacement from
 * a mirror, load again?
 */
#include "faults.h"
#include "questions.h"

/* The other ways to put a page in place, for the eye; not compared. */
static const struct {
	const char *name;
	enum ref_way way;
} beside[] = {
	{ "registered missing all along", REF_ALL },
	{ "copy onto the marker", REF_MARKER },
	{ "in a tracked range", REF_TRACKED },
	{ "staged mremap", REF_MREMAP },
	{ "mmap FIXED + memcpy", REF_MMAP },
	{ "delivery only", REF_SKIP },
};

#define BESIDE (sizeof(beside) / sizeof(beside[0]))

static void one_region(bool quick, struct bench_result *result)
{
	size_t pages = quick ? 512 : 2048;
	struct bench_memory memory, others[BESIDE];
	struct bench_faults_ref bare = { &memory, REF_PAGE, -1 }, ways[BESIDE];
	struct bench_side sides[2 + BESIDE] = {
		{ "bezoar", bench_faults_ours, &memory },
		{ "bare handler", bench_faults_bare, &bare },
	};
	struct bench_figures figures;
	int err = bench_memory_open(pages, 1, pages, &memory);

	if (err == 0)
		err = bez_start(NULL);
	if (err == 0)
		err = bench_regions_add(&memory, 0, pages, NULL, 1);
	/* Memory of their own: some leave it in thousands of mappings. */
	for (size_t i = 0; err == 0 && i < BESIDE; i++) {
		err = bench_memory_open(pages, 1, pages, &others[i]);
		ways[i] = (struct bench_faults_ref){ &others[i],
						     beside[i].way, -1 };
		sides[2 + i] = (struct bench_side){ beside[i].name,
						    bench_faults_bare,
						    &ways[i] };
	}
	if (err < 0)
		return bench_cannot(result, "preparing the memory", err);
	err = bench_compare(sides, 2 + BESIDE, quick ? 5 : 21, pages, &figures,
			    result);
	if (err < 0)
		return;
	bench_say(result, "Bare alternatives:");
	for (size_t i = 0; i < BESIDE; i++)
		bench_say(result, "%s %s %.0f ns", i ? "," : "",
			  beside[i].name, figures.median[2 + i]);
	bench_say(result, ". ");
}

static void many_regions(bool quick, struct bench_result *result)
{
	size_t regions = quick ? 100000 : 1000000, pages = quick ? 512 : 2048;
	struct bench_memory memory;
	struct bench_faults_ref bare = { &memory, REF_PAGE, -1 };
	const struct bench_side sides[2] = {
		{ "bezoar", bench_faults_ours, &memory },
		{ "bare handler", bench_faults_bare, &bare },
	};
	struct bench_figures figures;
	int err = bench_memory_open(regions, 2, pages, &memory);

	if (err == 0)
		err = bez_start(NULL);
	if (err == 0)
		err = bench_regions_add(&memory, 0, 1, NULL, regions);
	if (err < 0)
		return bench_cannot(result, "registering the regions", err);
	bench_say(result, "%zu regions. ", regions);
	bench_compare(sides, 2, quick ? 5 : 21, pages, &figures, result);
}

const struct bench_question bench_resume_4k = {
	"resume_4k", "ns", 1.25, false, one_region };
const struct bench_question bench_resume_4k_1m = {
	"resume_4k_1m", "ns", 1.35, false, many_regions };
