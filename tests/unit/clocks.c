/* SPDX-License-Identifier: MIT */
/* Fifth room: two clocks are told by one, and another distance is noticed. */
#include <string.h>
#include <time.h>

#include "record/clock.h"
#include "unit.h"

#define FAR	3600000000000u		/* an hour */

static uint64_t read_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Both are what the clocks themselves say, within what was between two looks. */
static void check_right(struct bz_clocks *c)
{
	uint64_t wall[2], boot[2], mono, told_wall, told_boot;
	uint64_t slack = 1000000;	/* to_boot() may be interrupted thrice */

	wall[0] = read_ns(CLOCK_REALTIME);
	boot[0] = read_ns(CLOCK_BOOTTIME);
	mono = read_ns(CLOCK_MONOTONIC);
	wall[1] = read_ns(CLOCK_REALTIME);
	boot[1] = read_ns(CLOCK_BOOTTIME);
	bz_clocks(c, mono, &told_wall, &told_boot);
	CHECK(told_wall >= wall[0] - slack && told_wall <= wall[1] + slack);
	CHECK(told_boot >= boot[0] - slack && told_boot <= boot[1] + slack);
}

static void first(void)
{
	struct bz_clocks c;

	memset(&c, 0, sizeof(c));
	check_right(&c);
	CHECK(atomic_load(&c.wall) != 0);
	CHECK_EQ(atomic_load(&c.writing), 0);
	check_right(&c);
}

/* What is kept is used: else there is nothing to be gained. */
static void kept(void)
{
	struct bz_clocks c;
	uint64_t wall, boot, mono = read_ns(CLOCK_MONOTONIC), far;

	memset(&c, 0, sizeof(c));
	bz_clocks(&c, mono, &wall, &boot);
	far = atomic_load(&c.boot);
	atomic_store(&c.boot, far + FAR);
	bz_clocks(&c, mono, &wall, &boot);
	CHECK_EQ(boot, mono + far + FAR);
}

/* The time was set, or the machine has slept. */
static void moved(void)
{
	struct bz_clocks c;

	memset(&c, 0, sizeof(c));
	check_right(&c);
	atomic_store(&c.wall, atomic_load(&c.wall) - FAR);
	atomic_store(&c.boot, atomic_load(&c.boot) - FAR);
	check_right(&c);
	check_right(&c);
}

/* Who was writing is dead, in the middle of it. */
static void abandoned(void)
{
	struct bz_clocks c;

	memset(&c, 0, sizeof(c));
	atomic_store(&c.writing, 1);
	atomic_store(&c.wall, UINT64_MAX);
	atomic_store(&c.boot, FAR);
	check_right(&c);
	CHECK_EQ(atomic_load(&c.wall), UINT64_MAX);
}

static const struct tap_case cases[] = {
	{ .name = "the first time", .run = first },
	{ .name = "a distance is kept", .run = kept },
	{ .name = "the time was set, or the machine has slept", .run = moved },
	{ .name = "who was writing is dead", .run = abandoned },
};

TAP_MAIN(cases)
