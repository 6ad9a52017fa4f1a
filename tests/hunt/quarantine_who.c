/* SPDX-License-Identifier: MIT */
/*
 * Functions that are added and removed: from outside, from inside, among losses, in
 * a child, and with the library.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "live.h"
#include "quarantine_help.h"
#include "replace_see.h"

static _Atomic int remover;

static void *removes(void *arg)
{
	atomic_store(&remover, gettid());
	*(int *)arg = bez_quarantine_remove(all.id);
	return arg;
}

static void waits(void)
{
	uint32_t told;
	pthread_t t;
	int r = 1;

	begin();
	sem_init(&entered, 0, 0);
	sem_init(&may_go, 0, 0);
	all.then = holds;
	add_all();
	CHECK_EQ(add(&some, NULL, 0), 0);
	lose(1);
	lose(2);
	sem_wait(&entered);
	CHECK_EQ(pthread_create(&t, NULL, removes, &r), 0);
	/* another is removed at once meanwhile */
	CHECK_EQ(bez_quarantine_remove(some.id), 0);
	CHECK_EQ(bez_quarantine_remove(some.id), -ENOENT);
	/* who was looked at for its being new may have heard of both before */
	told = some.count;
	while (!live_sleeps(atomic_load(&remover)))
		sched_yield();
	CHECK_EQ(pthread_tryjoin_np(t, NULL), EBUSY);
	CHECK_EQ(r, 1);
	sem_post(&may_go);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_EQ(r, 0);
	CHECK_EQ(all.count, 1);			/* and not of page 2 */
	CHECK_EQ(some.count, told);
	CHECK_EQ(add(&late, NULL, 0), 0);
	wait_for(&late, 2);
	CHECK_EQ(all.count, 1);
}

static int removed;

static void removes_itself(struct ear *ear, const struct bez_quarantined *what)
{
	(void)what;
	removed = bez_quarantine_remove(ear->id);
	CHECK_EQ(bez_quarantine_remove(ear->id), -ENOENT);
	CHECK_EQ(bez_stop(), -EDEADLK);
}

static void from_inside(void)
{
	size_t i;

	begin();
	all.then = removes_itself;
	removed = 1;
	add_all();
	lose(1);
	lose(2);
	wait_for(&all, 1);
	/* its place is free again: all of them are, as soon as it is out */
	for (i = 0; i < 3; i++) {
		CHECK_EQ(add(&late, NULL, 0), 0);
		wait_for(&late, 2 * (uint32_t)(i + 1));
	}
	CHECK_EQ(removed, 0);
	CHECK_EQ(all.count, 1);
	for (; i < BEZ_QUARANTINES_MAX; i++)
		CHECK_EQ(add(&some, NULL, 0), 0);
	CHECK_EQ(add(&some, NULL, 0), -ENOSPC);
}

static _Atomic int second = 1;
static _Atomic uint32_t told_then;	/* when that came back */

static void removes_itself_late(struct ear *ear,
				const struct bez_quarantined *what)
{
	(void)what;
	CHECK_EQ(bez_quarantine_remove(ear->id), 0);
	sem_post(&entered);
	sem_wait(&may_go);
}

static void *removes_too(void *arg)
{
	int r;

	atomic_store(&remover, gettid());
	r = bez_quarantine_remove(all.id);
	atomic_store(&told_then, atomic_load(&all.count));
	atomic_store(&second, r);
	return arg;
}

/* It is gone, but not out: what it uses may be freed by who has waited, only. */
static void twice_at_once(void)
{
	pthread_t t;

	begin();
	sem_init(&entered, 0, 0);
	sem_init(&may_go, 0, 0);
	all.then = removes_itself_late;
	add_all();
	lose(1);
	sem_wait(&entered);
	CHECK_EQ(pthread_create(&t, NULL, removes_too, NULL), 0);
	while (!live_sleeps(atomic_load(&remover))) {
		CHECK_EQ(atomic_load(&second), 1);
		sched_yield();
	}
	CHECK_EQ(pthread_tryjoin_np(t, NULL), EBUSY);
	sem_post(&may_go);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_EQ(second, -ENOENT);
	CHECK_EQ(told_then, 1);
	/* its place is another's */
	CHECK_EQ(add(&late, NULL, 0), 0);
	wait_for(&late, 1);
}

static _Atomic int stop;

static void *comes_and_goes(void *arg)
{
	static struct ear ears[THREADS];
	struct ear *ear = &ears[(size_t)arg];

	bez_thread_attach();
	sem_init(&ear->ring, 0, 0);
	while (!atomic_load(&stop)) {
		atomic_store(&ear->count, 0);
		if (add(ear, NULL, 0) || bez_quarantine_remove(ear->id))
			return ear;
	}
	return NULL;
}

static void storm(void)
{
	pthread_t thread[2 * THREADS];
	size_t i;
	void *r;

	begin();
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, comes_and_goes,
					(void *)i), 0);
	for (; i < 2 * THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, loses,
					(void *)(i - THREADS)), 0);
	for (i = 2 * THREADS; i--;) {
		if (i == THREADS - 1)
			atomic_store(&stop, 1);
		CHECK_EQ(pthread_join(thread[i], &r), 0);
		CHECK(!r);
	}
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

static int inside = 1;

static int adds_inside(void *dst, size_t n, uint64_t offset, void *arg)
{
	(void)arg;
	(void)offset;
	inside = add(&some, NULL, 0);
	CHECK_EQ(bez_quarantine_retire(dst, n), -EDEADLK);
	live_fill(dst, n, 0);
	return 0;
}

static void refused(void)
{
	struct bez_source from = bez_source_callback(adds_inside, NULL);
	struct bez_range bad = { &bad, 0 };
	struct bez_quarantine q = BEZ_QUARANTINE_INIT;
	unsigned char *other;

	CHECK_EQ(add(&all, NULL, 0), -ESRCH);
	CHECK_EQ(bez_quarantine_retire(&q, 1), -ESRCH);
	begin();
	CHECK_EQ(bez_quarantine_add(NULL, &all.id), -EINVAL);
	CHECK_EQ(bez_quarantine_add(&q, &all.id), -EINVAL);
	CHECK_EQ(add(&all, &bad, 1), -EINVAL);
	CHECK_EQ(add(&all, NULL, 1), -EINVAL);
	bad.len = SIZE_MAX;
	CHECK_EQ(add(&all, &bad, 1), -EINVAL);
	q.fn = hear;
	q.size = 2;
	CHECK_EQ(bez_quarantine_add(&q, &all.id), -EINVAL);
	CHECK_EQ(bez_quarantine_remove(1), -ENOENT);
	CHECK_EQ(bez_quarantine_retire(&q, 0), -EINVAL);
	CHECK_EQ(bez_quarantine_back(&q, SIZE_MAX), -EINVAL);
	other = live_pages(1);
	live_region(other, page, &from, "inside");
	live_poison(other);
	CHECK_EQ(live_read(other), live_byte(0, 0));
	CHECK_EQ(inside, -EDEADLK);
}

/* What was registered is forgotten with the library. */
static void stopped(void)
{
	begin();
	add_all();
	CHECK_EQ(bez_quarantine_retire(at, page), 0);
	wait_for(&all, 1);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
	see_start(BEZ_START_NO_WORKER);
	CHECK_EQ(add(&some, NULL, 0), -EINVAL);
	CHECK_EQ(bez_stop(), 0);
	see_start(0);
	region = degrades(at, PAGES);
	CHECK_EQ(bez_quarantine_remove(all.id), -ENOENT);
	CHECK_EQ(add(&some, NULL, 0), 0);
	lose(1);
	wait_for(&some, 1);
	was(&some, 0, LOST, 1, 1);
	CHECK_EQ(all.count, 1);
}

static void in_child(void)
{
	CHECK_EQ(bez_thread_attach(), 0);
	lose(9);
	wait_for(&all, 3);
	was(&all, 2, LOST, 9, 1);
	CHECK_EQ(bez_lost_clear(at + 3 * page, page), 0);
	wait_for(&all, 4);
	was(&all, 3, BACK, 3, 1);
	CHECK_EQ(bez_quarantine_remove(all.id), 0);
}

/* A child has what its parent had registered and was told. */
static void forked(void)
{
	begin();
	add_all();
	lose(3);
	lose(4);
	wait_for(&all, 2);
	live_in_child(in_child);
	lose(5);
	wait_for(&all, 3);
	was(&all, 2, LOST, 5, 1);
}

static const struct tap_case cases[] = {
	{ .name = "removal waits", .run = waits },
	{ .name = "removal from inside", .run = from_inside },
	{ .name = "the same, and by another meanwhile", .run = twice_at_once },
	{ .name = "coming and going among losses", .run = storm },
	{ .name = "refused", .run = refused },
	{ .name = "stopped, and started again", .run = stopped },
	{ .name = "in a child", .run = forked },
};
TAP_MAIN(cases)
