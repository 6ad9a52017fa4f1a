/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "memory.h"

struct entry {
	uint8_t lost, told, out;
};

int ledger_start(struct ledger *l, const struct memory *m, uint64_t seconds)
{
	pthread_condattr_t attr;

	l->memory = m;
	l->entries = calloc(m->frames, sizeof(*l->entries));
	if (!l->entries) {
		fputs("tinyvm: no memory\n", stderr);
		return -1;
	}
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	clock_gettime(CLOCK_MONOTONIC, &l->deadline);
	l->deadline.tv_sec += (time_t)seconds;
	return 0;
}

/* NULL: there is no such frame. */
static struct entry *entry_of(const struct ledger *l, uint64_t frame)
{
	int64_t index = memory_index(l->memory, frame);

	return index < 0 ? NULL : &l->entries[index];
}

int ledger_lose(struct ledger *l, uint64_t frame)
{
	struct entry *e = entry_of(l, frame);
	int r = 1;

	pthread_mutex_lock(&l->lock);
	if (!e) {
		l->stray++;
	} else if (e->out) {
		r = 2;
	} else if (!e->lost) {
		e->lost = 1;
		l->lost++;
		r = 0;
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

void ledger_keep(struct ledger *l, uint64_t frame)
{
	pthread_mutex_lock(&l->lock);
	entry_of(l, frame)->lost = 0;
	l->lost--;
	pthread_mutex_unlock(&l->lock);
}

int ledger_good(struct ledger *l, uint64_t frame)
{
	struct entry *e = entry_of(l, frame);
	int r;

	pthread_mutex_lock(&l->lock);
	r = e && !e->lost;
	pthread_mutex_unlock(&l->lock);
	return r;
}

void ledger_told(struct ledger *l, uint32_t kind, uint64_t frame)
{
	struct entry *e = entry_of(l, frame);

	pthread_mutex_lock(&l->lock);
	l->told_kind[kind]++;
	if (!e) {
		l->stray++;
	} else if (kind == BEZ_VM_ERROR_CORRECTED) {
		/* of a page that was good then, and may be lost now */
	} else if (!e->lost) {
		l->told_good++;
	} else if (!e->told) {
		e->told = 1;
		l->told++;
	}
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

void ledger_out(struct ledger *l, uint64_t frame)
{
	struct entry *e = entry_of(l, frame);

	pthread_mutex_lock(&l->lock);
	l->out++;
	if (!e)
		l->stray++;
	else if (!e->told)
		l->out_untold++;
	if (e)
		e->out = 1;
	pthread_mutex_unlock(&l->lock);
}

void ledger_used_again(struct ledger *l)
{
	pthread_mutex_lock(&l->lock);
	l->used_again++;
	pthread_mutex_unlock(&l->lock);
}

void ledger_ready(struct ledger *l)
{
	pthread_mutex_lock(&l->lock);
	l->ready++;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

void ledger_halted(struct ledger *l, int failed)
{
	pthread_mutex_lock(&l->lock);
	l->halted++;
	l->failed |= failed;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

int ledger_wait(struct ledger *l, uint64_t waiting)
{
	int r = 0;

	pthread_mutex_lock(&l->lock);
	while (!l->failed && !r && l->lost - l->told > waiting)
		r = pthread_cond_timedwait(&l->changed, &l->lock, &l->deadline);
	r = l->failed || r ? -1 : 0;
	pthread_mutex_unlock(&l->lock);
	return r;
}

int ledger_wait_ready(struct ledger *l, uint64_t cpus)
{
	int r = 0;

	pthread_mutex_lock(&l->lock);
	while (!l->failed && !r && l->ready < cpus)
		r = pthread_cond_timedwait(&l->changed, &l->lock, &l->deadline);
	r = l->failed || r ? -1 : 0;
	pthread_mutex_unlock(&l->lock);
	return r;
}

int ledger_wait_halted(struct ledger *l, uint64_t cpus, uint64_t seconds)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)seconds;
	pthread_mutex_lock(&l->lock);
	while (!r && l->halted < cpus)
		r = pthread_cond_timedwait(&l->changed, &l->lock, &until);
	r = l->halted >= cpus;
	pthread_mutex_unlock(&l->lock);
	return r;
}

int ledger_is_lost(const struct ledger *l, uint64_t frame)
{
	struct entry *e = entry_of(l, frame);

	return e && e->lost;
}
