/* SPDX-License-Identifier: MIT */
#include "repair/repair.h"

#include "repair/uffd.h"

enum bez_outcome bz_place(struct bz_mm *mm, struct bz_extent x,
			  const void *stage, void *scratch, int mapped)
{
	switch (bz_uffd_place(mm, x, stage, mapped)) {
	case BZ_PLACED:
		return BEZ_OUTCOME_NONE;
	case BZ_PLACED_GOOD:
		return BEZ_OUTCOME_ALREADY_GOOD;
	case BZ_PLACED_NOT_HERE:
		return bz_staged_place(x, stage, scratch);
	case BZ_PLACED_MAPS:
		return BEZ_OUTCOME_REFUSED_MAPS;
	case BZ_PLACED_NOMEM:
		return BEZ_OUTCOME_REFUSED_NOMEM;
	case BZ_PLACED_UNMAPPED:
		return BEZ_OUTCOME_REFUSED_UNMAPPED;
	case BZ_PLACED_AGAIN:
	case BZ_PLACED_GONE:
	case BZ_PLACED_SYSTEM:
	default:
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	}
}
