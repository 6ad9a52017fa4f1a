/* SPDX-License-Identifier: MIT */
/*
 * Fifth room: say what happened.
 */
#ifndef BEZOAR_RECORD_RECORD_H
#define BEZOAR_RECORD_RECORD_H

#include "core/mm.h"
#include "types.h"

/* There will soon be an event: fetch what it is written to. */
static inline void bz_record_soon(struct bz_mm *mm)
{
	uint64_t n = atomic_load_explicit(&mm->events, memory_order_relaxed);
	const char *slot = (const char *)&mm->event[n & (BZ_EVENTS - 1)];

	__builtin_prefetch(slot, 1);
	__builtin_prefetch(slot + 64, 1);
	__builtin_prefetch(slot + 128, 1);
}

/*
 * Count the outcome of @w and keep the event. @hit may be NULL: no region.
 * Context: handler-safe; waits for nobody.
 */
void bz_record(struct bz_mm *mm, const struct bz_walk *w,
	       const struct bz_fault *fault, uint64_t width,
	       const struct bz_hit *hit, const struct bz_result *result);

#endif
