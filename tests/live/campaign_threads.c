/* SPDX-License-Identifier: MIT */
/*
 * The threads of a case: they wait for work, do it as nearly at once as can be,
 * and are all done before anybody compares a byte.
 */
#define _GNU_SOURCE
#include "campaign.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"

#define SPINS 20000u

struct camp_pool {
	struct camp *m;
	uint32_t threads;
	pthread_t id[CAMP_THREADS];
	pthread_barrier_t begin, end;
	camp_work work;			/* NULL: end. Before begin, by main */
	void *arg;
	uint32_t only;			/* this thread; threads: all */
	_Atomic uint32_t next;		/* number of the next to start */
	_Atomic uint32_t ready;		/* at the line */
};

/* They were woken one after the other: wait a little for the last. */
static void line_up(struct camp_pool *p)
{
	uint32_t i;

	atomic_fetch_add(&p->ready, 1);
	for (i = 0; i < SPINS && atomic_load(&p->ready) < p->threads; i++)
		if (i % 1000 == 999)
			sched_yield();
}

static void *thread(void *arg)
{
	struct camp_pool *p = arg;
	uint32_t self = atomic_fetch_add(&p->next, 1);

	CHECK_EQ(bez_thread_attach(), 0);
	for (;;) {
		pthread_barrier_wait(&p->begin);
		if (!p->work)
			return NULL;
		if (p->only == p->threads)
			line_up(p);
		if (p->only == p->threads || p->only == self)
			p->work(p->m, self, p->arg);
		pthread_barrier_wait(&p->end);
	}
}

static void order(struct camp_pool *p, camp_work work, void *arg, uint32_t only)
{
	p->work = work;
	p->arg = arg;
	p->only = only;
	atomic_store(&p->ready, 0);
	pthread_barrier_wait(&p->begin);
	if (work)
		pthread_barrier_wait(&p->end);
}

struct camp_pool *camp_pool_new(struct camp *m, uint32_t threads)
{
	struct camp_pool *p = calloc(1, sizeof(*p));
	pthread_attr_t attr;
	uint32_t i;

	CHECK(p);
	CHECK_EQ(pthread_attr_init(&attr), 0);
	if (m->above)
		CHECK_EQ(pthread_attr_setstack(&attr, m->at, m->len + m->above),
			 0);
	p->m = m;
	p->threads = threads;
	CHECK_EQ(pthread_barrier_init(&p->begin, NULL, threads + 1), 0);
	CHECK_EQ(pthread_barrier_init(&p->end, NULL, threads + 1), 0);
	for (i = 0; i < threads; i++)
		CHECK_EQ(pthread_create(&p->id[i], &attr, thread, p), 0);
	pthread_attr_destroy(&attr);
	return p;
}

void camp_pool_end(struct camp_pool *p)
{
	uint32_t i;

	order(p, NULL, NULL, 0);
	for (i = 0; i < p->threads; i++)
		CHECK_EQ(pthread_join(p->id[i], NULL), 0);
	pthread_barrier_destroy(&p->begin);
	pthread_barrier_destroy(&p->end);
	free(p);
}

void camp_all(struct camp *m, camp_work work, void *arg)
{
	order(m->pool, work, arg, m->pool->threads);
}

void camp_one(struct camp *m, uint32_t which, camp_work work, void *arg)
{
	order(m->pool, work, arg, which % m->pool->threads);
}

uint32_t camp_threads(const struct camp *m)
{
	return m->pool->threads;
}
