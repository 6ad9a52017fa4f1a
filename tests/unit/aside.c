/* SPDX-License-Identifier: MIT */
/*
 * Fourth room: where a page is built before it is moved. Not in the hole of a
 * region, although that is where the kernel would put it: who looks for something
 * else there is not shown that, not even for a moment.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "../live/live.h"
#include "ladder.h"
#include "region/region.h"
#include "repair/repair.h"
#include "unit.h"

#define HUGE	((size_t)2 << 20)

static unsigned char *at;
static size_t len, hole, hole_len;
static uint32_t shown, there;

static int is_in_hole(const void *p)
{
	return (uint64_t)p - (uint64_t)(at + hole) < hole_len;
}

/* Fill what is free above it, until @bytes more would land in there. */
static void lead_there(size_t bytes)
{
	uint32_t i;

	for (i = 0; i < 100000; i++) {
		void *p = mmap(NULL, bytes, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			       0);

		CHECK(p != MAP_FAILED);
		if (is_in_hole(p)) {
			CHECK_EQ(munmap(p, bytes), 0);
			return;
		}
	}
	tap_skip("this kernel looks for room in another order");
}

/* Before each of the library's calls: can anything be read in the hole? */
static void look(long nr, const long arg[6])
{
	unsigned char byte;
	struct iovec here = { &byte, 1 }, hidden;
	size_t i;

	(void)nr;
	(void)arg;
	for (i = 0; i < hole_len; i += unit_page()) {
		hidden = (struct iovec){ at + hole + i, 1 };
		shown += process_vm_readv(getpid(), &here, 1, &hidden, 1,
					  0) == 1;
	}
}

static void count_there(void)
{
	uint32_t i;

	for (i = 0; i < double_traced(); i++)
		there += double_trace(i)->nr == SYS_mmap &&
			 is_in_hole((void *)double_trace(i)->result);
}

static void begin(size_t bytes, size_t from, size_t of)
{
	static struct bez_source zero;

#if !defined(__x86_64__)
	tap_skip("qemu-user, where this runs, has mappings of its own");
#endif
	unit_page();
	len = bytes;
	hole = from;
	hole_len = of;
	at = mmap(NULL, len, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(at != MAP_FAILED);
	zero = bez_source_zero();
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL |
		   BEZ_START_NO_UFFD);
	live_region(at, len, &zero, "with a hole");
}

static void page_is_staged(void)
{
	size_t page = unit_page();
	struct bz_fault fault = { .cause = BEZ_CAUSE_ADRERR, .si_code = 2 };
	struct bz_result result;
	struct bz_walk *w;

	unit_need_poison();
	begin(160 * page, 10 * page, 100 * page);
	memset(at, 7, page);
	live_poison(at);
	CHECK_EQ(munmap(at + hole, hole_len), 0);
	lead_there(page);
	fault.addr = (uint64_t)at;
	fault.taken_ns = bz_now_ns();
	w = unit_enter(atomic_load(&bz_core.mm));
	double_before(look);
	double_watch();
	CHECK_EQ(bz_ladder(atomic_load(&bz_core.mm), w, &fault, &result), 0);
	double_rest();
	bz_walk_leave(atomic_load(&bz_core.mm), w, NULL);
	count_there();
	CHECK_EQ(result.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(live_read(at), 0);
	/* it was led there, and nothing was to be seen */
	CHECK(there > 0);
	CHECK_EQ(shown, 0);
	look(0, NULL);
	CHECK_EQ(shown, 0);
	CHECK_EQ(unit_flag(at + hole, " rd"), -1);
}

static void huge_is_built(void)
{
	struct bz_walk *w;
	void *stage;

	begin(16 * HUGE, 2 * HUGE, 10 * HUGE);
	CHECK_EQ(munmap(at + hole, hole_len), 0);
	lead_there(HUGE);
	w = unit_enter(atomic_load(&bz_core.mm));
	bz_region_mark(w);
	double_before(look);
	double_watch();
	stage = bz_stage_get(HUGE, bz_region_in);
	double_rest();
	bz_walk_unmark(w);
	bz_walk_leave(atomic_load(&bz_core.mm), w, NULL);
	count_there();
	CHECK(stage);
	CHECK(there > 0);
	CHECK(!is_in_hole(stage));
	CHECK_EQ(shown, 0);
	memset(stage, 1, HUGE);
	bz_stage_put(stage, HUGE);
}

/* A hole that only the last page of a huge one would reach into. */
static void by_its_end(void)
{
	size_t page = unit_page();

	begin(HUGE, 0, page);
	CHECK_EQ(bz_region_in((uint64_t)at - HUGE, HUGE), 0);
	CHECK_EQ(bz_region_in((uint64_t)at - HUGE + page, HUGE), 1);
	CHECK_EQ(bz_region_in((uint64_t)at + HUGE - page, HUGE), 1);
	CHECK_EQ(bz_region_in((uint64_t)at + HUGE, HUGE), 0);
}

static int everywhere(uint64_t start, uint64_t width)
{
	(void)start;
	(void)width;
	return 1;
}

/* It gives up, and leaves nothing. */
static void nowhere(void)
{
	uint32_t maps;

	begin(HUGE, 0, 0);
	maps = unit_maps();
	CHECK(!bz_stage_get(HUGE, everywhere));
	CHECK_EQ(unit_maps(), maps);
}

static const struct tap_case cases[] = {
	{ .name = "a page", .run = page_is_staged },
	{ .name = "a huge page", .run = huge_is_built },
	{ .name = "what a region reaches into", .run = by_its_end },
	{ .name = "no room", .run = nowhere },
};
TAP_MAIN(cases)
