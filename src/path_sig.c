/* SPDX-License-Identifier: MIT */
/*
 * The path of a fault through the house. Everything that a SIGBUS does is
 * called from here; the rooms do not know one another.
 */
#include <errno.h>

#include "core/action.h"
#include "core/core.h"
#include "core/gate.h"
#include "core/guard.h"
#include "core/keys.h"
#include "core/tls.h"
#include "fault/fault.h"
#include "ladder.h"
#include "record/record.h"
#include "region/region.h"
#include "repair/repair.h"
#include "source/source.h"
#include "worker/defer.h"

#include <string.h>

#define CLAIM_ROUNDS	3		/* at the top; nested: one */
#define SLOT_WAIT_NS	60000000000u	/* longer than whoever is inside waits */

/*
 * Is there still something to do? Whoever held the claim before us may have
 * replaced the page since we faulted, and the program may have written to it
 * since. NONE: it is lost.
 */
static enum bez_outcome still_lost(struct bz_mm *mm,
				   const struct bz_fault *fault,
				   struct bz_extent x, int mapped)
{
	switch (fault->cause == BEZ_CAUSE_SEGV ? bz_probe_hole(x) :
						 bz_probe(x)) {
	case BZ_PROBE_GOOD:
		if (mapped)
			return BEZ_OUTCOME_NONE;
		return bz_good_again(mm, x, fault->taken_ns) ?
		       BEZ_OUTCOME_LOOPING : BEZ_OUTCOME_ALREADY_GOOD;
	case BZ_PROBE_LOST:
		return BEZ_OUTCOME_NONE;
	case BZ_PROBE_UNMAPPED:
		return fault->cause == BEZ_CAUSE_SEGV ?
		       BEZ_OUTCOME_NONE : BEZ_OUTCOME_REFUSED_UNMAPPED;
	case BZ_PROBE_OTHER:
	default:
		return BEZ_OUTCOME_REFUSED_KIND;
	}
}

/* Put the content at @from in place. While another thread forks, and takes
 * long, in the way that fork(2) cannot look into. */
static enum bez_outcome put(struct bz_mm *mm, struct bz_walk *w,
			    const struct bz_fault *fault,
			    const struct bz_hit *hit, struct bz_extent x,
			    const void *from, int mapped, int forking)
{
	void *scratch = bz_mm_page(mm, w, BZ_PAGE_SCRATCH, w->depth);

	if (bz_repeats(mm, x, fault->taken_ns, hit->max_repeats))
		return BEZ_OUTCOME_LOOPING;
	if (fault->cause == BEZ_CAUSE_SEGV &&
	    bz_probe_hole(x) == BZ_PROBE_UNMAPPED)
		return bz_hole_place(mm, w, x, hit, from, scratch);
	return forking ? bz_staged_place(x, from, scratch) :
			 bz_place(mm, x, from, scratch, mapped);
}

/*
 * Replace @x, which the caller has claimed. REPLACED, ALREADY_GOOD, or why not.
 * Whether it is lost is asked when the source has answered, so that nothing
 * slow comes in between.
 */
static enum bez_outcome replace(struct bz_mm *mm, struct bz_walk *w,
				const struct bz_fault *fault,
				const struct bz_hit *hit, struct bz_extent x,
				struct bz_result *result)
{
	void *from = bz_mm_page(mm, w, BZ_PAGE_STAGE, w->depth);
	/* a huge page that could not be split is bad and mapped all the same,
	 * which only its first report shows */
	int mapped = fault->lsb > bz_core.page_shift;
	enum bez_outcome why;
	int forking = 0;

	/* no source need be asked for what the program has closed itself */
	if (fault->cause == BEZ_CAUSE_SEGV) {
		why = still_lost(mm, fault, x, mapped);
		if (why != BEZ_OUTCOME_NONE)
			return why;
	}

	why = bz_source_fill(mm, w, hit, x, fault->taken_ns, &from,
			     &result->source);
	/* the gate may make us wait, so it comes before the look */
	if (why == BEZ_OUTCOME_NONE) {
		forking = bz_gate_enter(mm, w);
		why = still_lost(mm, fault, x, mapped);
	}
	if (why == BEZ_OUTCOME_NONE)
		why = put(mm, w, fault, hit, x, from, mapped, forking);
	memset(from, 0, x.width);	/* it may have been a secret */
	return why == BEZ_OUTCOME_NONE ? BEZ_OUTCOME_REPLACED : why;
}

/* The action REPLACE. Leaves the claim and the mark set and *hit valid, or
 * returns ASKED_AGAIN: the region was removed while we waited for another. */
static enum bez_outcome act_replace(struct bz_mm *mm, struct bz_walk *w,
				    const struct bz_fault *fault, int outermost,
				    struct bz_hit *hit, struct bz_extent x,
				    struct bz_result *result)
{
	struct bz_conflict conflict;
	enum bez_outcome did;

	if (fault->cause == BEZ_CAUSE_POISON_AR &&
	    (hit->flags & BEZ_POLICY_NO_RESTART))
		return BEZ_OUTCOME_REFUSED_RESTART;
	switch (bz_claim(mm, w, x, &conflict)) {
	case BZ_CLAIMED:
		return replace(mm, w, fault, hit, x, result);
	case BZ_CLAIM_OWN:
		return BEZ_OUTCOME_OWN_CLAIM;
	case BZ_CLAIM_TAKEN:
	default:
		break;
	}
	/* it may take long, and nobody shall wait for us meanwhile */
	if (outermost)
		bz_walk_unmark(w);
	did = bz_claim_wait(mm, conflict, x, bz_core.claim_wait_ns,
			    w->depth > 1 ? 1 : CLAIM_ROUNDS) ?
	      BEZ_OUTCOME_CLAIM_TIMEOUT : BEZ_OUTCOME_WAITED;
	bz_region_mark(w);
	return bz_region_find(fault->addr, hit) ? BEZ_OUTCOME_ASKED_AGAIN : did;
}

static int goes_on(enum bez_outcome outcome)
{
	return outcome < BEZ_OUTCOME_REFUSED_KIND;
}

/* Each action in turn. DEFAULT is at the end, named or not. */
static void climb(struct bz_mm *mm, struct bz_walk *w,
		  const struct bz_fault *fault, int outermost,
		  struct bz_hit *hit, struct bz_extent x,
		  struct bz_result *result)
{
	uint32_t i;

	for (i = 0; i < sizeof(hit->actions); i++) {
		if (hit->actions[i] != BEZ_ACTION_REPLACE)
			continue;
		result->action = BEZ_ACTION_REPLACE;
		result->outcome = (uint16_t)act_replace(mm, w, fault,
							outermost, hit, x,
							result);
		if (goes_on(result->outcome))
			return;
		result->why = result->outcome;
	}
	result->action = BEZ_ACTION_DEFAULT;
	/* the default of an early notice is to wait until it is touched */
	result->outcome = fault->cause == BEZ_CAUSE_POISON_AO ?
			  BEZ_OUTCOME_NOTED : BEZ_OUTCOME_DEFAULT;
}

/* The caller reads the region table. */
static int walk_extent(struct bz_mm *mm, struct bz_walk *w,
		       const struct bz_fault *fault, int outermost,
		       struct bz_result *result)
{
	struct bz_extent x = bz_extent_of(fault);
	struct bz_hit hit;

	if (bz_region_find(fault->addr, &hit))
		return -ENOENT;
	climb(mm, w, fault, outermost, &hit, x, result);
	if (result->outcome == BEZ_OUTCOME_ASKED_AGAIN)
		return -EAGAIN;
	bz_region_count(&hit, result, fault->cause);
	bz_record(mm, w, fault, x.width, &hit, result);
	bz_walk_done(w, outermost);
	return goes_on(result->outcome) ? 0 : -EFAULT;
}

int bz_ladder(struct bz_mm *mm, struct bz_walk *w, const struct bz_fault *fault,
	      struct bz_result *ret_result)
{
	int outermost = bz_region_mark(w), r;

	memset(ret_result, 0, sizeof(*ret_result));
	r = walk_extent(mm, w, fault, outermost, ret_result);
	if (outermost)
		bz_walk_unmark(w);
	return r;
}

void bz_ladder_record(struct bz_mm *mm, struct bz_walk *w,
		      const struct bz_fault *fault, enum bez_outcome outcome)
{
	struct bz_result result = { .outcome = (uint16_t)outcome };
	int outermost = bz_region_mark(w), found;
	struct bz_hit hit;

	/* others are about no region, or nested too deep to look it up */
	found = fault->cause == BEZ_CAUSE_POISON_AO &&
		!bz_region_find(fault->addr, &hit);
	bz_record(mm, w, fault, found ? bz_extent_of(fault).width : 0,
		  found ? &hit : NULL, &result);
	if (outermost)
		bz_walk_unmark(w);
}

/* An early notice: a hint, and nothing that was interrupted is to blame. */
static enum bez_outcome notice(struct bz_mm *mm, struct bz_walk *w,
			       const struct bz_fault *fault)
{
	int outermost = bz_region_mark(w), found;
	struct bz_hit hit;

	found = !bz_region_find(fault->addr, &hit);
	if (outermost)
		bz_walk_unmark(w);
	if (found)
		return bz_notice(mm, fault->addr, fault->lsb) ?
		       BEZ_OUTCOME_DROPPED : BEZ_OUTCOME_NOTED;
	/* the worker asked for early notices, not the program: it must not
	 * die of one that is not even about a region */
	if (bz_walk_tid(w) == (uint32_t)atomic_load(&mm->worker_tid))
		return BEZ_OUTCOME_NOTED;
	return BEZ_OUTCOME_FOREIGN;
}

/*
 * A machine check reports the first mapping of the page that the kernel finds,
 * which may be another than the one that was touched, by the start of the
 * page. Run again, and the access itself names what it touched. Once for an
 * address.
 */
static int may_be_alias(struct bz_mm *mm, const struct bz_fault *fault)
{
	return fault->cause == BEZ_CAUSE_POISON_AR &&
	       !(fault->addr & (bz_core.page - 1)) &&
	       atomic_exchange(&mm->alias, fault->addr) != fault->addr;
}

/* What becomes of this signal. Recorded by bz_ladder() if @recorded. */
static enum bez_outcome decide(struct bz_mm *mm, struct bz_walk *w,
			       const struct bz_fault *fault, int *recorded)
{
	struct bz_result result;
	int r;

	switch (fault->cause) {
	case BEZ_CAUSE_POISON_AO:
		return notice(mm, w, fault);
	case BEZ_CAUSE_MISSING:
		break;
	case BEZ_CAUSE_POISON_AR:
	case BEZ_CAUSE_ADRERR:
		if (w->depth > BZ_DEPTH)
			return BEZ_OUTCOME_NESTED;
		r = bz_ladder(mm, w, fault, &result);
		if (r == -EAGAIN)
			return BEZ_OUTCOME_ASKED_AGAIN;
		*recorded = r != -ENOENT;
		if (*recorded)
			return result.outcome;
		if (!may_be_alias(mm, fault))
			return BEZ_OUTCOME_FOREIGN;
		break;
	default:
		return BEZ_OUTCOME_FOREIGN;
	}
	return bz_missing_again(mm, fault->taken_ns, bz_core.missing_rounds) ?
	       BEZ_OUTCOME_ASKED_AGAIN : BEZ_OUTCOME_FOREIGN;
}

/* By the interrupted instruction, which would only raise it again. Codes of
 * the kernel are positive; sigaction(2). */
static int was_raised(const struct bz_fault *fault)
{
	return fault->si_code > 0 && fault->cause != BEZ_CAUSE_POISON_AO;
}

/* Make @info pending again for this thread; it comes when SIGBUS opens. */
static void send_again(const siginfo_t *info)
{
	uint64_t bus = bz_sigbit(SIGBUS);

	bz_sigmask(SIG_BLOCK, &bus, NULL);
	bz_sys(SYS_rt_tgsigqueueinfo, bz_sys0(SYS_getpid), bz_gettid(), SIGBUS,
	       (long)info, 0, 0);
}

int bz_leave(struct bz_mm *mm, struct bz_walk *w)
{
	siginfo_t held;

	if (!bz_walk_leave(mm, w, &held))
		return 0;
	send_again(&held);
	return 1;
}

/*
 * Not ours, or not saved. A fault inside guarded code ends that code only. One
 * that was sent while a fault is being served waits, like a blocked signal,
 * of which the kernel keeps one as well. Everything else goes to the former
 * action, when this thread holds nothing any more. Returns what bz_chain()
 * does.
 */
static int pass_on(struct bz_mm *mm, struct bz_walk *w,
		   const struct bz_fault *fault, siginfo_t *info,
		   void *context)
{
	int nested = w->depth > 1;
	siginfo_t held;

	if (was_raised(fault) && w->guard)
		bz_guard_jump(w);
	if (nested && !was_raised(fault)) {
		/* one that comes in between finds the place taken */
		if (!w->held) {
			w->held = 1;
			atomic_signal_fence(memory_order_seq_cst);
			w->held_info = *info;
		}
		bz_walk_leave(mm, w, NULL);
		return 0;
	}
	if (bz_walk_drop(mm, w, &held))
		send_again(&held);
	if (bz_chain(SIGBUS, info, context))
		return 1;
	if (!nested)
		return 0;
	/* the handler's own memory is lost, and what it interrupted in the
	 * handler cannot go on without it */
	bz_die(SIGBUS, info, context);
	return 1;
}

/* @keys: as the kernel set them. */
static int serve(struct bz_mm *mm, struct bz_walk *w, siginfo_t *info,
		 void *context, uint32_t keys)
{
	struct bz_fault fault;
	enum bez_outcome did;
	int recorded = 0;

	bz_record_soon(mm);
	fault.taken_ns = bz_now_ns();
	bz_decode(info, &fault);
	atomic_fetch_add_explicit(&bz_counts_of(mm, w)->faults, 1,
				  memory_order_relaxed);
	did = decide(mm, w, &fault, &recorded);
	if (!recorded)
		bz_ladder_record(mm, w, &fault, did);
	if (!goes_on(did)) {
		bz_keys_set(keys);
		return pass_on(mm, w, &fault, info, context);
	}
	return bz_leave(mm, w);
}

void bz_on_signal(int sig, siginfo_t *info, void *context)
{
	int direct = BZ_CALLED_BY_KERNEL();
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint64_t mask = bz_handler_mask(), was = 0;
	int *at = bz_errno(), has_errno = bz_is_there(at, sig, info);
	int saved_errno = has_errno ? *at : 0;
	int closed;			/* a signal, or 0 */
	uint32_t keys = bz_keys_get();
	struct bz_walk *w = NULL;

	/* whoever else calls us has another mask, and expects it again */
	if (!direct)
		bz_sigmask(SIG_SETMASK, &mask, &was);
	if (mm)
		w = bz_walk_enter(mm, (uint32_t)bz_gettid(),
				  __builtin_frame_address(0), SLOT_WAIT_NS);
	if (w && w->depth == 1)
		w->mask = mask;
	if (w) {
		bz_keys_set(BZ_KEYS_OPEN);
		closed = sig == SIGSEGV ? bz_door(mm, w, info, context, keys) :
			 serve(mm, w, info, context, keys) ? SIGBUS : 0;
	} else {
		closed = bz_chain(sig, info, context) ? sig : 0;
	}
	if (has_errno)
		*at = saved_errno;
	if (direct)			/* sigreturn restores the rest */
		return;
	bz_keys_set(keys);
	if (closed)
		was |= bz_sigbit(closed);
	bz_sigmask(SIG_SETMASK, &was, NULL);
}
