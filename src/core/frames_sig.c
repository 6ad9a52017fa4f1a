/* SPDX-License-Identifier: MIT */
/*
 * Is the function that entered a scope still under way? Its record cannot tell: where
 * it was left by a jump, what lay in its frame may lie there for long, in the middle
 * of another function's. So the frames are followed from the code that faulted.
 */
#include "core/frames.h"

#include <string.h>
#include <ucontext.h>

#include "core/cfi.h"
#include "core/core.h"
#include "core/guard.h"
#include "core/scope.h"

#ifdef BZ_HAS_CFI

#define FRAMES_MAX	512

/* bez_scope.saved: rsp, rip, rbx, rbp, r12 to r15. */
static void from_scope(const uint64_t *saved, struct bz_frame *f)
{
	static const uint8_t in[] = { BZ_CFI_RSP, BZ_CFI_RIP, 3, 6,
				      12, 13, 14, 15 };
	uint32_t i;

	memset(f, 0, sizeof(*f));
	for (i = 0; i < sizeof(in); i++)
		f->reg[in[i]] = saved[i];
}

static void from_context(const ucontext_t *uc, struct bz_frame *f)
{
	static const uint8_t in[BZ_CFI_REGS] = {
		REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP,
		REG_RSP, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13,
		REG_R14, REG_R15, REG_RIP,
	};
	uint32_t i;

	for (i = 0; i < BZ_CFI_REGS; i++)
		f->reg[i] = (uint64_t)uc->uc_mcontext.gregs[in[i]];
	f->interrupted = 1;
}

/* The frame that the scope's stack pointer lies in is another function's; or that of
 * a part of the same: that begins in the middle of a frame, and one of the two jumps
 * into the other. */
static enum bz_way other_part(struct bz_walker *w, uint64_t cfa)
{
	uint64_t base;
	int to, from;

	from_scope(w->saved, &w->frame);
	if (!bz_cfi_describe(w, &w->frame, &w->scope_entry, &base))
		return BZ_WAY_UNKNOWN;
	if (base != cfa || (!bz_cfi_is_part(w, &w->entry) &&
			    !bz_cfi_is_part(w, &w->scope_entry)))
		return BZ_WAY_DEAD;
	to = bz_cfi_leads(w, &w->scope_entry, &w->entry);
	from = to > 0 ? 0 : bz_cfi_leads(w, &w->entry, &w->scope_entry);
	if (to > 0 || from > 0)
		return BZ_WAY_LIVE;
	return to || from ? BZ_WAY_UNKNOWN : BZ_WAY_DEAD;
}

static enum bz_way follow(struct bz_walker *w)
{
	struct bz_frame *f = &w->frame;
	uint64_t sp = w->saved[0], cfa;
	uint32_t i;

	from_context(w->fault->context, f);
	for (i = 0; i < FRAMES_MAX; i++) {
		if (!bz_cfi_describe(w, f, &w->entry, &cfa))
			return BZ_WAY_UNKNOWN;
		/* the kernel's frame reaches from one stack to another */
		if (!w->entry.is_signal && f->reg[BZ_CFI_RSP] <= sp && sp < cfa)
			return w->saved[1] - 1 - w->entry.start < w->entry.len ?
			       BZ_WAY_LIVE : other_part(w, cfa);
		/* a cleanup: what it runs on is above, but not to be followed */
		if (w->entry.start == (uint64_t)bz_scope_land ||
		    !bz_cfi_step(w, &w->entry, f, cfa))
			return BZ_WAY_UNKNOWN;
		if (!f->reg[BZ_CFI_RIP])	/* the first of all */
			return BZ_WAY_DEAD;
	}
	return BZ_WAY_UNKNOWN;
}

static int guarded(void *arg)
{
	return (int)follow(arg);
}

struct places {
	uint64_t fault, scope;
};

static int same_function(void *arg)
{
	const struct places *at = arg;

	return bz_cfi_is_same(at->fault, at->scope);
}

enum bz_way bz_frames_way(struct bz_walk *w, const struct bz_fault *fault,
			  struct bz_extent x, const uint64_t *saved)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct places at = { fault->ip, saved[1] - 1 };
	struct bz_walker *f;
	int r;

	if (!fault->context || !mm)
		return BZ_WAY_UNKNOWN;
	/* mostly: who entered it has faulted, its stack as deep as it was */
	if (fault->sp == saved[0] && bz_guarded(w, same_function, &at) == 1)
		return BZ_WAY_LIVE;
	/* all else is written before it is read */
	f = bz_mm_page(mm, w, BZ_PAGE_STAGE, w->depth);
	f->fault = fault;
	f->lost = x;
	f->window = bz_mm_page(mm, w, BZ_PAGE_SCRATCH, w->depth);
	f->at = f->len = 0;
	f->saved = saved;
	r = bz_guarded(w, guarded, f);
	if (f->at)			/* somebody's stack */
		memset(f->window, 0, bz_core.page);
	memset(&f->frame, 0, sizeof(f->frame));
	return r < 0 ? (enum bz_way)r : BZ_WAY_UNKNOWN;
}

#else

enum bz_way bz_frames_way(struct bz_walk *w, const struct bz_fault *fault,
			  struct bz_extent x, const uint64_t *saved)
{
	(void)w;
	(void)fault;
	(void)x;
	(void)saved;
	return BZ_WAY_UNKNOWN;
}

#endif
