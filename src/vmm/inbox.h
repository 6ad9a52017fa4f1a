/* SPDX-License-Identifier: MIT */
/*
 * Errors on their way to a vCPU: put in by anybody, also in a signal handler, taken
 * out by its own thread. A ring in which each cell says whose turn it is (Vyukov's
 * bounded queue); nobody waits for anybody.
 */
#ifndef BEZOAR_VMM_INBOX_H
#define BEZOAR_VMM_INBOX_H

#include <stdatomic.h>
#include <stdint.h>

#define BZV_INBOX	128		/* a power of two */

struct bzv_item {
	uint64_t time_ns;		/* CLOCK_MONOTONIC */
	uint64_t hva;			/* what was touched; 0: see gpa */
	uint64_t gpa;			/* of a report; or where KVM says that hva is,
					 * 0: it has not said */
	uint64_t width;			/* of the extent; 0: a page */
	uint8_t error;			/* enum bez_vm_error */
	uint8_t restart;		/* RIPV: it may run again */
	uint8_t at_ip;			/* EIPV: the instruction is that one */
	uint8_t fetch;			/* it was to be executed */
	uint8_t by_signal;		/* that told of it; maybe a fetch */
	uint8_t told;			/* that it is held */
	int32_t undone;			/* 0, or -errno: the instruction could
					 * not be undone */
};

struct bzv_cell {
	/* its number in line: may be filled; that + 1: is full, and so on. Who
	 * fills it, then who empties it */
	_Atomic uint64_t turn;
	struct bzv_item item;		/* the same */
};

struct bzv_inbox {
	_Atomic uint64_t in;		/* who fills */
	_Atomic uint64_t out;		/* the vCPU's thread */
	struct bzv_cell cell[BZV_INBOX];
};

void bzv_inbox_init(struct bzv_inbox *inbox);
/* -ENOSPC. Handler-safe. */
int bzv_inbox_put(struct bzv_inbox *inbox, const struct bzv_item *item);
/* -EAGAIN: nothing is there. */
int bzv_inbox_take(struct bzv_inbox *inbox, struct bzv_item *ret_item);
/* Is nothing there? */
int bzv_inbox_empty(struct bzv_inbox *inbox);

#endif
