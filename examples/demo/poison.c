/* SPDX-License-Identifier: MIT */
#include "poison.h"

#include <bezoar/inject.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../random.h"

/* Each makes an event of its own and perhaps one for every other thread that
 * came upon the page meanwhile: they must fit into what bezoar keeps. */
#define MAX_OUT	64

int poison_plan(struct poison *p, const struct memory *m, uint64_t count,
		uint64_t seed, uint32_t backend)
{
	uint64_t i;

	memset(p, 0, sizeof(*p));
	p->memory = m;
	p->backend = backend;
	p->count = count;
	p->plan = calloc(count, sizeof(*p->plan));
	p->took_ns = calloc(count, sizeof(*p->took_ns));
	p->state = calloc(m->pages, 1);
	if (!p->plan || !p->took_ns || !p->state) {
		fputs("demo: no memory for the plan: try a smaller --poison\n",
		      stderr);
		return -1;
	}
	for (i = 0; i < count; i++)
		p->plan[i] = random_below(&seed, m->pages);
	return 0;
}

int poison_print(const struct poison *p)
{
	const struct memory *m = p->memory;
	uint64_t i;

	for (i = 0; i < p->count; i++) {
		size_t page = p->plan[i];
		const struct file *f = page < m->file_pages ?
				       memory_file(m, page) : NULL;

		printf("%s\t%zu\n", f ? f->path : "index",
		       page - (f ? f->first : m->file_pages));
	}
	return fflush(stdout) ? 2 : 0;
}

/* No copy is kept by who injects: what comes back comes from the source. */
static int lose(const struct memory *m, size_t page, uint32_t backend,
		uint32_t *ret_backend)
{
	struct bez_inject_info info = { .size = sizeof(info) };
	bez_inject_t token;
	int r;

	r = bez_inject(memory_page(m, page), m->page, backend,
		       BEZ_INJECT_NO_UNDO, &token);
	if (r)
		return r;
	r = bez_inject_state(token, &info);
	bez_inject_forget(token);
	*ret_backend = info.backend;
	return r;
}

int poison_next(struct poison *p)
{
	size_t page = p->plan[p->made];
	int r;

	if (p->state[page] == POISON_REFUSED) {
		p->passed_over++;
		p->made++;
		return 0;
	}
	if (p->out == MAX_OUT || p->state[page] == POISON_OUT)
		return 1;
	/* before, for a thread may be quicker than we are */
	p->state[page] = POISON_OUT;
	p->out++;
	r = lose(p->memory, page, p->backend, &p->backend);
	if (!r) {
		p->made++;
		return 0;
	}
	p->state[page] = POISON_GOOD;
	p->out--;
	if (r == -EBUSY)		/* it says: not now */
		return 1;
	fprintf(stderr, "demo: cannot lose a page by %s: %s\n",
		bez_inject_backend_name(p->backend), strerror(-r));
	return -1;
}

int poison_in_child(const struct poison *p)
{
	volatile unsigned char *at = memory_page(p->memory, p->plan[0]);
	uint32_t used;

	/* written, so that it is not the parent's page that is lost as well */
	*at = *at;
	return lose(p->memory, p->plan[0], p->backend, &used);
}

/* 1: a page of the plan is not out any more. */
static int settle(struct poison *p, const struct bez_event *e,
		  enum poison_state state)
{
	const struct memory *m = p->memory;
	size_t page = (e->addr - (uintptr_t)m->base) / m->page;

	if (e->addr < (uintptr_t)m->base || page >= m->pages ||
	    p->state[page] != POISON_OUT)
		return 0;
	p->state[page] = (unsigned char)state;
	p->out--;
	return 1;
}

/* The next thread that touches it is refused as well: it counts once. */
static void refused(struct poison *p, const struct bez_event *e)
{
	if (!settle(p, e, POISON_REFUSED))
		return;
	p->refused++;
	if (e->why < POISON_OUTCOMES)
		p->refused_why[e->why]++;
}

static void replaced(struct poison *p, const struct bez_event *e)
{
	if (!settle(p, e, POISON_GOOD)) {
		p->not_ours++;
		return;
	}
	p->from_file += e->source == BEZ_SOURCE_FILE;
	p->from_mirror += e->source == BEZ_SOURCE_MIRROR;
	if (e->cause == BEZ_CAUSE_POISON_AO)
		p->early++;
	else
		p->took_ns[p->taken++] = e->took_ns;
}

void poison_collect(struct poison *p)
{
	struct bez_event events[64];
	int got, i;

	do {
		got = bez_events(&p->seq, events, 64);
		for (i = 0; i < got; i++) {
			const struct bez_event *e = &events[i];

			if (e->outcome < POISON_OUTCOMES)
				p->outcomes[e->outcome]++;
			if (e->outcome == BEZ_OUTCOME_REPLACED)
				replaced(p, e);
			else if (e->outcome == BEZ_OUTCOME_DEFAULT)
				refused(p, e);
		}
	} while (got == 64);
	/* numbers are given out one by one: what was not read was missed */
	p->missed = p->seq;
	for (i = 0; i < POISON_OUTCOMES; i++)
		p->missed -= p->outcomes[i];
}

uint64_t poison_settled(const struct poison *p)
{
	return p->taken + p->early + p->refused + p->passed_over;
}

uint64_t poison_unsaved(const struct poison *p)
{
	uint64_t sum = 0;
	int i;

	/* the kinds are by range, see bezoar.h; what is below goes on */
	for (i = BEZ_OUTCOME_REFUSED_KIND; i < POISON_OUTCOMES; i++)
		sum += p->outcomes[i];
	return sum;
}
