/* SPDX-License-Identifier: MIT */
/* For tests that are linked with the library's inside. */
#ifndef BEZOAR_TESTS_INSIDE_H
#define BEZOAR_TESTS_INSIDE_H

#include "core/core.h"

/* Walk slots that are not quite given back. The library is started. */
static inline uint32_t inside_slots_taken(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint32_t i, d, taken = 0;

	for (i = 0; i < BZ_WALKS; i++) {
		const struct bz_walk *w = &mm->walk[i];
		int in_use = atomic_load(&w->owner) || atomic_load(&w->mark) ||
			     atomic_load(&w->placing) ||
			     atomic_load(&w->waiters);

		for (d = 0; d < BZ_DEPTH; d++)
			in_use |= atomic_load(&w->claim[d]) != 0;
		taken += (uint32_t)in_use;
	}
	return taken + (uint32_t)bz_walk_any(mm);
}

#endif
