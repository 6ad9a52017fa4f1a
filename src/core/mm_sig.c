/* SPDX-License-Identifier: MIT */
#include "core/mm.h"

#include "core/core.h"

struct bz_core bz_core;

void *bz_mm_page(struct bz_mm *mm, const struct bz_walk *w,
		 enum bz_page_use use, uint32_t depth)
{
	uint64_t head = (sizeof(struct bz_mm) + bz_core.page - 1) &
			-bz_core.page;
	uint64_t index = (uint64_t)(w - mm->walk) * BZ_WALK_PAGES + use +
			 depth - 1;

	return (char *)mm + head + index * bz_core.page;
}

int bz_inside(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);

	return mm && bz_walk_any(mm) && bz_walk_of(mm, (uint32_t)bz_gettid());
}

uint64_t bz_handler_mask(void)
{
	uint64_t open = bz_sigbit(SIGBUS) | bz_sigbit(SIGSEGV) |
			bz_sigbit(SIGFPE) | bz_sigbit(SIGILL) |
			bz_sigbit(SIGTRAP) | bz_sigbit(SIGSYS);

	/* 33 is the libc's own: setuid() in another thread waits until every
	 * thread has answered it */
	return ~(open | bz_sigbit(33));
}
