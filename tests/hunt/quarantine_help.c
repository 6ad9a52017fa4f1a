/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "quarantine_help.h"

#include <time.h>

#include "live.h"
#include "replace_see.h"

unsigned char *at;
size_t page;
bez_region_t region;
struct ear all, some, late;

void hear(const struct bez_quarantined *what, void *arg)
{
	struct ear *ear = arg;
	uint32_t n = atomic_load(&ear->count);

	if (n < MOST)
		ear->said[n] = *what;
	if (ear->then)
		ear->then(ear, what);
	atomic_store(&ear->count, n + 1);
	sem_post(&ear->ring);
}

void wait_for(struct ear *ear, uint32_t n)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 20 * tap_patience();
	while (atomic_load(&ear->count) < n)
		CHECKF(!sem_timedwait(&ear->ring, &end), "told %u of %u",
		       atomic_load(&ear->count), n);
}

int add(struct ear *ear, const struct bez_range *ranges, uint32_t count)
{
	struct bez_quarantine q = BEZ_QUARANTINE_INIT;

	q.fn = hear;
	q.arg = ear;
	q.ranges = ranges;
	q.count = count;
	return bez_quarantine_add(&q, &ear->id);
}

void add_all(void)
{
	CHECK_EQ(add(&all, NULL, 0), 0);
}

bez_region_t degrades(unsigned char *where, size_t pages)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(where, pages * page, &policy, &r), 0);
	return r;
}

void begin(void)
{
	page = live_page();
	at = live_pages(PAGES);
	sem_init(&all.ring, 0, 0);
	sem_init(&some.ring, 0, 0);
	sem_init(&late.ring, 0, 0);
	see_install();
	see_start(0);
	region = degrades(at, PAGES);
}

void lose(size_t i)
{
	CHECK_EQ(bez_lost_add(at + i * page, page), 0);
}

void was(struct ear *ear, uint32_t n, uint32_t kind, size_t first,
		size_t pages)
{
	const struct bez_quarantined *q = &ear->said[n];

	CHECKF(n < atomic_load(&ear->count) && q->kind == kind &&
	       q->addr == at + first * page && q->len == pages * page,
	       "%u of %u: kind %u, page %td, %zu bytes", n,
	       atomic_load(&ear->count), q->kind,
	       ((unsigned char *)q->addr - at) / (ptrdiff_t)page, q->len);
	CHECK(q->region == region);
}

sem_t entered, may_go;

void holds(struct ear *ear, const struct bez_quarantined *what)
{
	(void)what;
	if (atomic_load(&ear->count))
		return;
	sem_post(&entered);
	sem_wait(&may_go);
}

void *loses(void *arg)
{
	size_t first = (size_t)arg * EACH, i, round;

	bez_thread_attach();
	for (round = 0; round < ROUNDS; round++) {
		for (i = first; i < first + EACH; i++)
			if (bez_lost_add(at + i * page, page))
				return arg;
		if (bez_lost_clear(at + first * page, EACH * page))
			return arg;
	}
	return NULL;
}
