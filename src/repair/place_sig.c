/* SPDX-License-Identifier: MIT */
#include "repair/repair.h"

#include "core/core.h"
#include "repair/staged.h"
#include "repair/uffd.h"

static enum bez_outcome staged(const struct bz_placing *p)
{
	enum bez_outcome why = bz_staged_place(p, BZ_STAGED_ALIKE);

	return why == BEZ_OUTCOME_REFUSED_HUGE && p->base_pages ?
	       bz_staged_place(p, BZ_STAGED_BASE) : why;
}

enum bez_outcome bz_place(struct bz_mm *mm, const struct bz_placing *p)
{
	if (p->detach)
		return bz_staged_place(p, BZ_STAGED_DETACHED);
	if (p->forking)
		return staged(p);
	switch (bz_uffd_place(mm, p)) {
	case BZ_PLACED:
		return BEZ_OUTCOME_NONE;
	case BZ_PLACED_GOOD:
		return BEZ_OUTCOME_ALREADY_GOOD;
	case BZ_PLACED_NOT_HERE:
		/* what it is may be why; the caller can ask the kernel */
		return p->memory.kind == BZ_MEMORY_UNKNOWN ?
		       BEZ_OUTCOME_REFUSED_KIND : staged(p);
	case BZ_PLACED_MAPS:
		return BEZ_OUTCOME_REFUSED_MAPS;
	case BZ_PLACED_NOMEM:
		return p->x.width == bz_core.page ? BEZ_OUTCOME_REFUSED_NOMEM :
						    BEZ_OUTCOME_REFUSED_HUGE;
	case BZ_PLACED_SOURCE:
		return BEZ_OUTCOME_SOURCE_LOST;
	case BZ_PLACED_UNMAPPED:
		return BEZ_OUTCOME_REFUSED_UNMAPPED;
	case BZ_PLACED_AGAIN:
	case BZ_PLACED_GONE:
	case BZ_PLACED_SYSTEM:
	default:
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	}
}

void *bz_stage_get(uint64_t width)
{
	long at = bz_mmap(0, width, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (at < 0 && at > -4096)
		return NULL;
	/* fewer faults; and what passes through is nobody else's */
	bz_madvise((uint64_t)at, width, MADV_HUGEPAGE);
	bz_madvise((uint64_t)at, width, MADV_DONTDUMP);
	bz_madvise((uint64_t)at, width, MADV_WIPEONFORK);
	return (void *)at;
}

void bz_stage_put(void *stage, uint64_t width)
{
	bz_munmap((uint64_t)stage, width);
}
