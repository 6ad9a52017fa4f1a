/* SPDX-License-Identifier: MIT */
/*
 * The path of a fault through the house, from the signal to the former action.
 * Everything that a SIGBUS does is called from here; the rooms do not know one
 * another.
 */
#include <errno.h>

#include "core/action.h"
#include "core/core.h"
#include "core/guard.h"
#include "core/keys.h"
#include "core/scope.h"
#include "copy/copy.h"
#include "core/tls.h"
#include "fault/fault.h"
#include "ladder.h"
#include "record/record.h"
#include "region/region.h"
#include "worker/defer.h"

#define SLOT_WAIT_NS	60000000000u	/* longer than whoever is inside waits */

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
			       const struct bz_fault *fault, int *recorded,
			       struct bez_scope **ret_scope)
{
	struct bz_result result;
	int r;

	switch (fault->cause) {
	case BEZ_CAUSE_POISON_AO:
		return notice(mm, w, fault);
	case BEZ_CAUSE_MISSING:
		/* no instruction of ours is there: the system call is over */
		if (fault->nowhere)
			return BEZ_OUTCOME_ASKED_AGAIN;
		break;
	case BEZ_CAUSE_POISON_AR:
	case BEZ_CAUSE_ADRERR:
		if (w->depth > BZ_DEPTH)
			return BEZ_OUTCOME_NESTED;
		r = bz_ladder(mm, w, fault, &result);
		if (r == -EAGAIN)
			return BEZ_OUTCOME_ASKED_AGAIN;
		*recorded = r != -ENOENT;
		if (*recorded) {
			if (result.outcome == BEZ_OUTCOME_UNWOUND)
				*ret_scope = result.scope;
			return result.outcome;
		}
		if (!may_be_alias(mm, fault))
			return BEZ_OUTCOME_FOREIGN;
		break;
	default:
		return BEZ_OUTCOME_FOREIGN;
	}
	/* to find out where it was it would have to run again */
	if (bz_region_no_restarts())
		return BEZ_OUTCOME_FOREIGN;
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

int bz_leave_or_park(struct bz_mm *mm, struct bz_walk *w,
		     enum bez_outcome outcome)
{
	int closed = bz_leave(mm, w);

	if (outcome == BEZ_OUTCOME_SHUTDOWN_WAITS)
		bz_shutdown_park(mm);
	return closed;
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

/* @keys: as the kernel set them. @ret_scope: as bz_door(). */
static int serve(struct bz_mm *mm, struct bz_walk *w, siginfo_t *info,
		 void *context, uint32_t keys, struct bez_scope **ret_scope)
{
	struct bz_fault fault;
	enum bez_outcome did;
	int recorded = 0;

	bz_record_soon(mm);
	fault.taken_ns = bz_now_ns();
	bz_decode(info, &fault);
	atomic_fetch_add_explicit(&bz_counts_of(mm, w)->faults, 1,
				  memory_order_relaxed);
	if (was_raised(&fault))
		bz_decode_context(context, &fault);
	if (was_raised(&fault) && fault.cause != BEZ_CAUSE_SENT)
		fault.fix = bz_copy_fix(context, fault.addr);
	did = decide(mm, w, &fault, &recorded, ret_scope);
	if (bz_is_end(did)) {
		bz_shutdown_end(fault.addr, SIGBUS, info, context);
		return 1;
	}
	if (fault.fix && !bz_goes_on(did))
		did = BEZ_OUTCOME_COPY_SHORT;
	if (did == BEZ_OUTCOME_COPY_SHORT)
		bz_copy_go(context, fault.fix, fault.addr);
	if (!recorded)
		bz_ladder_record(mm, w, &fault, did);
	if (!bz_goes_on(did)) {
		bz_keys_set(keys);
		return pass_on(mm, w, &fault, info, context);
	}
	return bz_leave_or_park(mm, w, did);
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
	struct bez_scope *scope = NULL;
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
		closed = sig == SIGSEGV ?
			 bz_door(mm, w, info, context, keys, &scope) :
			 serve(mm, w, info, context, keys, &scope) ? SIGBUS : 0;
	} else {
		closed = bz_chain(sig, info, context) ? sig : 0;
	}
	if (has_errno)
		*at = saved_errno;
	if (scope)
		bz_scope_jump(scope, context);
	if (direct)			/* sigreturn restores the rest */
		return;
	bz_keys_set(keys);
	if (closed)
		was |= bz_sigbit(closed);
	bz_sigmask(SIG_SETMASK, &was, NULL);
}
