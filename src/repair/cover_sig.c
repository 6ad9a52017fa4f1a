/* SPDX-License-Identifier: MIT */
/*
 * What is lost stays lost. An entry for poison in the page tables does by itself,
 * but a file that was cut can grow again, a hole in shared memory be filled, and a
 * child of fork(2) that shares a file's mapping asks the file. There an empty file
 * is mapped over the place: a touch of that is SIGBUS for good, in children as
 * well, a system call's EFAULT. Memory without access would do as well, but for
 * SIGSEGV: that is what the program's own closed memory raises.
 */
#include "repair/repair.h"

#include <linux/mman.h>

#include "core/core.h"
#include "repair/attrs.h"
#include "repair/staged.h"

static enum bez_outcome errno_to_outcome(long r)
{
	switch (r) {
	case -ENOMEM:
	case -EAGAIN:
		return BEZ_OUTCOME_REFUSED_MAPS;
	case -EOPNOTSUPP:
		return BEZ_OUTCOME_REFUSED_ATTRS;
	default:
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	}
}

/* A mapping of an empty file can not be named or wiped. */
static enum bez_outcome allowed(const struct bz_attrs *attrs, int watched)
{
	uint32_t i;

	if (attrs->memory.kind == BZ_MEMORY_OTHER)
		return BEZ_OUTCOME_REFUSED_KIND;
	for (i = 0; i < attrs->advices; i++)
		if (attrs->advice[i] == MADV_WIPEONFORK)
			return BEZ_OUTCOME_REFUSED_ATTRS;
	return attrs->unkept || attrs->name[0] || (attrs->watched && !watched) ?
	       BEZ_OUTCOME_REFUSED_ATTRS : BEZ_OUTCOME_NONE;
}

/* @page, which is ours, with @attrs and @content in the place of @x. */
static enum bez_outcome put(long page, struct bz_extent x,
			    const struct bz_attrs *attrs, const void *content)
{
	long r;

	if (page < 0 && page > -4096)
		return errno_to_outcome(page);
	r = bz_attrs_apply((uint64_t)page, x.width, attrs, content);
	if (!r)
		r = bz_move((uint64_t)page, x);
	if (!r)
		return BEZ_OUTCOME_NONE;
	bz_munmap((uint64_t)page, x.width);
	return errno_to_outcome(r);
}

/* It can be locked, as long as no page of it is asked for. */
static enum bez_outcome put_cover(long page, struct bz_extent x,
				  struct bz_attrs *attrs)
{
	int locked = attrs->locked;

	attrs->locked = 0;
	if (locked && page > 0 &&
	    bz_sys(SYS_mlock2, page, (long)x.width, MLOCK_ONFAULT, 0, 0, 0)) {
		bz_munmap((uint64_t)page, x.width);
		return BEZ_OUTCOME_REFUSED_ATTRS;
	}
	return put(page, x, attrs, NULL);
}

enum bez_outcome bz_cover(struct bz_extent x, int watched, void *scratch,
			  bz_taken_fn taken, int *ret_shared)
{
	struct bz_attrs attrs;
	enum bez_outcome why;
	long fd, page;
	int r = bz_attrs_read(x.start, scratch, &attrs);

	*ret_shared = 0;
	if (r == -ENOENT)
		return bz_hole_take(x);
	if (r)
		return errno_to_outcome(r);
	*ret_shared = attrs.memory.kind == BZ_MEMORY_SHARED;
	why = allowed(&attrs, watched);
	if (why != BEZ_OUTCOME_NONE)
		return why;
	fd = bz_empty_file();
	if (fd < 0)
		return errno_to_outcome(fd);
	page = bz_map_aside(x.width,
			    MAP_PRIVATE | (attrs.noreserve ? MAP_NORESERVE : 0),
			    (int)fd, 0, taken);
	bz_close((int)fd);
	return put_cover(page, x, &attrs);
}

/* That the pool of huge pages is empty must not be found out by SIGBUS. */
static long map_huge(struct bz_extent x, int flags, bz_taken_fn taken)
{
	long page = bz_map_aside(x.width, flags | MAP_HUGETLB |
				 __builtin_ctzll(x.width) << MAP_HUGE_SHIFT,
				 -1, 0, taken);

	if (page < 0 && page > -4096)
		return page;
	if (!bz_madvise((uint64_t)page, x.width, MADV_POPULATE_WRITE))
		return page;
	bz_munmap((uint64_t)page, x.width);
	return -ENOMEM;
}

enum bez_outcome bz_uncover(struct bz_extent x, int base, const void *content,
			    void *scratch, bz_taken_fn taken)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	struct bz_attrs attrs;
	long page;
	int r = bz_attrs_read(x.start, scratch, &attrs);

	if (r)
		return r == -ENOENT ? BEZ_OUTCOME_REFUSED_UNMAPPED :
				      errno_to_outcome(r);
	/* a cover that went when something was to be moved over it (bz_move()) */
	if (attrs.memory.kind == BZ_MEMORY_ANON && attrs.prot == PROT_NONE)
		return BEZ_OUTCOME_REFUSED_KIND;
	/* not bz_probe(): a cover may be closed by the program as well */
	if (attrs.memory.kind == BZ_MEMORY_ANON ||
	    !bz_madvise(x.start, x.width, MADV_POPULATE_READ))
		return BEZ_OUTCOME_ALREADY_GOOD;
	if (!base && !bz_can_move(x.width))
		return BEZ_OUTCOME_REFUSED_KIND;
	if (attrs.noreserve)
		flags |= MAP_NORESERVE;
	if (x.width == bz_core.page || base) {
		page = bz_map_aside(x.width, flags, -1, 0, taken);
	} else {
		page = map_huge(x, flags, taken);
		if (page < 0 && page > -4096)
			return BEZ_OUTCOME_REFUSED_HUGE;
	}
	return put(page, x, &attrs, content);
}
