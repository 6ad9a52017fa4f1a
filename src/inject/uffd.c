/* SPDX-License-Identifier: MIT */
/*
 * Poison markers by UFFDIO_POISON. A marker goes onto a missing page only, so
 * the page has to leave first, without anybody seeing the hole and without
 * losing what is written until that moment:
 *
 *  - private memory is fenced and then moved away, page table entry and all,
 *    by mremap(2) with MREMAP_DONTUNMAP: what has left is itself the copy,
 *    and a write is either in it or waits at the fence;
 *  - where the move would drop something (mlock) or is not possible (hugetlb),
 *    writers are stopped, the bytes copied, the page discarded;
 *  - shared memory stays in the page cache: only the entry is dropped.
 */
#define _GNU_SOURCE
#include "inject.h"
#include "sys.h"
#include "uapi.h"

#include <errno.h>
#include <sys/mman.h>

static int move_out(const struct bzi_memory *m, struct bzi_token *t)
{
	unsigned int i;
	int r = 0;

	for (i = 0; !r && i < m->pieces; i++)
		r = bzi_sys_move(m->starts[i],
				 t->copy + (m->starts[i] - m->addr),
				 (size_t)(m->starts[i + 1] - m->starts[i]));
	return r;
}

static bool is_present(char *page)
{
	int r = bzi_probe(page); /* which faults it in */

	return !r || r == -EHWPOISON;
}

/*
 * A mapping that is moved out whole loses the tie (anon_vma) by which it would
 * merge with its neighbours again, and every poison would leave two mappings
 * behind. So the fence takes in a page more of the same mapping that stays.
 * It must be present: nobody may wait, or get EFAULT, for that one.
 */
static int fence_wider(struct bzi_fence *f, const struct bzi_memory *m)
{
	char *start = m->addr, *end = m->addr + m->len;

	/* memory that was never written has no tie yet; if it cannot be
	 * written, the worst is a mapping more */
	bzi_sys_advise(m->addr, m->page, MADV_POPULATE_WRITE);
	if (m->map_start < start && is_present(start - m->page))
		start -= m->page;
	if (m->last_end > end && (m->pieces > 1 || start == m->addr) &&
	    is_present(end))
		end += m->page;
	return bzi_fence_up(f, start, (size_t)(end - start), 0);
}

static int put_moved(struct bzi_fence *f, const struct bzi_memory *m,
		     struct bzi_token *t)
{
	int hidden;
	int r = bzi_token_room(t, t->len, PROT_NONE);

	if (!r)
		r = fence_wider(f, m);
	if (r)
		return r;
	r = move_out(m, t);
	/* what was moved brought the attributes of where it was along; and it
	 * has to be readable to be put back */
	hidden = bzi_sys_protect(t->copy, t->copy_len, PROT_READ);
	if (!hidden)
		hidden = bzi_hide(t->copy, t->copy_len);
	if (!r)
		r = hidden;
	if (!r)
		r = bzi_fence_poison(f, m);
	if (r)
		bzi_fence_roll_back(f, t);
	return r;
}

static int put_copied(struct bzi_fence *f, const struct bzi_memory *m,
		      struct bzi_token *t)
{
	int r = bzi_fence_up(f, t->addr, t->len, BZI_FENCE_WRITES);

	if (!r)
		r = bzi_fence_stop_writes(f);
	if (!r)
		r = bzi_token_copy(t, m);
	if (r)
		return r;
	r = bzi_discard(t->addr, t->len);
	/* in hugetlb the protection outlives the page, as a marker */
	if (!r)
		r = bzi_fence_forget_writes(f);
	if (!r)
		r = bzi_fence_poison(f, m);
	if (r)
		bzi_fence_roll_back(f, t);
	return r;
}

static int put_shared(struct bzi_fence *f, const struct bzi_memory *m,
		      struct bzi_token *t)
{
	int r = bzi_fence_up(f, t->addr, t->len, BZI_FENCE_SHARED);

	if (!r)
		r = bzi_discard(t->addr, t->len);
	if (r)
		return r;
	r = bzi_fence_poison(f, m);
	if (r)
		bzi_discard(t->addr, t->len);
	return r;
}

static int put(const struct bzi_memory *m, struct bzi_token *t)
{
	struct bzi_fence f;
	int r;

	if (m->file && !m->shared)
		return -EOPNOTSUPP;
	r = bzi_fence_open(&f);
	if (r)
		return r;
	if (!(f.features & UFFD_FEATURE_POISON))
		r = -EOPNOTSUPP;
	else if (m->shared)
		r = put_shared(&f, m, t);
	else if (m->locked || m->huge)
		r = put_copied(&f, m, t);
	else
		r = put_moved(&f, m, t);
	bzi_fence_close(&f);
	if (!r && !bzi_wants_undo(t))
		bzi_token_drop_copy(t);
	return r;
}

/* A page that was repaired loses no more than its entry here. */
static int undo_shared(const struct bzi_token *t)
{
	size_t at;
	int r = 0;

	for (at = 0; !r && at < t->len; at += t->page)
		if (bzi_probe(t->addr + at) == -EHWPOISON)
			r = bzi_discard(t->addr + at, t->page);
	return r;
}

static int undo(struct bzi_token *t)
{
	return t->shared ? undo_shared(t) : bzi_fence_undo(t);
}

static int available(void)
{
	struct bzi_fence f;
	int r = bzi_fence_open(&f);

	if (r)
		return r == -ENOSYS ? -EOPNOTSUPP : r;
	if (!(f.features & UFFD_FEATURE_POISON))
		r = -EOPNOTSUPP;
	bzi_fence_close(&f);
	return r;
}

const struct bzi_backend bzi_uffd = {
	.name = "uffd",
	.fidelity = BEZ_INJECT_FIDELITY_EMULATED,
	.available = available,
	.put = put,
	.undo = undo,
};
