/* SPDX-License-Identifier: MIT */
#include "repair/repair.h"

#include "core/core.h"
#include "repair/staged.h"
#include "repair/uffd.h"

#define ASIDE_TURNS 12

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

static int is_error(long at)
{
	return at < 0 && at > -4096;
}

/* An address with room behind it for @width bytes, four times as much at each
 * @turn: that leads out of any hole. */
static long more_room(uint64_t width, uint32_t turn)
{
	uint64_t room = width << 2 * turn;
	long at = bz_mmap(0, room, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	if (is_error(at))
		return at;
	bz_munmap((uint64_t)at, room);
	return (long)(((uint64_t)at + width - 1) & -width);
}

/*
 * What mmap(2) chooses freely may lie in a hole of a region, and who looks for
 * something there must not find what is being built. So it is closed until it is
 * known where it is: a touch of the hole is SIGSEGV by what has no access then,
 * and most likely over when the door looks.
 */
long bz_map_aside(uint64_t width, int flags, int fd, uint64_t offset,
		  bz_taken_fn taken)
{
	long hint = 0, at, r;
	uint32_t turn;

	for (turn = 1; turn <= ASIDE_TURNS; turn++) {
		at = bz_sys(SYS_mmap, hint, (long)width, PROT_NONE,
			    flags | (hint ? MAP_FIXED_NOREPLACE : 0), fd,
			    (long)offset);
		if (is_error(at) && at != -EEXIST)
			return at;
		if (at != -EEXIST && !taken((uint64_t)at, width))
			break;
		if (at != -EEXIST)
			bz_munmap((uint64_t)at, width);
		hint = more_room(width, turn);
		if (is_error(hint))
			return hint;
	}
	if (turn > ASIDE_TURNS)
		return -ENOMEM;
	r = bz_sys(SYS_mprotect, at, (long)width, PROT_READ | PROT_WRITE, 0, 0,
		   0);
	if (r)
		bz_munmap((uint64_t)at, width);
	return r ? r : at;
}

void *bz_stage_get(uint64_t width, bz_taken_fn taken)
{
	long at = bz_map_aside(width, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0,
			       taken);

	if (is_error(at))
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
