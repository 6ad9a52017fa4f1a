/* SPDX-License-Identifier: MIT */
/*
 * Memory for what the handler reads: populated, so that it need not be faulted
 * in there, and in huge pages once there is much of it, because a look-up among
 * a million regions spends its time on address translation. Given back all at
 * once. Writers hold the region lock.
 */
#ifndef BEZOAR_REGION_ARENA_H
#define BEZOAR_REGION_ARENA_H

#include <stddef.h>

/* @bytes of zeros, on a cache line of their own; NULL: no memory. At most
 * BZ_ARENA_MOST. */
void *bz_arena_get(size_t bytes);
void bz_arena_reset(void);

#define BZ_ARENA_MOST (1u << 20)

#endif
