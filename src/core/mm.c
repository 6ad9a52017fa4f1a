/* SPDX-License-Identifier: MIT */
#include "core/mm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/core.h"
#include "core/own.h"

/* How many slots have their first stage in memory from the start: faults are
 * rare, many at once rarer, and the first touch of a page costs as much as
 * the fault itself. */
#define READY_WALKS 8

static uint64_t head_bytes(void)
{
	return (sizeof(struct bz_mm) + bz_core.page - 1) & -bz_core.page;
}

static uint64_t all_bytes(void)
{
	return head_bytes() + (uint64_t)BZ_WALKS * BZ_WALK_PAGES * bz_core.page;
}

int bz_mm_create(struct bz_mm **ret_mm)
{
	struct bz_mm *mm;
	uint32_t i;

	mm = mmap(NULL, all_bytes(), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mm == MAP_FAILED)
		return -errno;
	if (madvise(mm, all_bytes(), MADV_WIPEONFORK) ||
	    madvise(mm, all_bytes(), MADV_DONTDUMP)) {
		int r = -errno;

		munmap(mm, all_bytes());
		return r;
	}
	/* a huge page would tie the walk table's fate to the stages' */
	madvise(mm, all_bytes(), MADV_NOHUGEPAGE);
	memset(mm, 0, head_bytes());
	for (i = 0; i < READY_WALKS; i++) {
		memset(bz_mm_page(mm, &mm->walk[i], BZ_PAGE_STAGE, 1), 0,
		       bz_core.page);
		memset(bz_mm_page(mm, &mm->walk[i], BZ_PAGE_DEFER, 1), 0,
		       bz_core.page);
	}
	bz_own_add(mm, all_bytes());
	*ret_mm = mm;
	return 0;
}
