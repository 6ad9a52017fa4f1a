/* SPDX-License-Identifier: MIT */
/*
 * The walk of one extent through region, source and repair: what the handler
 * does on a fault, and the worker on an early notice. src/ladder_sig.c.
 */
#ifndef BEZOAR_LADDER_H
#define BEZOAR_LADDER_H

#include "core/mm.h"
#include "types.h"

/* What a fault took, and what memory that is. */
struct bz_loss {
	struct bz_extent x;
	struct bz_memory memory;	/* UNKNOWN: of base pages, by the look of
					 * the signal */
	uint8_t again;			/* tried before, as something else */
	uint8_t known;			/* in the inventory of what is lost */
};

/*
 * Must what met @fault not run again? Whether a machine check has interrupted it,
 * or it came to the page later, the signal is the same.
 */
static inline int bz_no_restart(const struct bz_fault *fault,
				const struct bz_hit *hit)
{
	return fault->cause == BEZ_CAUSE_POISON_AR &&
	       (hit->flags & BEZ_POLICY_NO_RESTART);
}

/* Do other processes mend that memory as well? Nobody here is told of it then. */
static inline int bz_others_mend(const struct bz_hit *hit, struct bz_memory memory)
{
	return memory.kind != BZ_MEMORY_ANON &&
	       memory.kind != BZ_MEMORY_PRIVATE &&
	       !(hit->share && (hit->share->flags & BEZ_SHARED_EXCLUSIVE));
}

/*
 * The action REPLACE on @loss, which the caller has claimed: source, look,
 * place. Returns REPLACED, ALREADY_GOOD, or why not: REFUSED_KIND also if the
 * memory is not what @loss says. src/replace_sig.c. Context: handler-safe; the
 * caller holds the mark under which @hit was found.
 */
enum bez_outcome bz_replace(struct bz_mm *mm, struct bz_walk *w,
			    const struct bz_fault *fault, struct bz_hit *hit,
			    const struct bz_loss *loss,
			    struct bz_result *result);

/*
 * The action DEGRADE: @loss into the inventory, if it is not there; then the way
 * out for who met it, or the next action. Claims it if nobody did yet. RELAYED,
 * UNWOUND (@result->scope says where to), COPY_SHORT, DEGRADED, ALREADY_GOOD,
 * ASKED_AGAIN, or why not. src/degrade_sig.c. Context: as bz_replace().
 */
enum bez_outcome bz_degrade(struct bz_mm *mm, struct bz_walk *w,
			    const struct bz_fault *fault, int outermost,
			    struct bz_hit *hit, struct bz_loss *loss,
			    struct bz_result *result);

/*
 * What of [@start, @end) begins at @start is lost, because its owner says so;
 * @ret_next is behind it. The errors are those of bez_lost_add().
 * src/lose_sig.c. Context: not in a handler.
 */
int bz_lose(struct bz_mm *mm, uint64_t start, uint64_t end, uint64_t *ret_next);

/* Run @fn from normal code as a handler would: in a slot, which it leaves without
 * claim and mark, and with all keys open. What it says, or -EAGAIN: there is no
 * slot. src/clear_sig.c */
int bz_from_outside(struct bz_mm *mm, int (*fn)(struct bz_walk *w, void *arg),
		    void *arg);

/* In a child of fork(2), before it runs: what is lost in the memory that it
 * inherited stays so. */
void bz_degrade_forked(struct bz_mm *mm);

/* On the worker: tell the owners what was lost. 1: it did. region/lost.c */
int bz_tell_losses(struct bz_mm *mm);

/* On the worker: connect to the daemon again, if somebody missed it. 1: it was
 * tried. record/daemon.c */
int bz_daemon_again(struct bz_mm *mm);

/*
 * Claim @x, where @fault was, for the actions of a ladder; waits for who has it.
 * NONE: the caller's. Else what that makes of the fault: OWN_CLAIM, CLAIM_TIMEOUT,
 * WAITED, or ASKED_AGAIN (the region is gone, or it was entered as lost
 * meanwhile). src/ladder_sig.c. Context: as bz_replace(); drops the mark of an
 * @outermost caller while it waits.
 */
enum bez_outcome bz_claim_for(struct bz_mm *mm, struct bz_walk *w,
			      const struct bz_fault *fault, int outermost,
			      struct bz_hit *hit, struct bz_extent x);

/* What memory is at @addr? Kept in the region if all of it is like that. 1 or 0.
 * src/ladder_sig.c */
int bz_learn(struct bz_mm *mm, struct bz_walk *w, uint64_t addr,
	     struct bz_hit *hit, struct bz_memory *ret_memory);

/*
 * Climb the ladder of the region at @fault->addr until an action did it.
 * Records the outcome and counts it in the region. Returns 0 if the program
 * can go on, -ENOENT if the address is in no region, -EAGAIN if its region was
 * removed meanwhile, -EFAULT if every action failed (then @ret_result is
 * DEFAULT), or it was entered as lost by who has nowhere to jump (DEGRADED).
 * After SHUTDOWN_WAITS the caller parks, when it has left.
 * Context: handler-safe; @w at depth
 * >= 1 without a mark; all protection keys open (core/keys.h).
 */
int bz_ladder(struct bz_mm *mm, struct bz_walk *w, const struct bz_fault *fault,
	      struct bz_result *ret_result);

/* Is the program as good as before, or can be? Else the next action is tried. */
static inline int bz_goes_on(enum bez_outcome outcome)
{
	return outcome < BEZ_OUTCOME_REFUSED_KIND;
}

/* Is it the end of the process? Then everything is said, and what remains is
 * bz_shutdown_end(). */
static inline int bz_is_end(uint32_t outcome)
{
	return outcome == BEZ_OUTCOME_SHUTDOWN ||
	       outcome == BEZ_OUTCOME_SHUTDOWN_LATE ||
	       outcome == BEZ_OUTCOME_SHUTDOWN_HURT ||
	       outcome == BEZ_OUTCOME_SHUTDOWN_BARE;
}

/*
 * The action SHUTDOWN; src/shutdown_sig.c. BEGUN: it is the caller's. WAITS: it is
 * another thread's, and the caller is to park when it holds nothing any more: that
 * returns only if it was none of this process. Or why there is none.
 */
enum bez_outcome bz_shutdown_begin(struct bz_mm *mm, struct bz_walk *w);
void bz_shutdown_park(struct bz_mm *mm);

/* Exit; or die of the signal @sig: return from the handler at once. @info may be
 * NULL: not in a handler; then it does not return. */
void bz_shutdown_end(uint64_t addr, int sig, siginfo_t *info, void *context);

/* Record a fault for which no ladder was climbed; an early notice with the
 * region that it is about, if any. Context: handler-safe. */
void bz_ladder_record(struct bz_mm *mm, struct bz_walk *w,
		      const struct bz_fault *fault, enum bez_outcome outcome);

/* Out of the walk; what was sent to the thread meanwhile is sent again. 1: then
 * SIGBUS is blocked, and has to stay so until the handler has returned. */
int bz_leave(struct bz_mm *mm, struct bz_walk *w);

/* The same after @outcome; who has to wait for another thread's shutdown does it
 * here, with nothing that the hooks could want: there may be more such threads
 * than slots. */
int bz_leave_or_park(struct bz_mm *mm, struct bz_walk *w,
		     enum bez_outcome outcome);

/*
 * SIGSEGV: src/door_sig.c. @keys: as the kernel set them. Returns the signal
 * that has to stay closed until the handler has returned, or 0. @ret_scope: to
 * jump to instead; or it stays as it is.
 */
int bz_door(struct bz_mm *mm, struct bz_walk *w, siginfo_t *info,
	    void *context, uint32_t keys, struct bez_scope **ret_scope);

/* May what is @at be touched, or is it in what this signal is about? */
int bz_is_there(const int *at, int sig, const siginfo_t *info);

#endif
