/* SPDX-License-Identifier: MIT */
/*
 * How fast is a hunt, against the sum of the same memory: one thread, and more than
 * any cache holds.
 */
#include "questions.h"
#include "ref_sum.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB	((size_t)1 << 20)
#define SPARSE	100000u		/* words for each that is found */
#define FAR	5		/* extents, far apart: more than there are intervals */

struct memory {
	uint64_t *at;
	size_t bytes;
	uint64_t sum, found;
};

static int by_hunt(void *arg, double *samples, size_t n)
{
	const struct memory *m = arg;
	struct bez_range range = { m->at, m->bytes };
	struct bez_hunt_options o = BEZ_HUNT_OPTIONS_INIT;
	struct bez_hunt_result result = BEZ_HUNT_RESULT_INIT;

	o.ranges = &range;
	o.range_count = 1;
	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();
		int err = bez_hunt(&o, &result);

		samples[i] = (double)m->bytes / bench_span(from, bench_now());
		if (err < 0)
			return err;
		if (result.found != m->found || result.bytes != m->bytes)
			return -EBADMSG;
	}
	return 0;
}

static int by_sum(void *arg, double *samples, size_t n)
{
	const struct memory *m = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();
		uint64_t sum = ref_sum(m->at, m->bytes);

		samples[i] = (double)m->bytes / bench_span(from, bench_now());
		if (sum != m->sum)
			return -EBADMSG;
	}
	return 0;
}

/* Regions, a page of each of which is lost; @ret_at: the first of these. */
static int lose(size_t count, char **ret_at)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), gap = 256 * MIB;
	char *all = mmap(NULL, FAR * gap, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	int err = all == MAP_FAILED ? -errno : 0;

	policy.actions[0] = BEZ_ACTION_DEGRADE;
	for (size_t i = 0; i < count && err == 0; i++) {
		char *at = all + i * gap;

		if (mprotect(at, page, PROT_READ | PROT_WRITE))
			return -errno;
		*at = 1;
		err = bez_region_add(at, page, &policy, &region);
		if (err == 0)
			err = bez_lost_add(at, page);
	}
	*ret_at = all;
	return err;
}

/* As a heap has it: small numbers, pointers to other objects, text. */
static int fill(struct memory *m, const char *lost)
{
	size_t words = m->bytes / sizeof(*m->at);
	uint64_t x = 88172645463325252u;

	m->at = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->at == MAP_FAILED)
		return -errno;
	m->sum = 0;
	m->found = 0;
	for (size_t i = 0; i < words; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		m->at[i] = i % 3 == 0 ? x & 0xffff :
			   i % 3 == 1 ? (uint64_t)&m->at[x % words] : x;
		if (i % SPARSE == SPARSE / 2) {
			m->at[i] = (uint64_t)lost + (x & 0xff8);
			m->found++;
		}
		m->sum += m->at[i];
	}
	return 0;
}

static void one_size(size_t bytes, size_t extents, const char *lost, bool quick,
		     struct bench_result *one)
{
	struct memory m = { .bytes = bytes };
	const struct bench_side sides[2] = {
		{ "bez_hunt", by_hunt, &m },
		{ "sum", by_sum, &m },
	};
	struct bench_figures figures;
	int err = fill(&m, lost);

	if (err < 0)
		return bench_cannot(one, "preparing the memory", err);
	if (bench_compare(sides, 2, quick ? 5 : 15, 1, &figures, one) == 0)
		bench_say(one, "%zu MiB, %zu extents: %.3f. ", bytes / MIB,
			  extents, one->ratio);
	munmap(m.at, m.bytes);
}

/* The worst of two sizes, both larger than any cache; with one extent, and with
 * more than there are intervals for. */
static void run(bool quick, struct bench_result *result)
{
	static const size_t extents[] = { 1, FAR };
	const size_t sizes[] = { 256 * MIB, quick ? 512 * MIB : 1024 * MIB };
	int err = bez_start(NULL);
	char *lost = NULL;

	bench_say(result, "One thread; the sum by %s. ", ref_sum_how());
	for (size_t e = 0; e < 2 && err == 0; e++) {
		err = lose(extents[e], &lost);
		for (size_t i = 0; i < 2 && err == 0; i++) {
			struct bench_result one = { NAN, NAN, NAN, "" };

			one_size(sizes[i], extents[e], lost, quick, &one);
			/* the lowest ratio is the worst here */
			bench_say(result, "%s", one.how);
			if (isnan(result->ratio) || one.ratio < result->ratio) {
				result->ours = one.ours;
				result->reference = one.reference;
				result->ratio = one.ratio;
			}
		}
	}
	if (err < 0)
		bench_cannot(result, "losing pages", err);
}

const struct bench_question bench_hunt = {
	"hunt", "GB/s", 0.85, true, run };
