/* SPDX-License-Identifier: MIT */
/* Second room: the inventory of what is lost. */
#include <errno.h>
#include <string.h>

#include "region/arena.h"
#include "region/lost.h"
#include "unit.h"

#define BASE	0x7f0000000000ull

static void begin(void)
{
	unit_mm();
	CHECK_EQ(bz_lost_grow(), 0);
}

static struct bz_extent extent(uint64_t start, uint64_t width)
{
	return (struct bz_extent){ .start = BASE + start, .width = width };
}

static struct bz_lost_at enter(struct bz_extent x, bez_region_t region)
{
	struct bez_lost lost = { .addr = (void *)x.start, .width = x.width,
				 .region = region, .why = 64 };
	struct bz_lost_at at;

	CHECK_EQ(bz_lost_take(x, &at), 0);
	bz_lost_enter(&at, &lost, BZ_AS_IT_WAS);
	return at;
}

static uint64_t before(uint64_t start, uint64_t len)
{
	return bz_lost_before(BASE + start, len);
}

static int in(uint64_t start, uint64_t len)
{
	return bez_lost_in((void *)(BASE + start), len);
}

static void finds(void)
{
	struct bz_lost_at at;

	begin();
	CHECK_EQ(bez_lost_generation(), 0);
	CHECK_EQ(before(0, 10), 10);
	enter(extent(0x10000, 0x1000), 1);
	enter(extent(0x200000, 0x200000), 1);
	enter(extent(0x40000000, 0x40000000), 1);
	CHECK_EQ(bez_lost_generation(), 3ull << 32 | 3);
	CHECK(!bz_lost_find(BASE + 0xffff, &at));
	CHECK(bz_lost_find(BASE + 0x10000, &at));
	CHECK(bz_lost_find(BASE + 0x10fff, &at));
	CHECK_EQ(at.x.start, BASE + 0x10000);
	CHECK_EQ(at.x.width, 0x1000);
	CHECK(!bz_lost_find(BASE + 0x11000, &at));
	CHECK(bz_lost_find(BASE + 0x3fffff, &at));
	CHECK_EQ(at.x.width, 0x200000);
	CHECK(bz_lost_find(BASE + 0x7fffffff, &at));
	CHECK_EQ(at.x.width, 0x40000000);
	CHECK(!bz_lost_find(BASE + 0x80000000, &at));

	CHECK_EQ(before(0xff00, 0x100), 0x100);
	CHECK_EQ(before(0xff00, 0x101), 0x100);
	CHECK_EQ(before(0x10800, 1), 0);
	CHECK_EQ(before(0x11000, 0x1ef000), 0x1ef000);
	CHECK_EQ(before(0x11000, 0x1ef001), 0x1ef000);
	CHECK_EQ(before(0, UINT64_MAX - BASE), 0x10000);
	CHECK_EQ(before(0x10800, 0), 0);
	CHECK_EQ(in(0xff00, 0x100), 0);
	CHECK_EQ(in(0xff00, 0x101), 1);
	CHECK_EQ(in(0x10fff, 1), 1);
	CHECK_EQ(in(0x11000, 1), 0);
	CHECK_EQ(in(0x10800, 0), 0);
}

static void comes_and_goes(void)
{
	struct bz_lost_at one, two, again;
	struct bez_lost lost;
	uint64_t i = 0, generation;

	begin();
	one = enter(extent(0, 0x1000), 7);
	two = enter(extent(0x1000, 0x1000), 8);
	CHECK_EQ(bz_lost_read(&one, &lost), 1);
	CHECK_EQ(lost.seq, 1);
	CHECK_EQ(lost.why, 64);
	generation = bez_lost_generation();
	CHECK_EQ(bz_lost_remove(&one), 1);
	CHECK_EQ(bz_lost_remove(&one), 0);
	CHECK_EQ(bz_lost_read(&one, &lost), 0);
	CHECK(bez_lost_generation() != generation);
	CHECK_EQ((uint32_t)bez_lost_generation(), 1);
	CHECK_EQ(in(0, 0x1000), 0);
	CHECK_EQ(bez_lost_next(&i, &lost), 0);
	CHECK_EQ(lost.seq, 2);
	CHECK(lost.addr == (void *)two.x.start);
	CHECK_EQ(bez_lost_next(&i, &lost), -ENOENT);
	CHECK_EQ(bez_lost_next(&i, NULL), -EINVAL);
	CHECK_EQ(bez_lost_next(NULL, &lost), -EINVAL);

	/* the place is used again, the number is not */
	again = enter(extent(0, 0x1000), 9);
	CHECK_EQ(again.slot, one.slot);
	CHECK_EQ(bz_lost_read(&again, &lost), 1);
	CHECK_EQ(lost.seq, 3);
	CHECK_EQ(lost.region, 9);
	bz_lost_forget(8);
	CHECK_EQ(in(0x1000, 1), 0);
	CHECK_EQ(in(0, 1), 1);
	bz_lost_forget(9);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
}

/* What is being entered is not there yet; a child that is made meanwhile never
 * sees it. */
static void not_yet(void)
{
	struct bz_lost_at at, other;

	begin();
	/* so that somebody looks */
	enter(extent(0x100000, 0x1000), 1);
	CHECK_EQ(bz_lost_take(extent(0, 0x1000), &at), 0);
	CHECK_EQ(in(0, 1), 0);
	CHECK_EQ(bz_lost_find(BASE, &other), 0);
	CHECK_EQ(bz_lost_take(extent(0x1000, 0x1000), &other), 0);
	CHECK(other.slot != at.slot);
	bz_lost_give_up(&at);
	CHECK_EQ(bz_lost_take(extent(0x2000, 0x1000), &at), 0);
	CHECK(other.slot != at.slot);
	bz_lost_forked();
	CHECK_EQ(in(0, 0x3000), 0);
	bz_lost_take(extent(0x3000, 0x1000), &at);
	CHECK_EQ(at.slot, 1);
}

/* Another thread was between a key and the count when the child was made. */
static void half_counted(void)
{
	struct bz_lost_at one;
	uint64_t was;

	begin();
	enter(extent(0, 0x1000), 1);
	one = enter(extent(0x1000, 0x1000), 1);
	/* it is not counted in yet */
	atomic_fetch_sub(&bz_lost_word, 1);
	was = bez_lost_generation();
	bz_lost_forked();
	CHECK_EQ((uint32_t)bez_lost_generation(), 2);
	CHECK(bez_lost_generation() >> 32 != was >> 32);
	/* nor out */
	CHECK_EQ(bz_lost_remove(&one), 1);
	atomic_fetch_add(&bz_lost_word, 1);
	bz_lost_forked();
	CHECK_EQ((uint32_t)bez_lost_generation(), 1);
	CHECK_EQ(in(0x1000, 1), 0);
	CHECK_EQ(in(0, 1), 1);
}

/* As enter() does, without the search for a place each time. */
static void enter_at(uint32_t i)
{
	struct bz_extent x = extent(i * 0x1000ull, 0x1000);
	struct bez_lost lost = { .region = 1 };
	struct bz_lost_at at = { .slot = i, .key = x.start | 12 << 2 | 2,
				 .x = x };

	bz_lost_enter(&at, &lost, BZ_AS_IT_WAS);
	atomic_store(&bz_inventory.top, i + 1);
}

/* Room is made ahead of need, up to a bound; without it nothing is entered. */
static void full(void)
{
	struct bz_lost_at at;
	uint32_t i;

	begin();
	for (i = 0; i < BZ_LOST_CHUNK; i++)
		enter(extent(i * 0x1000ull, 0x1000), 1);
	CHECK_EQ(bz_lost_take(extent(i * 0x1000ull, 0x1000), &at), -ENOSPC);
	for (; i < BZ_LOST_CHUNK * BZ_LOST_CHUNKS; i++) {
		if (i % (BZ_LOST_CHUNK / 2) == 0)
			CHECK_EQ(bz_lost_grow(), 0);
		enter_at(i);
	}
	CHECK_EQ(bz_lost_grow(), 0);
	CHECK_EQ(bz_lost_take(extent(i * 0x1000ull, 0x1000), &at), -ENOSPC);
	CHECK_EQ((uint32_t)bez_lost_generation(), i);
	CHECK_EQ(in(i * 0x1000ull, 1), 0);
	CHECK_EQ(in((i - 1) * 0x1000ull, 1), 1);
	bz_lost_forget(1);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
	bz_lost_reset();
	bz_arena_reset();
	CHECK_EQ(in(0, 1), 0);
	CHECK_EQ(bz_lost_take(extent(0, 0x1000), &at), -ENOSPC);
}

static const struct tap_case cases[] = {
	{ .name = "an address, a range, any width", .run = finds },
	{ .name = "in, out, in again", .run = comes_and_goes },
	{ .name = "not before it is entered", .run = not_yet },
	{ .name = "a child that was made between two stores",
	  .run = half_counted },
	{ .name = "room", .run = full },
};

TAP_MAIN(cases)
