/* SPDX-License-Identifier: MIT */
/* Functions that are told, and memory of which parts are lost for them. */
#ifndef BEZOAR_TESTS_QUARANTINE_HELP_H
#define BEZOAR_TESTS_QUARANTINE_HELP_H

#include <bezoar/bezoar.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>

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

extern unsigned char *at;		/* PAGES pages, in the region */
extern size_t page;
extern bez_region_t region;
extern struct ear all, some, late;

void begin(void);
bez_region_t degrades(unsigned char *where, size_t pages);
void lose(size_t i);

/* bez_quarantine_add(); add_all() that of all memory, for @all. */
int add(struct ear *ear, const struct bez_range *ranges, uint32_t count);
void add_all(void);
void hear(const struct bez_quarantined *what, void *arg);

/* Until it was told so often; and what the n-th was, in pages. */
void wait_for(struct ear *ear, uint32_t n);
void was(struct ear *ear, uint32_t n, uint32_t kind, size_t first,
	 size_t pages);

/* Is told of one, says so, and stays there. */
extern sem_t entered, may_go;
void holds(struct ear *ear, const struct bez_quarantined *what);

/* A thread: number @arg of THREADS loses and clears its part, ROUNDS times. */
#define THREADS	4
#define EACH	(PAGES / THREADS)
#define ROUNDS	5
void *loses(void *arg);

#define LOST	BEZ_QUARANTINE_LOST
#define RETIRES	BEZ_QUARANTINE_RETIRING
#define BACK	BEZ_QUARANTINE_BACK

#endif
