/* SPDX-License-Identifier: MIT */
/*
 * The one helper thread: runs deferred sources, and looks after pages that
 * were announced as lost before anybody touched them. Normal context.
 */
#ifndef BEZOAR_WORKER_WORKER_H
#define BEZOAR_WORKER_WORKER_H

#include "core/mm.h"

/* Start it and wait until it is ready. 0, or what pthread_create(3) said
 * or attaching it. */
int bz_worker_start(struct bz_mm *mm);

/* End it and wait for it. Does nothing if there is none. */
void bz_worker_stop(struct bz_mm *mm);

/* In a child of fork(2), where it is not. */
void bz_worker_forked(void);

#endif
