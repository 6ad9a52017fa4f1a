/* SPDX-License-Identifier: MIT */
/*
 * What was lost, opened again for its owner: the action REPLACE with zeros for a
 * source, whatever the region has. So fresh memory comes as it does there: with all
 * attributes, claimed, and for shared memory by its file's lock. Where a cover
 * lies in the place of the memory, that is replaced.
 */
#include <errno.h>

#include "core/core.h"
#include "core/keys.h"
#include "fault/fault.h"
#include "ladder.h"
#include "record/record.h"
#include "region/lost.h"
#include "region/region.h"
#include "repair/repair.h"

#include <string.h>

#define SLOT_WAIT_NS	1000000000u
#define CLAIM_ROUNDS	3
#define NEVER		UINT32_MAX	/* too often */

static const struct bz_source zeros = { .kind = BEZ_SOURCE_ZERO };

/* Whoever has the claim may open it, too. 0: the caller's. */
static int claim(struct bz_mm *mm, struct bz_walk *w, struct bz_extent x)
{
	struct bz_conflict conflict;
	uint32_t rounds;

	for (rounds = 0; rounds < CLAIM_ROUNDS; rounds++) {
		switch (bz_claim(mm, w, x, &conflict)) {
		case BZ_CLAIMED:
			return 0;
		case BZ_CLAIM_OWN:
			return -EDEADLK;
		case BZ_CLAIM_TAKEN:
		default:
			break;
		}
		bz_claim_wait(mm, conflict, x, bz_core.claim_wait_ns, 1);
	}
	return -EAGAIN;
}

/* Memory without a file in the place of what is there. */
static enum bez_outcome detach(struct bz_mm *mm, struct bz_walk *w,
			       struct bz_hit *hit, struct bz_extent x)
{
	static const struct bz_memory mixed = { .kind = BZ_MEMORY_MIXED };
	enum bez_outcome did =
		bz_uncover(x, bz_mm_page(mm, w, BZ_PAGE_SCRATCH, w->depth),
			   bz_region_in);

	if (did != BEZ_OUTCOME_NONE)
		return did;
	bz_region_learn(hit, mixed);
	return BEZ_OUTCOME_REPLACED;
}

static enum bez_outcome reopen(struct bz_mm *mm, struct bz_walk *w,
			       const struct bz_fault *fault, struct bz_hit *hit,
			       const struct bz_lost_at *at,
			       struct bz_result *result)
{
	struct bz_loss loss = { .x = at->x, .memory = hit->memory };
	enum bez_outcome did;

	if (bz_lost_cover(at) != BZ_AS_IT_WAS) {
		/* it would not be shared any more */
		if (bz_lost_cover(at) == BZ_COVERED_SHARED &&
		    !(hit->flags & BEZ_POLICY_DETACH))
			return BEZ_OUTCOME_REFUSED_SHARED;
		return detach(mm, w, hit, at->x);
	}
	hit->source = &zeros;
	hit->sources = 1;
	hit->digests = NULL;
	hit->max_repeats = NEVER;
	if (loss.memory.kind == BZ_MEMORY_UNKNOWN ||
	    loss.memory.kind == BZ_MEMORY_MIXED)
		bz_learn(mm, w, at->x.start, hit, &loss.memory);
	did = bz_replace(mm, w, fault, hit, &loss, result);
	/* its owner writes all of it anew, and only here: no need of the file */
	if (did == BEZ_OUTCOME_REFUSED_FILE && at->x.width == bz_core.page &&
	    loss.memory.kind == BZ_MEMORY_PRIVATE)
		return detach(mm, w, hit, at->x);
	return did;
}

static int to_errno(enum bez_outcome did)
{
	switch (did) {
	case BEZ_OUTCOME_REPLACED:
	case BEZ_OUTCOME_ALREADY_GOOD:
		return 0;
	case BEZ_OUTCOME_REFUSED_NOMEM:
	case BEZ_OUTCOME_REFUSED_MAPS:
	case BEZ_OUTCOME_REFUSED_HUGE:
		return -ENOMEM;
	case BEZ_OUTCOME_REFUSED_KIND:
	case BEZ_OUTCOME_REFUSED_ATTRS:
	case BEZ_OUTCOME_REFUSED_SHARED:
	case BEZ_OUTCOME_REFUSED_DETACH:
		return -EOPNOTSUPP;
	case BEZ_OUTCOME_CLAIM_TIMEOUT:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

/* The caller reads the region table. Not inlined, as inside(): frames are small
 * here. */
static __attribute__((noinline)) int open_claimed(struct bz_mm *mm, struct bz_walk *w,
			const struct bz_lost_at *at)
{
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = at->x.start,
		.cause = BEZ_CAUSE_RECOVER,
	};
	struct bz_result result = { 0 };
	struct bz_lost_at now;
	enum bez_outcome did;
	struct bz_hit hit;
	int r;

	/* another may have opened it, or its region be gone */
	if (bz_region_find(at->x.start, &hit) ||
	    !bz_lost_find(at->x.start, &now) || now.key != at->key)
		return 0;
	did = reopen(mm, w, &fault, &hit, &now, &result);
	r = to_errno(did);
	if (!r)
		bz_lost_remove(&now);
	result.outcome = (uint16_t)(r ? BEZ_OUTCOME_LEFT : did);
	result.why = (uint16_t)(r ? did : BEZ_OUTCOME_NONE);
	result.action = r ? BEZ_ACTION_NONE : BEZ_ACTION_REPLACE;
	bz_record(mm, w, &fault, at->x.width, &hit, &result);
	return r;
}

static int open_one(struct bz_mm *mm, struct bz_walk *w,
		    const struct bz_lost_at *at)
{
	int r = claim(mm, w, at->x);

	if (r)
		return r;
	bz_region_mark(w);
	r = open_claimed(mm, w, at);
	bz_walk_done(w, 1);
	return r;
}

static int overlaps(struct bz_extent x, uint64_t start, uint64_t end)
{
	return x.start < end && start < x.start + x.width;
}

static int open_all(struct bz_mm *mm, struct bz_walk *w, uint64_t start,
		    uint64_t end)
{
	struct bz_lost_at at;
	uint32_t i = 0;
	int r = 0;

	while (!r && bz_lost_walk(&i, &at))
		if (overlaps(at.x, start, end))
			r = open_one(mm, w, &at);
	return r;
}

/* As bez_recover() does it, copy/recover_sig.c. */
static __attribute__((noinline)) int
inside(struct bz_mm *mm, uint64_t start, uint64_t end)
{
	uint64_t mask = bz_handler_mask(), all = mask | bz_sigbit(SIGBUS);
	uint32_t keys = bz_keys_get();
	siginfo_t held;
	struct bz_walk *w;
	int r, was_sent;

	w = bz_walk_enter(mm, (uint32_t)bz_gettid(), NULL, SLOT_WAIT_NS);
	if (!w)
		return -EAGAIN;
	w->mask = mask;
	bz_sigmask(SIG_SETMASK, &mask, NULL);
	bz_keys_set(BZ_KEYS_OPEN);
	r = open_all(mm, w, start, end);
	bz_keys_set(keys);
	bz_sigmask(SIG_SETMASK, &all, NULL);
	was_sent = bz_walk_leave(mm, w, &held);
	if (was_sent)
		bz_sys(SYS_rt_tgsigqueueinfo, bz_sys0(SYS_getpid), bz_gettid(),
		       SIGBUS, (long)&held, 0, 0);
	return r;
}

int bez_lost_clear(void *addr, size_t len)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint64_t all = bz_handler_mask() | bz_sigbit(SIGBUS), was = 0;
	uint64_t start = (uint64_t)addr, end = start + len;
	struct bz_lost_at at;
	uint32_t i = 0;
	int r;

	if (!mm)
		return -ESRCH;
	if (end < start)
		return -EINVAL;
	if (bz_inside())
		return -EDEADLK;
	while (bz_lost_walk(&i, &at))
		if (overlaps(at.x, start, end) &&
		    (at.x.start < start || at.x.start + at.x.width > end))
			return -EINVAL;
	bz_sigmask(SIG_SETMASK, &all, &was);
	r = inside(mm, start, end);
	bz_sigmask(SIG_SETMASK, &was, NULL);
	return r;
}
