/* SPDX-License-Identifier: MIT */
/*
 * examples/jemalloc/heap.c: after a loss no block ever overlaps it, everything else
 * goes on, and what is taken out of circulation does not add up.
 */
#define _GNU_SOURCE
#include "tap.h"

#ifndef WITH_JEMALLOC

static void skipped(void)
{
	tap_skip(WHY);
}

static const struct tap_case cases[] = {
	{ .name = "jemalloc", .run = skipped },
};

#else

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bezoar/bezoar.h>
#include <bezoar/inject.h>

#include "heap.h"
#include "live.h"
#include "replace_see.h"

static size_t page;

static void begin(void)
{
	page = live_page();
	see_install();
	see_start(0);
	CHECK_EQ(heap_start(), 0);
}

static unsigned char *page_of(void *at)
{
	return (unsigned char *)((uintptr_t)at & -page);
}

static void *block_of(size_t size)
{
	unsigned char *p = heap_alloc(size);

	CHECK(p);
	CHECKF(!bez_lost_in(p, size), "%zu bytes at %p", size, (void *)p);
	memset(p, (int)(size & 0xff), size);
	return p;
}

/* ------------------------------------------------------------------ small blocks */

/* It waits where no hook is asked: in the cache of the thread, in a slab that is
 * in use. */
static void cached(void)
{
	struct heap_stats stats;
	void *p[200];
	size_t i;

	begin();
	for (i = 0; i < 200; i++)
		p[i] = block_of(64);
	for (i = 0; i < 100; i++)
		heap_free(p[i]);
	CHECK_EQ(bez_lost_add(page_of(p[50]), page), 0);
	CHECK(bez_lost_in(p[50], 64));
	for (i = 0; i < 5000; i++)
		block_of(64);
	heap_stats(&stats);
	tap_diag("%zu blocks refused, %zu bytes kept", stats.refused,
		 stats.kept);
	CHECK(stats.refused > 0);
	/* also those that are freed only now */
	for (i = 100; i < 200; i++)
		heap_free(p[i]);
	for (i = 0; i < 5000; i++)
		block_of(64);
	heap_stats(&stats);
	CHECK(stats.kept <= 2 * page);
	CHECK_EQ(stats.closed, 0);
	CHECK_EQ(heap_stop(), 0);
	heap_stats(&stats);
	CHECK_EQ(stats.mapped, 0);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------------------------ large blocks */

#define LARGE	((size_t)1 << 20)
#define CYCLES	100

/* Lost in use, and while it is free. What it takes is addresses, and no memory. */
static void large(void)
{
	struct heap_stats stats;
	unsigned long kb;
	size_t i;

	begin();
	heap_free(block_of(LARGE));
	kb = see_kb("VmRSS:");
	for (i = 0; i < CYCLES; i++) {
		unsigned char *p = block_of(LARGE);

		if (i & 1) {
			heap_free(p);
			/* it may be another's, or nobody's, by now */
			if (bez_lost_add(page_of(p) + 7 * page, page))
				continue;
		} else {
			CHECK_EQ(bez_lost_add(page_of(p) + 7 * page, page), 0);
			heap_free(p);
		}
		block_of(LARGE / 2);
	}
	heap_stats(&stats);
	tap_diag("%u lost, %zu KiB mapped, %zu closed, %zu kept, %lu more in "
		 "memory", (uint32_t)bez_lost_generation(), stats.mapped / 1024,
		 stats.closed / 1024, stats.kept / 1024,
		 see_kb("VmRSS:") - kb);
	CHECK_EQ(stats.kept, 0);
	/* the blocks that are still in use, and tables */
	CHECK(see_kb("VmRSS:") - kb < CYCLES * LARGE / 2 / 1024 + 16384);
	CHECK_EQ(heap_stop(), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------------------------------ the end */

#define OTHERS	256

static struct other { unsigned char *at; size_t len; bez_region_t region; }
	other[OTHERS];
static size_t others;
static int taking;

int __real_munmap(void *addr, size_t len);
int __wrap_munmap(void *addr, size_t len);

/* As another thread would, that is as quick as can be: what has just been unmapped
 * is a region of somebody else's. */
int __wrap_munmap(void *addr, size_t len)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct other *o = &other[others];
	int r = __real_munmap(addr, len);

	if (r || !taking || len < LARGE)
		return r;
	CHECK(others < OTHERS);
	o->at = mmap(addr, len, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		     MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
		     0);
	CHECK(o->at == addr);
	o->len = len;
	o->at[0] = 0x55;
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(o->at, len, &policy, &o->region), 0);
	others++;
	return 0;
}

/* Regions that have lost something in the middle end in several parts. */
static void ends(void)
{
	struct bez_region_info info = { .size = sizeof(info) };
	struct heap_stats stats;
	unsigned char *p[24];
	size_t i;

	begin();
	for (i = 0; i < 24; i++)
		p[i] = block_of(LARGE);
	for (i = 1; i < 24; i += 3) {
		CHECK_EQ(bez_lost_add(page_of(p[i]) + 7 * page, page), 0);
		heap_free(p[i]);
	}
	for (i = 0; i < 24; i++)
		if (i % 3 != 1)
			heap_free(p[i]);
	heap_stats(&stats);
	CHECK(stats.closed > 0 && stats.closed < stats.mapped);
	taking = 1;
	CHECK_EQ(heap_stop(), 0);
	taking = 0;
	tap_diag("%zu regions", others);
	CHECK(others > 1);
	for (i = 0; i < others; i++) {
		CHECKF(!bez_region_info(other[i].region, &info),
		       "region %zu of somebody else is gone", i);
		CHECK_EQ(other[i].at[0], 0x55);
		CHECK_EQ(bez_region_remove(other[i].region), 0);
		munmap(other[i].at, other[i].len);
	}
	heap_stats(&stats);
	CHECK_EQ(stats.mapped, 0);
	CHECK_EQ(stats.closed, 0);
	CHECK_EQ(bez_stop(), 0);
}

/* ---------------------------------------------------------------------- all of it */

#define THREADS	3
#define SLOTS	400
#define LOSSES	60
#define AFTER	40000			/* blocks of each thread behind the last */

static _Atomic uint64_t entered;	/* number of the last loss that is known */
static _Atomic uint32_t stop, bad, wrong, met;
static _Atomic uint64_t blocks[THREADS];

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Was it lost when the block was asked for, and is it? */
static int overlaps(void *p, size_t size, uint64_t known)
{
	struct bez_lost lost;
	uint64_t walk = 0;

	if (!bez_lost_in(p, size))
		return 0;
	while (!bez_lost_next(&walk, &lost))
		if (lost.seq <= known &&
		    (char *)lost.addr < (char *)p + size &&
		    (char *)p < (char *)lost.addr + lost.width)
			return 1;
	return 0;
}

struct slot { unsigned char *at; size_t size; unsigned char byte; };

/* 1: good. 0: another byte. -1: lost. */
static int look(const struct slot *s, int write)
{
	volatile int good = 1;

	BEZ_TRY {
		size_t i;

		if (write)
			memset(s->at, s->byte, s->size);
		for (i = 0; i < s->size; i += 61)
			if (s->at[i] != s->byte)
				good = 0;
	} BEZ_CATCH(lost) {
		(void)lost;
		return -1;
	}
	return good;
}

static size_t some_size(uint64_t r)
{
	return r % 32 ? 8 + r / 32 % 2000 : r % 1024 ? 4096 + r / 32 % 60000 :
						       200000 + r % 400000;
}

static void *works(void *arg)
{
	static struct slot all[THREADS][SLOTS];
	size_t me = (size_t)arg, i;
	uint64_t state = 88172645463325252u + me * 977, r, known;
	struct slot *s;

	bez_thread_attach();
	if (heap_thread_start())
		return arg;
	while (!atomic_load(&stop)) {
		r = draw(&state);
		s = &all[me][r % SLOTS];
		if (s->at) {
			int good = look(s, 0);

			atomic_fetch_add(&wrong, (uint32_t)(good == 0));
			atomic_fetch_add(&met, (uint32_t)(good < 0));
			heap_free(s->at);
			s->at = NULL;
		} else {
			s->size = some_size(r >> 20);
			s->byte = (unsigned char)(r >> 8);
			known = atomic_load(&entered);
			s->at = heap_alloc(s->size);
			if (!s->at)
				return arg;
			atomic_fetch_add(&bad, (uint32_t)overlaps(s->at, s->size,
								  known));
			if (look(s, 1) < 0) {
				atomic_fetch_add(&met, 1);
				heap_free(s->at);
				s->at = NULL;
			}
			atomic_fetch_add(&blocks[me], 1);
		}
	}
	for (i = 0; i < SLOTS; i++)
		heap_free(all[me][i].at);
	heap_thread_stop();
	return NULL;
}

static uint64_t highest(void)
{
	struct bez_lost lost;
	uint64_t walk = 0, seq = 0;

	while (!bez_lost_next(&walk, &lost))
		if (lost.seq > seq)
			seq = lost.seq;
	return seq;
}

/* Lose a page on which there is a block of ours, and blocks of others that are in
 * use or free; meet it, and free ours. */
static void lose_one(uint64_t *state)
{
	struct slot s = { .size = some_size(draw(state)) };
	bez_inject_t token;
	uint64_t seq;
	int r;

	s.at = heap_alloc(s.size);
	CHECK(s.at);
	if (look(&s, 1) > 0) {
		r = bez_inject(page_of(s.at), page, BEZ_INJECT_AUTO,
			       BEZ_INJECT_NO_UNDO, &token);
		if (r == -EOPNOTSUPP || r == -EPERM || r == -EACCES)
			tap_skip("%s", bez_inject_why(BEZ_INJECT_AUTO));
		/* another thread has met what lay there before; or the kernel
		 * would not */
		if (!r)
			bez_inject_forget(token);
		look(&s, 0);
	}
	seq = highest();
	if (seq > atomic_load(&entered))
		atomic_store(&entered, seq);
	heap_free(s.at);
}

static uint64_t of_all(void)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < THREADS; i++)
		sum += atomic_load(&blocks[i]);
	return sum;
}

/* Each thread gets on by @n blocks. */
static void let_work(uint64_t n)
{
	uint64_t from[THREADS];
	size_t i;

	for (i = 0; i < THREADS; i++)
		from[i] = atomic_load(&blocks[i]);
	for (i = 0; i < THREADS; i++)
		while (atomic_load(&blocks[i]) < from[i] + n)
			sched_yield();
}

static void storm(void)
{
	struct heap_stats before, after;
	pthread_t thread[THREADS];
	uint64_t state = 0x9e3779b97f4a7c15u;
	unsigned long kb;
	size_t i;
	void *r;

	begin();
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, works, (void *)i), 0);
	let_work(2000);
	for (i = 0; i < LOSSES; i++) {
		lose_one(&state);
		let_work(20);
	}
	heap_stats(&before);
	kb = see_kb("VmRSS:");
	let_work(AFTER);
	heap_stats(&after);
	atomic_store(&stop, 1);
	for (i = 0; i < THREADS; i++) {
		CHECK_EQ(pthread_join(thread[i], &r), 0);
		CHECK(!r);
	}
	tap_diag("%llu blocks, %u pages lost, %u times met, %zu blocks refused",
		 (unsigned long long)of_all(), (uint32_t)entered, met,
		 after.refused);
	tap_diag("%zu KiB mapped, %zu behind; closed %zu, kept %zu",
		 before.mapped / 1024, after.mapped / 1024, after.closed / 1024,
		 after.kept / 1024);
	CHECK_EQ(bad, 0);
	CHECK_EQ(wrong, 0);
	CHECK(entered >= LOSSES / 2);
	CHECK(met > 0);
	/* small blocks of which a part is on a lost page, and what is closed */
	CHECK(after.kept <= entered * (page + 2 * 16384));
	CHECK(after.mapped <= before.mapped + (32u << 20));
	CHECK(see_kb("VmRSS:") <= kb + 32768);
	CHECK_EQ(heap_stop(), 0);
	heap_stats(&after);
	CHECK_EQ(after.mapped, 0);
	CHECK_EQ(bez_stop(), 0);
}

static const struct tap_case cases[] = {
	{ .name = "a block that waits in a cache", .run = cached },
	{ .name = "large blocks", .run = large },
	{ .name = "its end, and who comes where it was", .run = ends },
	{ .name = "threads, sizes, losses", .run = storm, .timeout_s = 120 },
};

#endif

TAP_MAIN(cases)
