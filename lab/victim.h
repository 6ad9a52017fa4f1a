/* SPDX-License-Identifier: MIT */
/*
 * A thread that touches a byte again and again, on a processor of its own, so
 * that a machine check can meet it there.
 */
#ifndef BEZOAR_LAB_VICTIM_H
#define BEZOAR_LAB_VICTIM_H

#include "mce.h"

#include <pthread.h>

enum { HERE = 0, THERE = 1 };	/* processors: who asks, and whom it meets */

enum touch { TOUCH_LOAD, TOUCH_STORE, TOUCH_RUN };

struct victim {
	unsigned char *at;	/* TOUCH_RUN: what victim_code() made */
	enum touch touch;
	unsigned char value;	/* to store; or what was loaded last */
	int (*begin)(void);	/* called in the thread first, if not NULL */

	pthread_t thread;
	atomic_int stop;
	int left;		/* -1: SIGBUS came, and take_sigbus() left it */
};

/* A page of code, for TOUCH_RUN: what is touched is the instruction. */
unsigned char *victim_code(void);

void victim_starts(struct victim *v);
/* Raise it while the victim is in its loop, about @phys. */
void victim_meets(struct victim *v, enum lab_mce_kind kind, uint64_t phys);
void victim_ends(struct victim *v);

/* All three, about what it touches. */
void victim_struck(struct victim *v, enum lab_mce_kind kind);

#endif
