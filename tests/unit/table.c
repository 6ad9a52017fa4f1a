/* SPDX-License-Identifier: MIT */
/*
 * The region table against a model that cannot be wrong: an owner for each
 * page. Random work, and the shapes in which trees break: in order, backwards,
 * many at once, none, one, a boundary that must move.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "region/region.h"
#include "region/table.h"
#include "unit.h"

#define SPACE	40000u		/* pages; enough for three levels of 64 */
#define FIRST	0x10000u

static struct bz_region regions[SPACE];
static uint32_t owner[SPACE];	/* of each page: index + 1; 0: none */
static uint32_t many;

static uint64_t addr_of(uint32_t page)
{
	return ((uint64_t)FIRST + page) << 12;
}

/* ---------------------------------------------------------- what must hold */

/* @n holds [@low, @high): sorted, not empty, nothing over the next key. */
static uint32_t check_node(struct bz_node *n, uint64_t low, uint64_t high)
{
	uint32_t count = atomic_load(&n->count), i, found = 0;

	CHECK(count >= 1 && count <= BZ_FAN);
	for (i = 0; i < count; i++) {
		uint64_t key = i || !n->level ? n->entry[i].key : low;
		uint64_t next = i + 1 < count ? n->entry[i + 1].key : high;

		CHECK(key >= low && key < next && next <= high);
		if (n->level) {
			struct bz_node *child = (void *)n->entry[i].at;

			CHECK_EQ(child->level + 1, n->level);
			found += check_node(child, key, next);
		} else {
			struct bz_region *r = (struct bz_region *)n->entry[i].at;

			CHECK(r->start == key && r->end <= next);
			CHECK(r->end == n->entry[i].end);
			found++;
		}
	}
	return found;
}

static void check_all(void)
{
	struct bz_node *root = atomic_load(&bz_table.root);
	uint32_t i;

	CHECK_EQ(root ? check_node(root, 0, UINT64_MAX) : 0, many);
	for (i = 0; i < SPACE; i++) {
		CHECK(bz_table_find(addr_of(i) + 4095) ==
		      (owner[i] ? &regions[owner[i] - 1] : NULL));
	}
	CHECK(!bz_table_find(0));
	CHECK(!bz_table_find(addr_of(0) - 1));
}

/* ------------------------------------------------------- one step, in both */

static void add(uint32_t page, uint32_t pages)
{
	struct bz_region *r = &regions[page];
	uint32_t i, is_free = 1;

	for (i = page; i < page + pages; i++)
		is_free &= !owner[i];
	/* its record is in use, where there is a region that begins here */
	if (owner[page] == page + 1)
		return;
	r->index = page;
	r->generation = 1;
	r->start = addr_of(page);
	r->end = addr_of(page + pages);
	CHECK_EQ(bz_table_insert(r), is_free ? 0 : -EEXIST);
	if (!is_free)
		return;
	for (i = page; i < page + pages; i++)
		owner[i] = page + 1;
	many++;
}

static void drop(uint32_t page)
{
	uint32_t i, who = owner[page];

	if (!who)
		return;
	CHECK_EQ(bz_table_remove(&regions[who - 1]), 0);
	for (i = who - 1; i < SPACE && owner[i] == who; i++)
		owner[i] = 0;
	many--;
}

static uint32_t seed = 12345;

static uint32_t below(uint32_t limit)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(seed >> 4) * limit >> 28);
}

/* ------------------------------------------------------------------- cases */

static void one(void)
{
	unit_mm();
	CHECK(!bz_table_find(addr_of(5)));
	add(5, 3);
	check_all();
	add(6, 1);			/* inside: refused */
	add(4, 2);			/* over its start */
	add(7, 9);			/* over its end */
	add(0, 20);			/* around it */
	CHECK_EQ(many, 1);
	check_all();
	drop(6);
	CHECK(!atomic_load(&bz_table.root));
	check_all();
	add(5, 1);
	check_all();
}

static void shapes(void)
{
	static const int steps[] = { 1, -1, 7919, -104729 };
	uint32_t i, page;
	size_t s;

	unit_mm();
	for (s = 0; s < COUNT_OF(steps); s++) {
		page = steps[s] < 0 ? SPACE - 1 : 0;
		for (i = 0; i < SPACE; i++) {
			if (page % 2 == 0)
				add(page, 1);
			page = (page + SPACE * 4 + (uint32_t)steps[s]) % SPACE;
			/* each time that a node is split */
			if (many && !(many & (many - 1)))
				CHECK_EQ(check_node(atomic_load(&bz_table.root),
						    0, UINT64_MAX), many);
		}
		CHECK_EQ(many, SPACE / 2);
		check_all();
		for (i = 0; i < SPACE; i++) {
			drop(page);
			page = (page + SPACE * 4 + (uint32_t)steps[s]) % SPACE;
		}
		CHECK(!atomic_load(&bz_table.root));
	}
}

static void random_work(void)
{
	uint32_t round, i;

	unit_mm();
	/* tides: mostly adding, then mostly removing, wide and narrow */
	for (round = 0; round < 16; round++) {
		uint32_t adding = round % 4 < 2 ? 80 : 20;
		uint32_t widest = round % 8 < 4 ? 3 : 40;

		for (i = 0; i < 25000; i++) {
			uint32_t pages = 1 + below(widest);

			if (below(100) < adding)
				add(below(SPACE - pages), pages);
			else
				drop(below(SPACE));
		}
		check_all();
	}
}

/* A region that reaches over what was the boundary of two nodes. */
static void boundary(void)
{
	struct bz_node *root;
	uint32_t i, at;

	unit_mm();
	for (i = 0; i < 3 * BZ_FAN; i++)
		add(i * 10, 1);
	root = atomic_load(&bz_table.root);
	CHECK_EQ(root->level, 1);
	/* take out what lies around the first boundary */
	at = (uint32_t)((root->entry[1].key >> 12) - FIRST);
	drop(at);
	drop(at + 10);
	add(at - 5, 20);
	check_all();
	CHECK(bz_table_find(addr_of(at + 14)) == &regions[at - 5]);
	add(at + 15, 5);
	add(at + 14, 1);
	check_all();
}

/* ------------------------------------------------ readers while it changes */

#define STABLE	97		/* every so many pages one that stays */

static struct bz_mm *mm;
static _Atomic int done;
static _Atomic uint64_t lookups, lost;

/* As a fault does it: mark, look, unmark. */
static void *reader(void *arg)
{
	uint32_t mine = (uint32_t)(uintptr_t)arg * 7919, page;

	while (!atomic_load(&done)) {
		struct bz_walk *w = bz_walk_enter(mm, BZ_WALK_ANYBODY, NULL,
						  UINT64_MAX / 2);

		mine = mine * 1664525u + 1013904223u;
		page = (mine >> 8) % (SPACE / STABLE) * STABLE;
		bz_region_mark(w);
		if (bz_table_find(addr_of(page) + 17) !=
		    &regions[page])
			atomic_fetch_add(&lost, 1);
		bz_walk_unmark(w);
		bz_walk_leave(mm, w, NULL);
		atomic_fetch_add(&lookups, 1);
	}
	return NULL;
}

static void churn(uint32_t steps)
{
	uint32_t i;

	for (i = 0; i < steps; i++) {
		uint32_t page = below(SPACE - 8);

		if (page % STABLE == 0)
			continue;
		if (owner[page])
			drop(page % STABLE ? page : page + 1);
		else
			add(page, 1 + below(3));
	}
}

static void stable(void)
{
	uint32_t i;

	mm = unit_mm();
	for (i = 0; i < SPACE; i += STABLE)
		add(i, 1);
}

static void readers(void)
{
	pthread_t t[3];
	uintptr_t i;

	stable();
	unit_patience(100);
	for (i = 0; i < COUNT_OF(t); i++)
		CHECK_EQ(pthread_create(&t[i], NULL, reader, (void *)(i + 1)),
			 0);
	while (atomic_load(&lookups) < 300000)
		churn(1000);
	atomic_store(&done, 1);
	for (i = 0; i < COUNT_OF(t); i++)
		pthread_join(t[i], NULL);
	tap_diag("%llu look-ups", (unsigned long long)lookups);
	CHECK_EQ(lost, 0);
	check_all();
}

static struct bz_region *find_from(struct bz_node *n, uint64_t addr)
{
	uint32_t i;

	for (;;) {
		i = atomic_load(&n->count) - 1;
		while (i && n->entry[i].key > addr)
			i--;
		if (!n->level)
			return (struct bz_region *)n->entry[i].at;
		n = (void *)n->entry[i].at;
	}
}

/* What a reader has in its hand stays what it was until it drops its mark. */
static void held(void)
{
	struct bz_walk *w;
	struct bz_node *root;
	uint32_t i, round;

	stable();
	churn(50000);
	w = unit_enter(mm);
	CHECK_EQ(bz_region_mark(w), 1);
	CHECK_EQ(bz_region_mark(w), 0);
	root = atomic_load(&bz_table.root);
	for (round = 0; round < 10; round++) {
		churn(10000);
		for (i = 0; i < SPACE; i += STABLE)
			CHECK(find_from(root, addr_of(i)) == &regions[i]);
	}
	bz_walk_unmark(w);
	bz_walk_leave(mm, w, NULL);
	churn(50000);
	check_all();
}

static unsigned long mapped_pages(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f);
	CHECK_EQ(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages;
}

/* Nodes are used again when nobody looks: that would be 400 MiB of them. */
static void reused(void)
{
	unsigned long before;

	stable();
	churn(200000);
	before = mapped_pages();
	churn(400000);
	CHECKF(mapped_pages() < before + (16 << 20) / unit_page(),
	       "%lu pages, were %lu", mapped_pages(), before);
	check_all();
}

static void ids(void)
{
	unit_mm();
	CHECK(!bz_region_by_id(0));
	CHECK(!bz_region_by_id(1));
	CHECK(!bz_region_by_id(UINT64_MAX));
	CHECK(!bz_region_by_id(0x100000000ull));
	CHECK(!bz_region_by_id(0x1ffffffffull));
}

static const struct tap_case cases[] = {
	{ .name = "none and one", .run = one },
	{ .name = "in order, backwards, all over", .run = shapes },
	{ .name = "random work", .run = random_work },
	{ .name = "a boundary moves", .run = boundary },
	{ .name = "readers find what stays", .run = readers, .timeout_s = 110 },
	{ .name = "a reader keeps what it holds", .run = held },
	{ .name = "nodes are used again", .run = reused },
	{ .name = "ids of nothing", .run = ids },
};
TAP_MAIN(cases)
