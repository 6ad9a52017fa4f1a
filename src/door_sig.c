/* SPDX-License-Identifier: MIT */
/*
 * The door for SIGSEGV, with BEZ_START_SEGV_DOOR: the two ways in which the
 * loss of memory shows as that signal. A page of a region that is not mapped
 * any more climbs the same ladder as a lost one. Thread-local storage that the
 * kernel itself could not read is looked for, and climbs it, too. What could
 * not be saved, and is the end of the process, ends with a line that says so;
 * so does an alternate stack that was too small.
 *
 * All other SIGSEGV are the program's own affair. Programs live on them (stacks
 * that grow, memory that is written behind, null pointers as exceptions), so
 * they leave no event and go to the former action wherever they come, also
 * inside a fault.
 */
#include <ucontext.h>

#include "copy/copy.h"
#include "core/core.h"
#include "core/guard.h"
#include "core/keys.h"
#include "core/tls.h"
#include "fault/fault.h"
#include "ladder.h"
#include "record/record.h"
#include "region/region.h"
#include "repair/repair.h"

enum verdict {
	GOES_ON,		/* run the instruction again */
	FOREIGN,		/* none of ours */
	NOT_SAVED		/* and the end was not said yet */
};

/* Where the kernel and the libc look for what is the thread's. */
#define PLACES 4

static uint64_t place(uint32_t i)
{
	uint64_t at = bz_thread_pointer();

	switch (i) {
	case 0:
		return at;
	case 1:
		return (uint64_t)bz_errno();
	case 2:
		return at + (uint64_t)bz_core.rseq_at;
	default:
		return at + (uint64_t)bz_core.rseq_at +
		       (bz_core.rseq_bytes ? bz_core.rseq_bytes - 1 : 0);
	}
}

static struct bz_extent page_at(uint64_t addr)
{
	return (struct bz_extent){ .start = addr & -bz_core.page,
				   .width = bz_core.page };
}

/* Climb for the lost page that @fault->addr is in. */
static int climb(struct bz_mm *mm, struct bz_walk *w,
		 const struct bz_fault *fault, struct bz_result *result)
{
	int r = bz_ladder(mm, w, fault, result);

	if (r == -ENOENT)
		bz_ladder_record(mm, w, fault, BEZ_OUTCOME_FOREIGN);
	if (r == -EAGAIN)
		bz_ladder_record(mm, w, fault, BEZ_OUTCOME_ASKED_AGAIN);
	return r;
}

/*
 * SIGSEGV by the kernel, without an address: most often an address that the
 * processor does not take, and nothing is lost. But it comes, too, when the
 * kernel could not read the thread's rseq(2) area. (Those that were measured,
 * 6.12 and 6.18, look there again before they enter the handler, and kill.)
 */
static enum verdict own_memory(struct bz_mm *mm, struct bz_walk *w,
			       struct bz_fault *fault, struct bz_result *result)
{
	enum verdict verdict = FOREIGN;
	uint32_t i;
	int r;

	for (i = 0; i < PLACES; i++) {
		if (bz_probe(page_at(place(i)), 1) != BZ_PROBE_LOST)
			continue;
		fault->addr = place(i);
		r = climb(mm, w, fault, result);
		if ((r && r != -EAGAIN) || bz_is_end(result->outcome))
			return NOT_SAVED;
		verdict = GOES_ON;
		if (result->outcome == BEZ_OUTCOME_SHUTDOWN_WAITS)
			break;
	}
	return verdict;
}

static enum verdict decide(struct bz_mm *mm, struct bz_walk *w,
			   struct bz_fault *fault, struct bz_result *result)
{
	int r;

	if (fault->cause != BEZ_CAUSE_SEGV)
		return FOREIGN;
	/* what is built aside may lie there for a moment, closed: then the next
	 * touch tells */
	if (fault->si_code == SEGV_ACCERR &&
	    bz_probe_hole(page_at(fault->addr)) == BZ_PROBE_UNMAPPED)
		return GOES_ON;
	/* what may not be touched is so because the program wants it */
	if (fault->si_code != SEGV_MAPERR && fault->si_code != SI_KERNEL)
		return FOREIGN;
	if (fault->si_code == SI_KERNEL)
		return w->depth > BZ_DEPTH ? FOREIGN :
		       own_memory(mm, w, fault, result);
	if (w->depth > BZ_DEPTH) {
		bz_ladder_record(mm, w, fault, BEZ_OUTCOME_NESTED);
		result->outcome = BEZ_OUTCOME_NESTED;
		return NOT_SAVED;
	}
	r = bz_ladder(mm, w, fault, result);
	if (r == -ENOENT)
		return FOREIGN;
	if (r == -EAGAIN)
		bz_ladder_record(mm, w, fault, BEZ_OUTCOME_ASKED_AGAIN);
	return r == -EFAULT ? NOT_SAVED : GOES_ON;
}

/*
 * Below a thread's alternate stack is a page without access (core/thread.c).
 * Code that ran into it was off that stack by then, so the kernel began it
 * anew, with us: what was on it is gone. (Where the kernel's own frame for one
 * more signal does not fit, it kills, and no handler runs.)
 */
static int overflowed(const siginfo_t *info, const void *context)
{
	const stack_t *stack = &((const ucontext_t *)context)->uc_stack;

	return info->si_code == SEGV_ACCERR &&
	       !(stack->ss_flags & SS_DISABLE) &&
	       (uint64_t)stack->ss_sp - (uint64_t)info->si_addr - 1 <
	       bz_core.page;
}

static void last_word(struct bz_walk *w, const struct bz_fault *fault,
		      const struct bz_result *result)
{
	/* none at all: it is in no region */
	uint16_t why = result->why ? result->why : result->outcome;
	uint64_t page = fault->addr & -bz_core.page;
	int outermost, found;
	struct bz_hit hit;

	if (fault->si_code == SI_KERNEL) {
		bz_word_of_thread(bz_walk_tid(w), fault->addr, why);
		return;
	}
	/* a guard page is there because the program wants it */
	if (bz_probe_hole(page_at(page)) != BZ_PROBE_UNMAPPED)
		return;
	outermost = bz_region_mark(w);
	found = !bz_region_find(fault->addr, &hit);
	if (found)
		bz_word_of_page(page, hit.name, why);
	if (outermost)
		bz_walk_unmark(w);
}

/* To the former action. On top of a fault the walk is left as it is: a handler
 * that mends what it wants to mend returns into it. */
static int pass_on(struct bz_mm *mm, struct bz_walk *w, siginfo_t *info,
		   void *context)
{
	int closed = 0;

	if (w->depth > 1)
		bz_walk_leave(mm, w, NULL);
	else if (bz_leave(mm, w))
		closed = SIGBUS;
	if (bz_chain(SIGSEGV, info, context))
		closed = SIGSEGV;
	return closed;
}

int bz_door(struct bz_mm *mm, struct bz_walk *w, siginfo_t *info,
	    void *context, uint32_t keys, struct bez_scope **ret_scope)
{
	struct bz_result result = { 0 };
	struct bz_fault fault;
	enum verdict verdict;

	fault.taken_ns = bz_now_ns();
	bz_decode_segv(info, &fault);
	if (fault.cause == BEZ_CAUSE_SEGV)
		bz_decode_context(context, &fault);
	atomic_fetch_add_explicit(&bz_counts_of(mm, w)->faults, 1,
				  memory_order_relaxed);
	/* a hunt finds that what it was to replace is not there any more */
	if (fault.cause == BEZ_CAUSE_SEGV)
		fault.fix = bz_copy_fix_unmapped(context);
	if (fault.fix) {
		bz_copy_go(context, fault.fix, fault.addr);
		return bz_leave(mm, w) ? SIGBUS : 0;
	}
	verdict = decide(mm, w, &fault, &result);
	if (bz_is_end(result.outcome)) {
		bz_shutdown_end(fault.addr, SIGSEGV, info, context);
		return SIGSEGV;
	}
	if (verdict == GOES_ON) {
		if (result.outcome == BEZ_OUTCOME_UNWOUND)
			*ret_scope = result.scope;
		return bz_leave_or_park(mm, w, result.outcome) ? SIGBUS : 0;
	}
	if (verdict == FOREIGN)
		bz_count(mm, w, BEZ_OUTCOME_FOREIGN);
	if (bz_chain_ends(SIGSEGV, info)) {
		/* a source that reads what is not mapped has failed; nobody
		 * else would mend that */
		if (info->si_code > 0 && w->guard)
			bz_guard_jump(w);
		if (verdict == NOT_SAVED)
			last_word(w, &fault, &result);
		else if (overflowed(info, context))
			bz_word_of_stack(bz_walk_tid(w), fault.addr);
	}
	bz_keys_set(keys);
	return pass_on(mm, w, info, context);
}

int bz_is_there(const int *at, int sig, const siginfo_t *info)
{
	if (sig == SIGSEGV && info->si_code == SI_KERNEL)
		return bz_probe(page_at((uint64_t)at), 1) != BZ_PROBE_LOST;
	return info->si_code <= 0 ||
	       !bz_same_page((uint64_t)info->si_addr, (uint64_t)at);
}
