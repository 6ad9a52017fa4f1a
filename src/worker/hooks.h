/* SPDX-License-Identifier: MIT */
/*
 * The hooks of a shutdown, and their hand-off to the worker:
 *
 *	who shuts down				worker
 *	IDLE -> POSTED, rings			POSTED -> RUNNING
 *	waits for DONE, or the deadline		each hook, guarded; -> DONE
 */
#ifndef BEZOAR_WORKER_HOOKS_H
#define BEZOAR_WORKER_HOOKS_H

#include "core/mm.h"
#include "types.h"

enum bz_hooks_state {
	BZ_HOOKS_IDLE = 0,
	BZ_HOOKS_POSTED = 1,
	BZ_HOOKS_RUNNING = 2,
	BZ_HOOKS_DONE = 3
};

struct bz_hook {
	bez_hook_fn fn;
	void *arg;
};

/* Entries below count are whole. Written under a lock of normal context. */
struct bz_hooks {
	struct bz_hook hook[BEZ_HOOKS_MAX];
	_Atomic uint32_t count;
};

extern struct bz_hooks bz_hooks;

/*
 * Run them for the loss of event @seq, and wait until the deadline: SHUTDOWN, _LATE,
 * _HURT or _BARE. Context: handler-safe.
 */
enum bez_outcome bz_hooks_run(struct bz_mm *mm, uint64_t seq);

/* Is thread @tid one of this process? (A child of vfork(2) shares memory with
 * others.) Context: handler-safe. */
int bz_is_here(uint32_t tid);

/* Normal context: the lock of who registers one, around fork(2). */
struct bz_lock;
struct bz_lock *bz_hooks_lock(void);

/* bez_stop(): there are none. */
void bz_hooks_forget(void);

#endif
