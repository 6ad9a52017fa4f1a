/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "workers.h"

#include <bezoar/bezoar.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "index.h"
#include "../random.h"

#define BATCH	16	/* operations of a kind, then the other kind */

struct worker {
	/* written by the thread, read by workers_so_far(); a line of its own,
	 * so that counting is no traffic between processors */
	_Alignas(64) _Atomic uint64_t operations;
	_Atomic uint64_t wrong_bytes;
	_Atomic uint64_t wrong_answers;
	_Atomic uint64_t unreadable;
	pthread_t thread;
	const struct memory *memory;
	size_t at;		/* the next page to check */
	uint64_t random;
	int attach;
};

static struct worker workers[WORKERS];
static atomic_int stop;

static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(to, atomic_load_explicit(to,
			      memory_order_relaxed) + n, memory_order_relaxed);
}

/*
 * How many bytes of a page whose digest is wrong. If that cannot be told, for
 * it is right by now or the file is not what it was, then all of them.
 */
static uint64_t count_wrong(const struct memory *m, size_t page)
{
	unsigned char *truth = malloc(m->page);
	uint64_t wrong = 0;
	size_t i;

	if (truth && !memory_truth(m, page, truth))
		for (i = 0; i < m->page; i++)
			wrong += truth[i] != memory_page(m, page)[i];
	free(truth);
	return wrong ? wrong : m->page;
}

static uint64_t check(const struct memory *m, size_t page)
{
	if (m->lost[page])
		return 0;
	return bez_digest(memory_page(m, page), m->page) == m->digests[page] ?
	       0 : count_wrong(m, page);
}

/* Where does the content of this block stand first? There, or earlier. */
static int is_wrong_answer(const struct memory *m, size_t block)
{
	size_t found;

	if (m->lost[block * INDEX_BLOCK / m->page])
		return 0;
	return index_find(m, index_block(m, block), &found) || found > block;
}

static void batch(struct worker *w)
{
	const struct memory *m = w->memory;
	int i;

	for (i = 0; i < BATCH; i++) {
		size_t page = w->at;

		/* before: it may not come back from this one */
		w->at = w->at + 1 == m->pages ? 0 : w->at + 1;
		add(&w->wrong_bytes, check(m, page));
	}
	for (i = 0; i < BATCH; i++) {
		size_t block = random_below(&w->random, index_blocks(m));

		add(&w->wrong_answers, is_wrong_answer(m, block));
	}
	add(&w->operations, 2 * BATCH);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	sigjmp_buf next;

	if (w->attach)
		bez_thread_attach();
	escape = &next;
	if (sigsetjmp(next, 1))
		add(&w->unreadable, 1);
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		batch(w);
	return NULL;
}

int workers_start(const struct memory *m, uint64_t seed, int attach)
{
	int i, r;

	atomic_store(&stop, 0);
	for (i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		memset(w, 0, sizeof(*w));
		w->memory = m;
		w->at = m->pages / WORKERS * (size_t)i;
		w->random = random_next(&seed);
		w->attach = attach;
		r = pthread_create(&w->thread, NULL, work, w);
		if (r) {
			fprintf(stderr, "demo: pthread_create: %s\n",
				strerror(r));
			return -1;
		}
	}
	return 0;
}

struct work workers_so_far(void)
{
	struct work sum = { 0 };
	int i;

	for (i = 0; i < WORKERS; i++) {
		sum.operations += workers[i].operations;
		sum.wrong_bytes += workers[i].wrong_bytes;
		sum.wrong_answers += workers[i].wrong_answers;
		sum.unreadable += workers[i].unreadable;
	}
	return sum;
}

struct work workers_stop(void)
{
	int i;

	atomic_store(&stop, 1);
	for (i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	return workers_so_far();
}

static void look(const struct memory *m, size_t page, struct work *sum)
{
	sigjmp_buf here, *outer = escape;

	escape = &here;
	if (!sigsetjmp(here, 1))
		sum->wrong_bytes += check(m, page);
	else
		sum->unreadable++;
	escape = outer;
	sum->operations++;
}

struct work workers_sweep(const struct memory *m)
{
	struct work sum = { 0 };
	size_t page;

	for (page = 0; page < m->pages; page++)
		look(m, page, &sum);
	return sum;
}
