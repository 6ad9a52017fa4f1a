/* SPDX-License-Identifier: MIT */
/* What was lost of the guest's memory, and what the guest has said of it. */
#ifndef TINYVM_LEDGER_H
#define TINYVM_LEDGER_H

#include <bezoar/vmm.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define KINDS	(BEZ_VM_ERROR_CORRECTED + 1)

struct ledger {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct entry *entries;	/* of each frame, see ledger_of() */
	const struct memory *memory;
	uint64_t lost;
	uint64_t told;			/* of these, by any kind of error */
	uint64_t told_kind[KINDS];	/* how often in all */
	uint64_t told_good;		/* of pages that are not lost */
	uint64_t out;
	uint64_t out_untold;		/* taken out of use, and nobody had said so */
	uint64_t used_again;		/* in use after that */
	uint64_t stray;			/* frames that there are not */
	uint64_t ready;			/* CPUs */
	uint64_t halted;
	int failed;			/* a CPU has ended badly */
	struct timespec deadline;	/* CLOCK_MONOTONIC */
};

int ledger_start(struct ledger *l, const struct memory *m, uint64_t seconds);

/* 0: it is lost now, 1: it was already, 2: it is out of use. */
int ledger_lose(struct ledger *l, uint64_t frame);
/* It could not be lost. */
void ledger_keep(struct ledger *l, uint64_t frame);
/* May be corrected: is it good? */
int ledger_good(struct ledger *l, uint64_t frame);

void ledger_told(struct ledger *l, uint32_t kind, uint64_t frame);
void ledger_out(struct ledger *l, uint64_t frame);
/* It is in use, and was out of it before. */
void ledger_used_again(struct ledger *l);
void ledger_ready(struct ledger *l);
void ledger_halted(struct ledger *l, int failed);

/* Wait until at most @waiting lost pages are not told yet. -1: a CPU has failed, or
 * there is no more time. */
int ledger_wait(struct ledger *l, uint64_t waiting);
int ledger_wait_ready(struct ledger *l, uint64_t cpus);
/* 1: all have, 0: not within @seconds. */
int ledger_wait_halted(struct ledger *l, uint64_t cpus, uint64_t seconds);

int ledger_is_lost(const struct ledger *l, uint64_t frame);

#endif
