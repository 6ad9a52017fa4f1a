/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "scratch.h"

#include <bezoar/bezoar.h>
#include <bezoar/inject.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../random.h"

#define PAGES		64
#define THREADS		2
#define PATIENCE_S	60	/* for a thread to come by a lost page */

/*
 * What says of each page whether it is there: even, it is; odd, somebody has
 * found it lost, and it is made anew. Another number each time, so that who has
 * added up a page meanwhile can tell.
 */
static _Atomic uint64_t version[PAGES];

static struct {
	const struct memory *memory;
	uint64_t *at;
	size_t words;			/* of a page */
	_Atomic int stop;
	_Atomic uint64_t left, told, sums, wrong;
} area;

static uint64_t *page_at(size_t page)
{
	return area.at + page * area.words;
}

/* The result, which is dear to compute in a program that is not a demo. */
static uint64_t compute(size_t page, size_t word)
{
	const struct memory *m = area.memory;

	return m->digests[(page * area.words + word) % m->file_pages] ^ page;
}

static void make(size_t page)
{
	uint64_t *at = page_at(page);
	size_t i;

	for (i = 0; i < area.words; i++)
		at[i] = compute(page, i);
}

/* 0, if each word is what it should be. */
static uint64_t add_up(size_t page)
{
	volatile const uint64_t *at = page_at(page);
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < area.words; i++)
		sum += at[i] - compute(page, i);
	return sum;
}

static void check(size_t page)
{
	const uint64_t was = atomic_load(&version[page]);

	if (was % 2)			/* done without */
		return;
	BEZ_TRY {
		uint64_t sum = add_up(page);

		if (atomic_load(&version[page]) == was) {
			area.sums++;
			area.wrong += sum != 0;
		}
	} BEZ_CATCH(lost) {
		size_t first = (size_t)((uint64_t *)lost->addr - area.at) /
			       area.words;
		uint64_t even = was;

		/* from here on everybody knows; its owner makes it anew */
		atomic_compare_exchange_strong(&version[first], &even, was + 1);
		area.left++;
	}
}

static void *work(void *arg)
{
	uint64_t random = (uintptr_t)arg;

	while (!atomic_load(&area.stop))
		check(random_below(&random, PAGES));
	return NULL;
}

static void on_lost(const struct bez_lost *lost, void *arg)
{
	(void)lost;
	(void)arg;
	area.told++;
}

static int lose(size_t page, uint32_t backend)
{
	bez_inject_t token;
	int r = bez_inject(page_at(page), area.memory->page, backend,
			   BEZ_INJECT_NO_UNDO, &token);

	if (!r)
		bez_inject_forget(token);
	return r;
}

/* Until a thread has come by. */
static int wait_until_found(size_t page)
{
	time_t end = time(NULL) + PATIENCE_S;

	while (!(atomic_load(&version[page]) % 2)) {
		if (time(NULL) > end)
			return -1;
		sched_yield();
	}
	return 0;
}

static int renew(size_t page)
{
	struct bez_lost lost;
	uint64_t at = 0;
	int named = 0, r;

	while (!bez_lost_next(&at, &lost))
		named |= lost.addr == page_at(page) &&
			 lost.width == area.memory->page;
	if (!named || !bez_lost_in(page_at(page), 1)) {
		fprintf(stderr, "demo: the inventory does not name a page of "
			"scratch\n");
		return -1;
	}
	r = bez_lost_clear(page_at(page), area.memory->page);
	if (r) {
		fprintf(stderr, "demo: bez_lost_clear: %s\n", strerror(-r));
		return -1;
	}
	make(page);
	atomic_fetch_add(&version[page], 1);
	return 0;
}

static int lose_some(uint64_t count, uint64_t seed, uint32_t backend,
		     struct scratch *s)
{
	int r;

	for (s->asked = count; s->made < count;) {
		size_t page = random_below(&seed, PAGES);

		r = lose(page, backend);
		if (r == -EBUSY)
			continue;
		if (r) {
			fprintf(stderr, "demo: cannot lose a page: %s\n",
				strerror(-r));
			return -1;
		}
		s->made++;
		if (wait_until_found(page)) {
			fprintf(stderr, "demo: for %d s no thread came by a "
				"lost page of scratch\n", PATIENCE_S);
			return -1;
		}
		if (renew(page))
			return -1;
		s->renewed++;
	}
	return 0;
}

static int protect(bez_region_t *ret_region)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	size_t len = PAGES * area.memory->page;
	int r;

	area.words = area.memory->page / sizeof(*area.at);
	area.at = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area.at == MAP_FAILED)
		return -1;
	/* a page, not a huge one, shall be lost */
	madvise(area.at, len, MADV_NOHUGEPAGE);
	policy.name = "scratch";
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.on_lost = on_lost;
	r = bez_region_add(area.at, len, &policy, ret_region);
	if (r)
		fprintf(stderr, "demo: bez_region_add(scratch): %s\n",
			strerror(-r));
	return r;
}

int scratch_run(const struct memory *m, uint64_t count, uint64_t seed,
		uint32_t backend, struct scratch *ret_scratch)
{
	struct scratch s = { .asked = count };
	pthread_t thread[THREADS];
	bez_region_t region;
	size_t i, started;
	int r;

	area.memory = m;
	if (protect(&region))
		return -1;
	for (i = 0; i < PAGES; i++)
		make(i);
	for (started = 0; started < THREADS; started++)
		if (pthread_create(&thread[started], NULL, work,
				   (void *)(uintptr_t)(started + 1)))
			break;
	r = started ? lose_some(count, seed, backend, &s) : -1;
	atomic_store(&area.stop, 1);
	for (i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	/* nobody is told of anything of it after that */
	bez_region_remove(region);
	s.left = area.left;
	s.told = area.told;
	s.sums = area.sums;
	s.wrong = area.wrong;
	*ret_scratch = s;
	return r;
}
