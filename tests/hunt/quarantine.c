/* SPDX-License-Identifier: MIT */
/*
 * Functions that are told of what is lost, what is retiring, and what comes back:
 * each in order, once, and only of their ranges.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "live.h"
#include "quarantine_help.h"
#include "replace_see.h"

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

/* The place of a loss is another's before anybody is told that it is back. */
static void place_again(void)
{
	struct bez_range range;

	begin();
	range = (struct bez_range){ at + page, page };
	sem_init(&entered, 0, 0);
	sem_init(&may_go, 0, 0);
	all.then = holds;
	lose(1);
	lose(2);
	CHECK_EQ(add(&some, &range, 1), 0);
	wait_for(&some, 1);
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
	/* nothing that it wants came to the place of what it was told of */
	wait_for(&some, 3);
	was(&some, 0, LOST, 1, 1);
	was(&some, 1, BACK, 1, 1);
	was(&some, 2, LOST, 1, 1);
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

static void loses_again(struct ear *ear, const struct bez_quarantined *what)
{
	(void)ear;
	if (what->kind != BACK || what->addr != at + 7 * page)
		return;
	CHECK_EQ(bez_lost_clear(at + 5 * page, page), 0);
	lose(5);
}

/* It is lost once more while others are told of, and lies elsewhere in the inventory:
 * that it was back comes before that. */
static void again_elsewhere(void)
{
	begin();
	all.then = loses_again;
	lose(1);
	lose(5);
	lose(7);
	add_all();
	wait_for(&all, 3);
	CHECK_EQ(bez_lost_clear(at + page, page), 0);
	wait_for(&all, 4);
	was(&all, 3, BACK, 1, 1);
	CHECK_EQ(bez_lost_clear(at + 7 * page, page), 0);
	wait_for(&all, 7);
	was(&all, 4, BACK, 7, 1);
	was(&all, 5, BACK, 5, 1);
	was(&all, 6, LOST, 5, 1);
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
	wait_for(&some, 2);
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

static const struct tap_case cases[] = {
	{ .name = "losses in order, of their ranges", .run = in_order },
	{ .name = "what comes back", .run = comes_back },
	{ .name = "the place of one that is back", .run = place_again },
	{ .name = "it may clear", .run = may_clear },
	{ .name = "lost again, elsewhere", .run = again_elsewhere },
	{ .name = "losses of threads", .run = of_threads },
	{ .name = "what is retiring", .run = retires },
	{ .name = "many that are retiring", .run = retires_many },
	{ .name = "what is announced", .run = announced },
};
TAP_MAIN(cases)
