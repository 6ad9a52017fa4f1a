/* SPDX-License-Identifier: MIT */
/*
 * What was lost, opened again for its owner: the action REPLACE with zeros, or the
 * owner's bytes, for a source, whatever the region has. So fresh memory comes as it
 * does there: with all attributes, claimed, in one step, and for shared memory by
 * its file's lock. Where a cover lies in the place of the memory, that is replaced.
 */
#include <errno.h>

#include "core/core.h"
#include "core/gate.h"
#include "core/keys.h"
#include "fault/fault.h"
#include "ladder.h"
#include "record/record.h"
#include "region/lost.h"
#include "region/region.h"
#include "repair/repair.h"
#include "repair/share.h"
#include "source/source.h"
#include "worker/defer.h"

#include <string.h>

#define SLOT_WAIT_NS	1000000000u
#define CLAIM_ROUNDS	3
#define NEVER		UINT32_MAX	/* too often */

/* What the owner wants. */
struct order {
	struct bz_mm *mm;
	struct bz_walk *walk;
	uint64_t start, end;
	uint64_t from;			/* what belongs at start; 0: zeros */
};

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

static void *scratch(const struct order *o)
{
	return bz_mm_page(o->mm, o->walk, BZ_PAGE_SCRATCH, o->walk->depth);
}

/* Memory without a file in the place of what is there. */
static enum bez_outcome detach(const struct order *o, struct bz_hit *hit,
			       struct bz_extent x, const void *content)
{
	static const struct bz_memory mixed = { .kind = BZ_MEMORY_MIXED };
	enum bez_outcome did = bz_uncover(x, 0, content, scratch(o),
					  bz_region_in);

	if ((did == BEZ_OUTCOME_REFUSED_HUGE ||
	     did == BEZ_OUTCOME_REFUSED_KIND) && x.width > bz_core.page &&
	    (hit->flags & BEZ_POLICY_BASE_PAGES))
		did = bz_uncover(x, 1, content, scratch(o), bz_region_in);
	if (did != BEZ_OUTCOME_NONE)
		return did;
	bz_region_learn(hit, mixed);
	return BEZ_OUTCOME_REPLACED;
}

/* The file again in the place of the cover. */
static enum bez_outcome rejoin(const struct order *o,
			       const struct bz_fault *fault,
			       const struct bz_hit *hit, struct bz_extent x,
			       const void *content)
{
	struct bz_share_claim claim;
	enum bez_outcome did;

	if (!hit->share || hit->share->fd < 0)
		return BEZ_OUTCOME_REFUSED_SHARED;
	did = bz_share_lock(o->mm, o->walk, hit->share, x,
			    bz_after(fault->taken_ns,
				     CLAIM_ROUNDS * bz_core.claim_wait_ns),
			    &claim);
	if (did != BEZ_OUTCOME_NONE)
		return did;
	did = bz_share_rejoin(&claim, content, o->from != 0, scratch(o),
			      bz_region_in);
	bz_share_unlock(&claim);
	return did == BEZ_OUTCOME_NONE ? BEZ_OUTCOME_REPLACED : did;
}

/* The program has put something there itself: everybody can see that already. */
static enum bez_outcome overwrite(const struct order *o, struct bz_extent x)
{
	return bz_write_over(x, (char *)o->from + (x.start - o->start));
}

static enum bez_outcome uncover(const struct order *o,
				const struct bz_fault *fault,
				struct bz_hit *hit, struct bz_extent x,
				int shared)
{
	int wide = x.width > bz_core.page;
	void *stage = wide ? bz_stage_get(x.width, bz_region_in) :
		      bz_mm_page(o->mm, o->walk, BZ_PAGE_STAGE,
				 o->walk->depth);
	struct bz_content content = { .from = stage };
	enum bez_outcome did;

	if (!stage)
		return BEZ_OUTCOME_REFUSED_NOMEM;
	did = bz_source_fill(o->mm, o->walk, hit, x, fault->taken_ns, &content);
	/* no child in between: it would inherit what is built */
	bz_gate_enter(o->mm, o->walk);
	if (did == BEZ_OUTCOME_NONE)
		did = shared ? rejoin(o, fault, hit, x, content.from) :
			       detach(o, hit, x, content.from);
	/* it would not be shared any more */
	if (shared && (hit->flags & BEZ_POLICY_DETACH) &&
	    (did == BEZ_OUTCOME_REFUSED_SHARED ||
	     did == BEZ_OUTCOME_REFUSED_FILE ||
	     did == BEZ_OUTCOME_REFUSED_DETACH))
		did = detach(o, hit, x, content.from);
	if (!shared && did == BEZ_OUTCOME_ALREADY_GOOD && o->from)
		did = overwrite(o, x);
	if (wide)
		bz_stage_put(stage, x.width);
	else
		memset(stage, 0, x.width);
	return did;
}

/* Not inlined, as those below: frames are small here. */
static __attribute__((noinline)) enum bez_outcome
reopen(const struct order *o, const struct bz_fault *fault, struct bz_hit *hit,
       const struct bz_lost_at *at, struct bz_result *result)
{
	/* the mirror of the whole region, of which that much is there */
	struct bz_source from = {
		.kind = o->from ? BEZ_SOURCE_MIRROR : BEZ_SOURCE_ZERO,
		.mirror = o->from - o->start + hit->start,
	};
	struct bz_loss loss = { .x = at->x, .memory = hit->memory };
	enum bez_outcome did;

	hit->source = &from;
	hit->sources = 1;
	hit->digests = NULL;
	hit->max_repeats = NEVER;
	if (bz_lost_cover(at) != BZ_AS_IT_WAS)
		return uncover(o, fault, hit, at->x,
			       bz_lost_cover(at) == BZ_COVERED_SHARED);
	if (loss.memory.kind == BZ_MEMORY_UNKNOWN ||
	    loss.memory.kind == BZ_MEMORY_MIXED)
		bz_learn(o->mm, o->walk, at->x.start, hit, &loss.memory);
	did = bz_replace(o->mm, o->walk, fault, hit, &loss, result);
	if (did != BEZ_OUTCOME_ALREADY_GOOD)
		return did;
	/* the poison may lie there still, behind what the program has closed */
	if (!bz_probe_readable(at->x))
		return BEZ_OUTCOME_REFUSED_KIND;
	return o->from ? overwrite(o, at->x) : did;
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
	case BEZ_OUTCOME_SOURCE_LOST:
		return -EFAULT;
	default:
		return -EIO;
	}
}

/* The caller reads the region table. */
static __attribute__((noinline)) int open_claimed(const struct order *o,
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
	did = reopen(o, &fault, &hit, &now, &result);
	r = to_errno(did);
	if (!r) {
		bz_mended(o->mm, at->x);
		bz_lost_remove(&now);
	}
	result.outcome = (uint16_t)(r ? BEZ_OUTCOME_LEFT : did);
	result.why = (uint16_t)(r ? did : BEZ_OUTCOME_NONE);
	result.action = r ? BEZ_ACTION_NONE : BEZ_ACTION_REPLACE;
	bz_record(o->mm, o->walk, &fault, at->x.width, &hit, &result);
	return r;
}

static int open_one(const struct order *o, const struct bz_lost_at *at)
{
	int r = claim(o->mm, o->walk, at->x);

	if (r)
		return r;
	bz_region_mark(o->walk);
	r = open_claimed(o, at);
	bz_walk_done(o->walk, 1);
	return r;
}

static int overlaps(struct bz_extent x, uint64_t start, uint64_t end)
{
	return x.start < end && start < x.start + x.width;
}

/* Of an extent that is not, the owner's bytes are not all there. */
static int is_within(const struct order *o, struct bz_extent x)
{
	return x.start >= o->start && x.start + x.width <= o->end;
}

static int open_all(struct bz_walk *w, void *arg)
{
	struct order *o = arg;
	struct bz_lost_at at;
	uint32_t i = 0;
	int r = 0;

	o->walk = w;
	while (!r && bz_lost_walk(&i, &at))
		if (overlaps(at.x, o->start, o->end))
			/* it may have come since the range was looked at */
			r = is_within(o, at.x) ? open_one(o, &at) : -EINVAL;
	return r;
}

/* As bez_recover() does it, copy/recover_sig.c. */
int bz_from_outside(struct bz_mm *mm, int (*fn)(struct bz_walk *w, void *arg),
		    void *arg)
{
	uint64_t mask = bz_handler_mask(), all = mask | bz_sigbit(SIGBUS);
	uint32_t keys = bz_keys_get();
	struct bz_walk *w;
	siginfo_t held;
	uint64_t was = 0;
	int r = -EAGAIN;

	bz_sigmask(SIG_SETMASK, &all, &was);
	w = bz_walk_enter(mm, (uint32_t)bz_gettid(), NULL, SLOT_WAIT_NS);
	if (w) {
		w->mask = mask;
		bz_sigmask(SIG_SETMASK, &mask, NULL);
		bz_keys_set(BZ_KEYS_OPEN);
		r = fn(w, arg);
		bz_keys_set(keys);
		bz_sigmask(SIG_SETMASK, &all, NULL);
		if (bz_walk_leave(mm, w, &held))
			bz_sys(SYS_rt_tgsigqueueinfo, bz_sys0(SYS_getpid),
			       bz_gettid(), SIGBUS, (long)&held, 0, 0);
	}
	bz_sigmask(SIG_SETMASK, &was, NULL);
	return r;
}

static int open_again(struct order *o)
{
	struct bz_lost_at at;
	uint32_t i = 0;
	int r;

	o->mm = atomic_load(&bz_core.mm);
	if (!o->mm)
		return -ESRCH;
	if (o->end < o->start)
		return -EINVAL;
	if (bz_inside())
		return -EDEADLK;
	while (bz_lost_walk(&i, &at))
		if (overlaps(at.x, o->start, o->end) && !is_within(o, at.x))
			return -EINVAL;
	r = bz_from_outside(o->mm, open_all, o);
	/* for who was told that it is lost */
	bz_ring(o->mm);
	return r;
}

int bez_lost_clear(void *addr, size_t len)
{
	struct order o = { .start = (uint64_t)addr,
			   .end = (uint64_t)addr + len };

	return open_again(&o);
}

int bez_lost_fill(void *addr, size_t len, const void *from)
{
	struct order o = { .start = (uint64_t)addr,
			   .end = (uint64_t)addr + len,
			   .from = (uint64_t)from };

	if (!from || o.from + len < o.from ||
	    (o.from < o.end && o.start < o.from + len))
		return -EINVAL;
	return open_again(&o);
}
