/* SPDX-License-Identifier: MIT */
/*
 * A million regions, and the table against a model that cannot be wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "live.h"
#include "region/table.h"
#include "replace_see.h"

static uint64_t state = 88172645463325252u;

static uint64_t any(uint64_t below)	/* xorshift64 */
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

/* A small machine gets a tenth. */
static size_t many(void)
{
	return see_memory() > (size_t)2 << 30 ? 1000000 : 100000;
}

static void shuffle(uint32_t *order, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		order[i] = (uint32_t)i;
	for (i = count - 1; i; i--) {
		size_t j = (size_t)any(i + 1);
		uint32_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

/* Every other page of a large mapping, in random order each time. */
static void a_million(void)
{
	size_t count = many(), page = live_page(), i, k;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t *region = calloc(count, sizeof(*region)), found;
	uint32_t *order = calloc(count, sizeof(*order));
	unsigned char *at = mmap(NULL, 2 * count * page, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				 -1, 0);
	struct bez_source from;
	double start = see_seconds(), added, looked, removed;

	CHECK(at != MAP_FAILED && region && order);
	madvise(at, 2 * count * page, MADV_NOHUGEPAGE);
	from = bez_source_zero();
	policy.source = &from;
	see_start(0);
	shuffle(order, count);
	for (i = 0; i < count; i++) {
		k = order[i];
		CHECK_EQ(bez_region_add(at + 2 * k * page, page, &policy,
					&region[k]), 0);
	}
	added = see_seconds();
	shuffle(order, count);
	for (i = 0; i < count; i++) {
		k = order[i];
		CHECK_EQ(bez_region_at(at + 2 * k * page + any(page), &found),
			 0);
		CHECK_EQ(found, region[k]);
		CHECK_EQ(bez_region_at(at + (2 * k + 1) * page + any(page),
				       &found), -ENOENT);
	}
	looked = see_seconds();
	for (i = 0; i < 64; i++) {	/* and faults find theirs */
		k = (size_t)any(count);
		at[2 * k * page] = 1;
		live_poison(at + 2 * k * page);
		CHECK_EQ(live_read(at + 2 * k * page), 0);
	}
	shuffle(order, count);
	for (i = 0; i < count; i++) {
		k = order[i];
		CHECK_EQ(bez_region_remove(region[k]), 0);
		if (i % 1000 == 0)
			CHECK_EQ(bez_region_at(at + 2 * k * page, &found),
				 -ENOENT);
	}
	removed = see_seconds();
	tap_diag("%zu regions: added in %.2f s, looked up in %.2f s, removed "
		 "in %.2f s", count, added - start, looked - added,
		 removed - looked);
	/* seconds, not hours */
	CHECK(removed - start < 60);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------- the table and its model */

#define PAGES	40000u			/* of the imagined address space */
#define STEPS	200000

static struct bz_region *model[PAGES];	/* who owns each page, or NULL */
static struct bz_region pool[PAGES];
static uint32_t live_index[PAGES];	/* of pool, the live ones first */
static size_t live_count;

static uint64_t address(uint64_t index)
{
	return (index + 16) << 12;
}

static int free_range(uint64_t from, uint64_t count)
{
	uint64_t i;

	for (i = from; i < from + count; i++)
		if (model[i])
			return 0;
	return 1;
}

static void own(struct bz_region *r, struct bz_region *by)
{
	uint64_t i;

	for (i = r->start; i < r->end; i += 4096)
		model[(i >> 12) - 16] = by;
}

/* The region that holds it, or none that does. */
static void look(uint64_t index)
{
	uint64_t addr = address(index) + any(4096);
	struct bz_region *want = model[index];

	CHECKF(bz_table_find(addr) == want, "page %llu: %p, not %p",
	       (unsigned long long)index, (void *)bz_table_find(addr),
	       (void *)want);
}

static void insert_one(uint64_t from, uint64_t count)
{
	struct bz_region *r;
	int want;

	if (from + count > PAGES || live_count == PAGES)
		return;
	r = &pool[live_index[live_count]];
	r->index = (uint32_t)(r - pool);
	r->generation = 1;
	r->start = address(from);
	r->end = address(from + count);
	want = free_range(from, count) ? 0 : -EEXIST;
	CHECK_EQ(bz_table_insert(r), want);
	if (want)
		return;
	own(r, r);
	live_count++;
	look(from);
	look(from + count - 1);
	if (from)
		look(from - 1);
	if (from + count < PAGES)
		look(from + count);
}

static void remove_one(size_t n)
{
	struct bz_region *r = &pool[live_index[n]];
	uint32_t t = live_index[n];

	CHECK_EQ(bz_table_remove(r), 0);
	own(r, NULL);
	live_index[n] = live_index[--live_count];
	live_index[live_count] = t;
	look((r->start >> 12) - 16);
	look((r->end >> 12) - 17);
}

/* Fewer or more regions by turns, so that nodes split and vanish; long ones
 * among them, that reach over the keys of nodes above. */
static void against_model(void)
{
	uint64_t longest = *(const uint64_t *)tap_data();
	size_t step, most = 0;
	int grows = 1;

	for (step = 0; step < PAGES; step++)
		live_index[step] = (uint32_t)step;
	for (step = 0; step < STEPS; step++) {
		if (live_count > most)
			most = live_count;
		if (step % 20000 == 0)
			grows = !grows || !step;
		if (!live_count || any(10) < (grows ? 8u : 3u))
			insert_one(any(PAGES), 1 + any(longest));
		else
			remove_one((size_t)any(live_count));
		look(any(PAGES));
	}
	while (live_count) {
		remove_one((size_t)any(live_count));
		look(any(PAGES));
	}
	CHECK(!atomic_load(&bz_table.root));
	tap_diag("up to %zu regions at a time", most);
	bz_table_reset();
}

/* In order, up and down: the ends of nodes are where things go wrong. */
static void in_order(void)
{
	uint64_t i;

	for (i = 0; i < PAGES; i++)
		live_index[i] = (uint32_t)i;
	for (i = 0; i < PAGES; i += 3)
		insert_one(i, 2);
	for (i = PAGES - 1; i > 2; i -= 3)
		insert_one(i / 3 * 3 + 2, 1);
	while (live_count)
		remove_one(live_count - 1);
	for (i = PAGES; i >= 3; i -= 3)
		insert_one(i - 3, 3);
	while (live_count)
		remove_one(0);
	CHECK(!atomic_load(&bz_table.root));
}

static const uint64_t one = 1, few = 4, some = 40;

static const struct tap_case cases[] = {
	{ .name = "a million", .run = a_million, .timeout_s = 120 },
	{ .name = "model, one page each", .run = against_model, .data = &one },
	{ .name = "model, up to 4 pages", .run = against_model, .data = &few },
	{ .name = "model, up to 40 pages", .run = against_model,
	  .data = &some },
	{ .name = "model, in order", .run = in_order },
};
TAP_MAIN(cases)
