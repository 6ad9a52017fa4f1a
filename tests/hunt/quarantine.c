/* SPDX-License-Identifier: MIT */
/*
 * Functions that are told of what is lost, what is retiring, and what comes back:
 * each in order, once, and only of their ranges.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES	64
#define MOST	4096

/* One that is told. */
struct ear {
	struct bez_quarantined said[MOST];
	_Atomic uint32_t count;
	sem_t ring;
	bez_quarantine_t id;
	void (*then)(struct ear *ear, const struct bez_quarantined *what);
};

static unsigned char *at;
static size_t page;
static bez_region_t region;
static struct ear all, some, late;

static void hear(const struct bez_quarantined *what, void *arg)
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

static void wait_for(struct ear *ear, uint32_t n)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 20 * tap_patience();
	while (atomic_load(&ear->count) < n)
		CHECKF(!sem_timedwait(&ear->ring, &end), "told %u of %u",
		       atomic_load(&ear->count), n);
}

static int add(struct ear *ear, const struct bez_range *ranges, uint32_t count)
{
	struct bez_quarantine q = BEZ_QUARANTINE_INIT;

	q.fn = hear;
	q.arg = ear;
	q.ranges = ranges;
	q.count = count;
	return bez_quarantine_add(&q, &ear->id);
}

static void add_all(void)
{
	CHECK_EQ(add(&all, NULL, 0), 0);
}

static bez_region_t degrades(unsigned char *where, size_t pages)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(where, pages * page, &policy, &r), 0);
	return r;
}

static void begin(void)
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

static void lose(size_t i)
{
	CHECK_EQ(bez_lost_add(at + i * page, page), 0);
}

static void was(struct ear *ear, uint32_t n, uint32_t kind, size_t first,
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

#define LOST	BEZ_QUARANTINE_LOST
#define RETIRES	BEZ_QUARANTINE_RETIRING
#define BACK	BEZ_QUARANTINE_BACK

/* ------------------------------------------------------------------------ losses */

static void in_order(void)
{
	static const size_t which[] = { 9, 3, 60, 30, 4 };
	struct bez_range ranges[2];
	size_t i;

	begin();
	ranges[0] = (struct bez_range){ at + 4 * page + 7, 1 };
	ranges[1] = (struct bez_range){ at + 29 * page, 31 * page };
	add_all();
	CHECK_EQ(add(&some, ranges, 2), 0);
	ranges[0].addr = NULL;			/* it was copied */
	for (i = 0; i < 5; i++)
		lose(which[i]);
	/* and one that an access meets */
	live_poison(at + 40 * page);
	BEZ_TRY {
		live_read(at + 40 * page);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + 40 * page);
	}
	wait_for(&all, 6);
	for (i = 0; i < 5; i++) {
		was(&all, (uint32_t)i, LOST, which[i], 1);
		CHECK_EQ(all.said[i].seq, i + 1);
		CHECK_EQ(all.said[i].cause, BEZ_CAUSE_SAID);
	}
	was(&all, 5, LOST, 40, 1);
	CHECK(all.said[5].cause != BEZ_CAUSE_SAID);
	wait_for(&some, 3);
	was(&some, 0, LOST, 30, 1);
	was(&some, 1, LOST, 4, 1);
	was(&some, 2, LOST, 40, 1);

	/* who comes later is told the same */
	CHECK_EQ(add(&late, NULL, 0), 0);
	wait_for(&late, 6);
	for (i = 0; i < 6; i++)
		CHECK(!memcmp(&all.said[i], &late.said[i],
			      sizeof(all.said[i])));
	CHECK_EQ(all.count, 6);
	CHECK_EQ(some.count, 3);
}

static void comes_back(void)
{
	static unsigned char bytes[65536];

	begin();
	add_all();
	lose(1);
	lose(2);
	wait_for(&all, 2);
	CHECK_EQ(bez_lost_clear(at + page, page), 0);
	wait_for(&all, 3);
	was(&all, 2, BACK, 1, 1);
	CHECK_EQ(all.said[2].seq, 1);
	CHECK_EQ(bez_lost_fill(at + 2 * page, page, bytes), 0);
	wait_for(&all, 4);
	was(&all, 3, BACK, 2, 1);
	lose(2);
	wait_for(&all, 5);
	was(&all, 4, LOST, 2, 1);
	CHECK_EQ(all.said[4].seq, 3);

	/* with its region it goes without a word */
	CHECK_EQ(bez_region_remove(region), 0);
	at = live_pages(PAGES);
	region = degrades(at, PAGES);
	lose(5);
	wait_for(&all, 6);
	was(&all, 5, LOST, 5, 1);
	CHECK_EQ(all.count, 6);
}

static sem_t entered, may_go;

static void holds(struct ear *ear, const struct bez_quarantined *what)
{
	(void)what;
	if (atomic_load(&ear->count))
		return;
	sem_post(&entered);
	sem_wait(&may_go);
}

/* The place of a loss is another's before anybody is told that it is back. */
static void place_again(void)
{
	begin();
	sem_init(&entered, 0, 0);
	sem_init(&may_go, 0, 0);
	all.then = holds;
	lose(1);
	lose(2);
	add_all();
	sem_wait(&entered);			/* told of page 1 */
	CHECK_EQ(bez_lost_clear(at + page, 2 * page), 0);
	lose(3);
	lose(1);
	sem_post(&may_go);
	wait_for(&all, 4);
	was(&all, 0, LOST, 1, 1);
	was(&all, 1, BACK, 1, 1);
	was(&all, 2, LOST, 3, 1);
	was(&all, 3, LOST, 1, 1);
	CHECK_EQ(all.said[1].seq, 1);
	CHECK_EQ(all.said[3].seq, 4);
}

static void clears(struct ear *ear, const struct bez_quarantined *what)
{
	(void)ear;
	if (what->kind == LOST)
		CHECK_EQ(bez_lost_clear(what->addr, what->len), 0);
}

static void may_clear(void)
{
	begin();
	all.then = clears;
	add_all();
	lose(7);
	wait_for(&all, 2);
	was(&all, 0, LOST, 7, 1);
	was(&all, 1, BACK, 7, 1);
	CHECK_EQ(bez_lost_in(at, PAGES * page), 0);
}

#define THREADS	4
#define EACH	(PAGES / THREADS)
#define ROUNDS	5

static void *loses(void *arg)
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

/* Many at once: losses in their order, and each that is back was told. */
static void of_threads(void)
{
	static uint64_t told[PAGES];
	pthread_t thread[THREADS];
	uint64_t last = 0;
	size_t i, p;
	void *r;

	begin();
	add_all();
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, loses, (void *)i), 0);
	for (i = 0; i < THREADS; i++) {
		CHECK_EQ(pthread_join(thread[i], &r), 0);
		CHECK(!r);
	}
	/* one that ends it, behind all others */
	lose(0);
	for (i = 0; !i || all.said[i - 1].seq != THREADS * EACH * ROUNDS + 1;
	     i++) {
		const struct bez_quarantined *q = &all.said[i];

		wait_for(&all, (uint32_t)i + 1);
		CHECK(i < MOST);
		p = (size_t)((unsigned char *)q->addr - at) / page;
		if (q->kind == LOST) {
			CHECK(q->seq > last && !told[p]);
			last = told[p] = q->seq;
		} else {
			CHECK_EQ(q->kind, BACK);
			CHECK_EQ(q->seq, told[p]);
			told[p] = 0;
		}
	}
	tap_diag("told %zu times of %d losses", i,
		 THREADS * EACH * ROUNDS + 1);
	for (p = 1; p < PAGES; p++)
		CHECKF(!told[p], "page %zu is not back", p);
	CHECK(told[0]);
}

/* ---------------------------------------------------------------------- retiring */

static void retires(void)
{
	struct bez_range range;

	begin();
	range = (struct bez_range){ at + 10 * page, page };
	add_all();
	CHECK_EQ(add(&some, &range, 1), 0);
	CHECK_EQ(bez_quarantine_retire(at + 3 * page, 2 * page), 0);
	wait_for(&all, 1);
	was(&all, 0, RETIRES, 3, 2);
	CHECK_EQ(all.said[0].cause, BEZ_CAUSE_SAID);
	CHECK_EQ(all.said[0].seq, 0);
	CHECK_EQ(bez_quarantine_retire(at + 3 * page, 2 * page), 0);
	CHECK_EQ(bez_quarantine_retire(at + 10 * page, page), 0);
	wait_for(&some, 1);
	was(&some, 0, RETIRES, 10, 1);
	wait_for(&all, 2);
	/* who comes later is told */
	CHECK_EQ(add(&late, NULL, 0), 0);
	wait_for(&late, 2);
	/* only what lies in it as a whole */
	CHECK_EQ(bez_quarantine_back(at, 4 * page), -ENOENT);
	CHECK_EQ(bez_quarantine_back(at, 5 * page), 0);
	CHECK_EQ(bez_quarantine_back(at, 5 * page), -ENOENT);
	wait_for(&all, 3);
	was(&all, 2, BACK, 3, 2);
	wait_for(&late, 3);

	/* what is lost is not expected to be any more */
	lose(10);
	wait_for(&all, 4);
	was(&all, 3, LOST, 10, 1);
	CHECK_EQ(bez_quarantine_back(at, PAGES * page), -ENOENT);
	CHECK_EQ(bez_lost_clear(at + 10 * page, page), 0);
	wait_for(&some, 3);
	was(&some, 1, LOST, 10, 1);
	was(&some, 2, BACK, 10, 1);
	CHECK(some.said[2].seq);
	/* they were told once of each */
	lose(11);
	wait_for(&all, 6);
	was(&all, 4, BACK, 10, 1);
	was(&all, 5, LOST, 11, 1);
	CHECK_EQ(some.count, 3);
}

/* A region that is removed: what was in there is nobody's, and its place free. */
static void retires_many(void)
{
	size_t i;

	begin();
	add_all();
	for (i = 0; i < BEZ_RETIRING_MAX; i++)
		CHECK_EQ(bez_quarantine_retire(at + i, 1), 0);
	CHECK_EQ(bez_quarantine_retire(at + i, 1), -ENOSPC);
	wait_for(&all, BEZ_RETIRING_MAX);
	CHECK_EQ(bez_region_remove(region), 0);
	at = live_pages(PAGES);
	region = degrades(at, PAGES);
	/* so that it is looked at */
	lose(3);
	wait_for(&all, BEZ_RETIRING_MAX + 1);
	was(&all, BEZ_RETIRING_MAX, LOST, 3, 1);
	lose(4);
	wait_for(&all, BEZ_RETIRING_MAX + 2);
	CHECK_EQ(bez_quarantine_retire(at, page), 0);
	wait_for(&all, BEZ_RETIRING_MAX + 3);
	was(&all, BEZ_RETIRING_MAX + 2, RETIRES, 0, 1);
}

/* An early notice about a page that can be read. */
static void announced(void)
{
	begin();
	add_all();
	see_report(at + 20 * page, BUS_MCEERR_AO, 12);
	wait_for(&all, 1);
	was(&all, 0, RETIRES, 20, 1);
	CHECK_EQ(all.said[0].cause, BEZ_CAUSE_POISON_AO);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
}

/* ------------------------------------------------------------------- who is told */

static _Atomic int remover;

static void *removes(void *arg)
{
	atomic_store(&remover, gettid());
	*(int *)arg = bez_quarantine_remove(all.id);
	return arg;
}

static void waits(void)
{
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
	while (!live_sleeps(atomic_load(&remover)))
		sched_yield();
	CHECK_EQ(pthread_tryjoin_np(t, NULL), EBUSY);
	CHECK_EQ(r, 1);
	sem_post(&may_go);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_EQ(r, 0);
	CHECK_EQ(all.count, 1);			/* and not of page 2 */
	CHECK_EQ(some.count, 0);
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
	{ .name = "losses in order, of their ranges", .run = in_order },
	{ .name = "what comes back", .run = comes_back },
	{ .name = "the place of one that is back", .run = place_again },
	{ .name = "it may clear", .run = may_clear },
	{ .name = "losses of threads", .run = of_threads },
	{ .name = "what is retiring", .run = retires },
	{ .name = "many that are retiring", .run = retires_many },
	{ .name = "what is announced", .run = announced },
	{ .name = "removal waits", .run = waits },
	{ .name = "removal from inside", .run = from_inside },
	{ .name = "coming and going among losses", .run = storm },
	{ .name = "refused", .run = refused },
	{ .name = "stopped, and started again", .run = stopped },
	{ .name = "in a child", .run = forked },
};
TAP_MAIN(cases)
