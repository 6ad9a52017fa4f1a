/* SPDX-License-Identifier: MIT */
/*
 * First room: take the signal, say what it means, pass it on if it is not
 * ours, and see to it that one thread repairs an extent.
 */
#ifndef BEZOAR_FAULT_FAULT_H
#define BEZOAR_FAULT_FAULT_H

#include <signal.h>
#include <stdint.h>

#include "core/mm.h"
#include "types.h"

/* What the kernel reported. Switches on every si_code; sigaction(2). */
void bz_decode(const siginfo_t *info, struct bz_fault *ret_fault);

/* The same for SIGSEGV: cause SEGV, or SENT. Without an address (SI_KERNEL)
 * that is 0. */
void bz_decode_segv(const siginfo_t *info, struct bz_fault *ret_fault);

/* The instruction that was interrupted, and the stacks of its thread. */
void bz_decode_context(const void *context, struct bz_fault *fault);

/* What of it is lost: see the comment at its definition. */
struct bz_extent bz_extent_of(const struct bz_fault *fault,
			      struct bz_memory memory);

enum bz_claimed {
	BZ_CLAIMED = 0,		/* the caller repairs it */
	BZ_CLAIM_TAKEN = 1,	/* somebody else does */
	BZ_CLAIM_OWN = 2	/* the caller itself does, further up */
};

struct bz_conflict {
	struct bz_walk *walk;	/* who has it */
	uint32_t depth;
};

/* Claim @x for @w at its depth. Release with bz_walk_unclaim(). */
enum bz_claimed bz_claim(struct bz_mm *mm, struct bz_walk *w,
			 struct bz_extent x, struct bz_conflict *ret_conflict);

/*
 * After BZ_CLAIM_TAKEN: wait until that claim is over, @rounds times @wait_ns.
 * 0, or -ETIMEDOUT. The caller must not hold a mark: it may take long.
 */
int bz_claim_wait(struct bz_mm *mm, struct bz_conflict conflict,
		  struct bz_extent x, uint64_t wait_ns, uint32_t rounds);

/*
 * Hand the signal @sig to the action that was installed before ours, as the
 * kernel would have: its flags, its mask, its stack. What remains is to return
 * from the handler at once; it may also never come back. The caller holds
 * nothing.
 * Returns 1 if the process dies as soon as @sig is open again, else 0.
 */
int bz_chain(int sig, siginfo_t *info, void *context);

/* Will bz_chain() end the process? Another thread's use of a one-shot action
 * may come in between. */
int bz_chain_ends(int sig, const siginfo_t *info);

/* End the process by this signal, at the interrupted instruction, with its
 * siginfo, as if no handler had been there: return from the handler at once. */
void bz_die(int sig, siginfo_t *info, void *context);

#endif
