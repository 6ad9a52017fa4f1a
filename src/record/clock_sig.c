/* SPDX-License-Identifier: MIT */
/*
 * What time it is by the wall, and since the machine was started. Both clocks run
 * beside CLOCK_MONOTONIC, and as far from it as they were until somebody sets the
 * time or the machine sleeps. How far the wall's is can be asked for the price of a
 * few loads, as the coarse clocks show the same tick of both; if that is what it
 * was, the other's is, too: a sleep moves both (kernel/time/timekeeping.c,
 * tk_update_sleep_time()).
 */
#include "record/clock.h"

#include "sys/sys.h"

#define TRIES	3
#define NONE	UINT64_MAX		/* no distance */

static uint64_t read_ns(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* From CLOCK_MONOTONIC to the wall's. */
static uint64_t to_wall(void)
{
	uint64_t mono, wall;
	int i;

	for (i = 0; i < TRIES; i++) {
		mono = read_ns(CLOCK_MONOTONIC_COARSE);
		wall = read_ns(CLOCK_REALTIME_COARSE);
		if (read_ns(CLOCK_MONOTONIC_COARSE) == mono)
			return wall - mono;
	}
	/* one that is interrupted at every tick */
	return read_ns(CLOCK_REALTIME) - bz_now_ns();
}

/* To CLOCK_BOOTTIME: of a few tries the one that was interrupted least. */
static uint64_t to_boot(void)
{
	uint64_t least = UINT64_MAX, far = 0;
	int i;

	for (i = 0; i < TRIES; i++) {
		uint64_t before = bz_now_ns();
		uint64_t boot = read_ns(CLOCK_BOOTTIME);
		uint64_t took = bz_now_ns() - before;

		if (took >= least)
			continue;
		least = took;
		far = boot - before;
	}
	return far;
}

/* One writes; who finds it writing, or dead, has its own. */
static void keep(struct bz_clocks *c, uint64_t wall, uint64_t boot)
{
	uint32_t idle = 0;

	if (!atomic_compare_exchange_strong_explicit(&c->writing, &idle, 1,
						     memory_order_acquire,
						     memory_order_relaxed))
		return;
	atomic_store_explicit(&c->wall, NONE, memory_order_relaxed);
	/* that before the other: pairs with the second look in kept() */
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&c->boot, boot, memory_order_relaxed);
	atomic_store_explicit(&c->wall, wall, memory_order_release);
	atomic_store_explicit(&c->writing, 0, memory_order_release);
}

static int kept(struct bz_clocks *c, uint64_t wall, uint64_t *ret_boot)
{
	/* acquire: pairs with the release of the same in keep() */
	if (atomic_load_explicit(&c->wall, memory_order_acquire) != wall)
		return 0;
	*ret_boot = atomic_load_explicit(&c->boot, memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&c->wall, memory_order_relaxed) == wall;
}

void bz_clocks(struct bz_clocks *c, uint64_t mono, uint64_t *ret_wall,
	       uint64_t *ret_boot)
{
	uint64_t wall = to_wall(), boot;

	if (!kept(c, wall, &boot)) {
		boot = to_boot();
		keep(c, wall, boot);
	}
	*ret_wall = mono + wall;
	*ret_boot = mono + boot;
}
