/* SPDX-License-Identifier: MIT */
/*
 * One repairer for an extent. A claim is one word in the claimant's walk slot:
 *
 *	63                 12 11       8 7      2 1    0
 *	| start of the extent | 0       | log2 w | state |	WANT or HOLD
 *
 * Announce first, then look at the others: of two that want the same extent
 * at least one sees the other. Who sees a HOLD, or the WANT of a lower slot,
 * steps back; who sees the WANT of a higher slot waits for that one to decide,
 * So at most one comes through, and a page is never emptied twice. tests/models/claims.pml is this file.
 */
#include "core/core.h"
#include "fault/fault.h"

#define STATE	3u
#define WANT	1u
#define HOLD	2u

#define SPINS	256

static uint64_t claim_word(struct bz_extent x, uint64_t state)
{
	return x.start | (uint64_t)__builtin_ctzll(x.width) << 2 | state;
}

static int overlaps(uint64_t word, struct bz_extent x)
{
	uint64_t start = word & ~(uint64_t)0xfff;
	uint64_t width = (uint64_t)1 << ((word >> 2) & 63);

	return word && start < x.start + x.width && x.start < start + width;
}

/*
 * Wait until *claim is not @word any more: its owner decides after one look at
 * the table. If it does not get to run (we may have the higher priority and
 * its processor), it is taken as in the way: to step back is always right.
 */
static uint64_t until_decided(_Atomic uint64_t *claim, uint64_t word)
{
	uint32_t spins;
	uint64_t now = word;

	for (spins = 0; now == word && spins < SPINS; spins++) {
		if (spins > SPINS / 2)
			bz_yield();
		now = atomic_load(claim);
	}
	return now;
}

/* The slot and depth that stand in the way of @x for @w, or NULL. */
static struct bz_walk *in_the_way(struct bz_mm *mm, struct bz_walk *w,
				  struct bz_extent x, uint32_t *ret_depth)
{
	uint32_t i, d;

	for (i = 0; i < BZ_WALKS / 64; i++) {
		uint64_t bits = atomic_load(&mm->used[i]);

		for (; bits; bits &= bits - 1) {
			struct bz_walk *other =
				&mm->walk[i * 64 + __builtin_ctzll(bits)];

			if (other == w)
				continue;
			for (d = 0; d < BZ_DEPTH; d++) {
				uint64_t word = atomic_load(&other->claim[d]);

				if (overlaps(word, x) &&
				    (word & STATE) == WANT && other > w)
					word = until_decided(&other->claim[d],
							     word);
				if (!overlaps(word, x))
					continue;
				*ret_depth = d;
				return other;
			}
		}
	}
	return NULL;
}

enum bz_claimed bz_claim(struct bz_mm *mm, struct bz_walk *w,
			 struct bz_extent x, struct bz_conflict *ret_conflict)
{
	_Atomic uint64_t *claim = &w->claim[w->depth - 1];
	uint32_t d;

	for (d = 0; d < BZ_DEPTH; d++)
		if (overlaps(atomic_load(&w->claim[d]), x))
			return BZ_CLAIM_OWN;

	atomic_store(claim, claim_word(x, WANT));
	ret_conflict->walk = in_the_way(mm, w, x, &ret_conflict->depth);
	if (!ret_conflict->walk) {
		/* it stood in everybody's way already */
		atomic_store_explicit(claim, claim_word(x, HOLD),
				      memory_order_release);
		return BZ_CLAIMED;
	}
	bz_walk_unclaim(w, w->depth);
	return BZ_CLAIM_TAKEN;
}

int bz_claim_wait(struct bz_mm *mm, struct bz_conflict conflict,
		  struct bz_extent x, uint64_t wait_ns, uint32_t rounds)
{
	struct bz_walk *other = conflict.walk;
	int r = 0;

	/* pairs with tell() in core/walk_sig.c */
	atomic_fetch_add(&other->waiters, 1);
	for (; rounds; rounds--) {
		uint32_t gen = atomic_load(&other->gen);

		r = 0;
		if (!overlaps(atomic_load(&other->claim[conflict.depth]), x))
			break;
		r = bz_walk_wait(other, gen, wait_ns);
		if (!r)
			break;
		/* kept by a deferred source, whose deadline is another */
		if (bz_now_ns() < atomic_load(&other->until))
			rounds++;
		bz_walk_bury(mm, other);
	}
	atomic_fetch_sub(&other->waiters, 1);
	return r;
}
