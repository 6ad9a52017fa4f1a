/* SPDX-License-Identifier: MIT */
/*
 * The faulting thread's half of the hand-off to the worker.
 *
 *	walker				worker
 *	IDLE -> POSTED, bell++		POSTED -> RUNNING, takes over the mark
 *	waits for DONE			runs the callback into the walk's
 *	...				own page, RUNNING -> DONE
 *	DONE: copies, -> IDLE
 *	too late: POSTED -> IDLE, or
 *		RUNNING -> ABANDONED	ABANDONED -> IDLE when it comes back
 */
#ifndef BEZOAR_WORKER_DEFER_H
#define BEZOAR_WORKER_DEFER_H

#include <stdint.h>

#include "core/mm.h"
#include "types.h"

/*
 * Have @s->fill run on the worker. Its bytes are then at *@from, in a page of
 * @w's depth that the caller wipes; on the worker itself it fills the page that
 * was there. 0, what the callback returned, -ETIMEDOUT (the deadline counts from @taken_ns), -EBUSY
 * (no worker, or this slot's former request still runs), BZ_GUARD_LOST (the
 * callback met a lost page). Context: handler-safe.
 */
int bz_defer(struct bz_mm *mm, struct bz_walk *w, const struct bz_source *s,
	     uint64_t offset, uint64_t len, uint64_t taken_ns, void **from);

/*
 * Leave an early notice (AO) about the page at @addr to the worker. 0, or
 * -ENOSPC: the queue is full; the page will tell itself when it is touched.
 */
int bz_notice(struct bz_mm *mm, uint64_t addr, uint8_t lsb);

#endif
