/* SPDX-License-Identifier: MIT */
/*
 * Back ends by which the kernel loses a physical page, or frame: MADV_HWPOISON
 * here, corrupt-pfn in hwpoison.c; all but the blow itself is the same.
 *
 * Private memory is fenced, its writers stopped and its bytes copied, so that
 * the copy is what was there when the blow fell; unless no copy is wanted: a
 * fence keeps a repair out for as long as the kernel takes. Shared memory
 * cannot be fenced for others: it can only be lost for good, a page at a time.
 */
#define _GNU_SOURCE
#include "inject.h"
#include "sys.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

static _Atomic uint64_t kept;

uint64_t BZI_PUBLIC bez_inject_frames_kept(void)
{
	return atomic_load(&kept);
}

typedef int (*strike_fn)(struct bzi_token *t);

/* EBUSY is no verdict: the kernel has marked the page, and could not put it away
 * (somebody else still had it for a moment). It may be lost all the same: who counts
 * sees. */
static int verdict(int r)
{
	return r == -EBUSY ? 0 : r;
}

/* In steps of a page: a huge page that is split is several frames then. */
static int advise_all(void *arg)
{
	const struct bzi_token *t = arg;
	size_t at;
	int r = 0;

	for (at = 0; !r && at < t->len; at += t->page)
		r = verdict(bzi_sys_advise(t->addr + at, t->page,
					   MADV_HWPOISON));
	return r;
}

static int strike_madv(struct bzi_token *t)
{
	return bzi_sys_apart(advise_all, t);
}

static int strike_hwpoison(struct bzi_token *t)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < bzi_pages(t); i++)
		r = t->frames[i] ? verdict(bzi_corrupt_frame(t->frames[i])) :
				   -EPERM;
	return r;
}

/* The kernel says 0 for pages that it passed over, too. */
static int strike_all(struct bzi_token *t, strike_fn strike)
{
	int r;

	bzi_frames(t->addr, t->len, t->page, t->frames);
	r = strike(t);
	if (!r && bzi_count(t->addr, t->len, t->page, -EHWPOISON) !=
	    bzi_pages(t))
		r = -EBUSY;
	return r == -EHWPOISON ? -EBUSY : r;
}

/*
 * One page of which no copy is wanted: there is nothing to keep still, so
 * nobody is kept from repairing it either, not even before we have looked. The
 * frame tells then that it was struck.
 */
static int strike_one(struct bzi_token *t, strike_fn strike)
{
	int r;

	bzi_frames(t->addr, t->len, t->page, t->frames);
	r = strike(t);
	if (bzi_probe(t->addr) == -EHWPOISON)
		return 0;
	if (!r && !(t->frames[0] && bzi_frame_is_bad(t->frames[0])))
		r = -EBUSY;
	return r == -EHWPOISON ? -EBUSY : r;
}

static void give_back_frames(const struct bzi_token *t)
{
	size_t i;

	for (i = 0; i < bzi_pages(t); i++)
		if (!t->frames[i] || (bzi_frame_is_bad(t->frames[i]) &&
				      bzi_unpoison_frame(t->frames[i])))
			atomic_fetch_add(&kept, 1);
}

void bzi_keep_frames(const struct bzi_token *t)
{
	if (t->backend == BEZ_INJECT_MADV ||
	    t->backend == BEZ_INJECT_HWPOISON_INJECT)
		atomic_fetch_add(&kept, bzi_pages(t));
}

static int put_fenced(struct bzi_fence *f, const struct bzi_memory *m,
		      struct bzi_token *t, strike_fn strike)
{
	int r = bzi_fence_up(f, t->addr, t->len, BZI_FENCE_WRITES);

	if (!r)
		r = bzi_fence_stop_writes(f);
	if (!r)
		r = bzi_token_copy(t, m);
	if (r)
		return r;
	r = strike_all(t, strike);
	if (r) {
		bzi_fence_roll_back(f, t);
		give_back_frames(t);
	}
	return r;
}

static int put_private(const struct bzi_memory *m, struct bzi_token *t,
		       strike_fn strike)
{
	struct bzi_fence f;
	/* A page never written is the kernel's one page of zeros, which must
	 * not be marked: it is everybody's. */
	int r = bzi_sys_advise(t->addr, t->len, MADV_POPULATE_WRITE);

	if (r)
		return r == -EINVAL ? -EOPNOTSUPP : r;
	if (!bzi_wants_undo(t) && bzi_pages(t) == 1) {
		r = strike_one(t, strike);
		if (r)
			give_back_frames(t);
		return r;
	}
	r = bzi_fence_open(&f);
	if (r)
		return r;
	r = put_fenced(&f, m, t, strike);
	bzi_fence_close(&f);
	if (!r && !bzi_wants_undo(t))
		bzi_token_drop_copy(t);
	return r;
}

static int put(const struct bzi_memory *m, struct bzi_token *t,
	       strike_fn strike)
{
	int r;

	if (bzi_is_private_anon(m))
		return put_private(m, t, strike);
	if (bzi_wants_undo(t) || bzi_pages(t) > 1)
		return -EOPNOTSUPP;
	r = strike_all(t, strike);
	if (r)
		give_back_frames(t);
	return r;
}

static int put_madv(const struct bzi_memory *m, struct bzi_token *t)
{
	return put(m, t, strike_madv);
}

static int put_hwpoison(const struct bzi_memory *m, struct bzi_token *t)
{
	return put(m, t, strike_hwpoison);
}

static int undo(struct bzi_token *t)
{
	int r = bzi_fence_undo(t);

	if (!r)
		give_back_frames(t);
	return r;
}

/*
 * The privilege is checked before the memory is looked at, and memory without
 * access rights is no memory to it: asking costs no page.
 */
static int available_madv(void)
{
	size_t page = bzi_sys_page_size();
	void *nothing;
	int r;

	if (!bzi_memory_failure() || bzi_would_panic())
		return -EOPNOTSUPP;
	nothing = bzi_sys_map(page, PROT_NONE);
	if (!nothing)
		return -ENOMEM;
	r = bzi_sys_advise(nothing, page, MADV_HWPOISON);
	bzi_sys_unmap(nothing, page);
	if (r == -EINVAL)
		return -EOPNOTSUPP;
	return r == -EPERM ? r : 0;
}

const struct bzi_backend bzi_madv = {
	.name = "madv",
	.fidelity = BEZ_INJECT_FIDELITY_KERNEL,
	.available = available_madv,
	.put = put_madv,
	.undo = undo,
};

const struct bzi_backend bzi_hwpoison = {
	.name = "hwpoison-inject",
	.fidelity = BEZ_INJECT_FIDELITY_KERNEL,
	.available = bzi_can_corrupt,
	.put = put_hwpoison,
	.undo = undo,
};
