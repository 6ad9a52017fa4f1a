/* SPDX-License-Identifier: MIT */
/*
 * The walk of one extent through region, source and repair: what the handler
 * does on a fault, and the worker on an early notice. src/path_sig.c.
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
};

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
 * Climb the ladder of the region at @fault->addr until an action did it.
 * Records the outcome and counts it in the region. Returns 0 if the program
 * can go on, -ENOENT if the address is in no region, -EAGAIN if its region was
 * removed meanwhile, -EFAULT if every action failed (then @ret_result is
 * DEFAULT). Context: handler-safe; @w at depth
 * >= 1 without a mark; all protection keys open (core/keys.h).
 */
int bz_ladder(struct bz_mm *mm, struct bz_walk *w, const struct bz_fault *fault,
	      struct bz_result *ret_result);

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

/*
 * SIGSEGV: src/door_sig.c. @keys: as the kernel set them. Returns the signal
 * that has to stay closed until the handler has returned, or 0.
 */
int bz_door(struct bz_mm *mm, struct bz_walk *w, siginfo_t *info,
	    void *context, uint32_t keys);

/* May what is @at be touched, or is it in what this signal is about? */
int bz_is_there(const int *at, int sig, const siginfo_t *info);

#endif
