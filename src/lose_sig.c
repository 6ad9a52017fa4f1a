/* SPDX-License-Identifier: MIT */
/*
 * What is lost because its owner says so: the action DEGRADE for a page that can
 * still be read. So nothing is looked for in it, and it is always closed here.
 */
#include <errno.h>

#include "core/core.h"
#include "core/gate.h"
#include "fault/fault.h"
#include "ladder.h"
#include "record/record.h"
#include "region/lost.h"
#include "region/region.h"
#include "repair/repair.h"
#include "worker/defer.h"

#define CLAIM_ROUNDS	3

/* What the owner says. */
struct said {
	struct bz_mm *mm;
	uint64_t start, end;
	uint64_t next;			/* behind what was done */
};

static int degrades(const struct bz_hit *hit)
{
	uint32_t i;

	for (i = 0; i < sizeof(hit->actions); i++)
		if (hit->actions[i] == BEZ_ACTION_DEGRADE)
			return 1;
	return 0;
}

static int learn(const struct said *s, struct bz_walk *w, struct bz_hit *hit,
		 struct bz_memory *memory)
{
	if (memory->kind != BZ_MEMORY_UNKNOWN &&
	    memory->kind != BZ_MEMORY_MIXED)
		return 0;
	return bz_learn(s->mm, w, s->start, hit, memory) ? 0 : -EIO;
}

/* Which extent begins there. The caller reads the region table. */
static int look(const struct said *s, struct bz_walk *w,
		const struct bz_fault *fault, struct bz_hit *hit,
		struct bz_loss *loss)
{
	struct bz_lost_at at;
	int r;

	if (bz_region_find(s->start, hit) || !degrades(hit))
		return -ENOENT;
	loss->known = bz_lost_count() && bz_lost_find(s->start, &at);
	if (loss->known) {
		loss->x = at.x;
		return 0;
	}
	loss->memory = hit->memory;
	r = learn(s, w, hit, &loss->memory);
	if (r)
		return r;
	loss->x = bz_extent_of(fault, loss->memory);
	if (loss->x.start != s->start || loss->x.width > s->end - s->start)
		return -EINVAL;
	return loss->x.width > hit->end - s->start ? -EOPNOTSUPP : 0;
}

/* Who had the claim before us may have entered it, or put base pages where a huge
 * one was. ASKED_AGAIN: then look again. */
static enum bez_outcome check(const struct said *s, struct bz_walk *w,
			      struct bz_hit *hit, struct bz_loss *loss)
{
	struct bz_memory now = { .kind = BZ_MEMORY_UNKNOWN };
	struct bz_lost_at at;

	if (bz_lost_count() && bz_lost_find(s->start, &at))
		return BEZ_OUTCOME_ASKED_AGAIN;
	if (!bz_region_is_mixed(hit))
		return BEZ_OUTCOME_NONE;
	if (learn(s, w, hit, &now))
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	return now.kind == loss->memory.kind &&
	       now.shift == loss->memory.shift ? BEZ_OUTCOME_NONE :
						 BEZ_OUTCOME_ASKED_AGAIN;
}

static __attribute__((noinline)) enum bez_outcome
enter(const struct said *s, struct bz_walk *w, const struct bz_fault *fault,
      const struct bz_hit *hit, const struct bz_loss *loss)
{
	void *scratch = bz_mm_page(s->mm, w, BZ_PAGE_SCRATCH, w->depth);
	struct bez_lost lost = {
		.addr = (void *)loss->x.start,
		.width = loss->x.width,
		.touched = (void *)loss->x.start,
		.region = hit->id,
		.time_ns = fault->taken_ns,
		.cause = BEZ_CAUSE_SAID,
		.tid = (int32_t)bz_walk_tid(w),
	};
	enum bz_lost_cover by = BZ_AS_IT_WAS;
	enum bez_outcome why = BEZ_OUTCOME_REFUSED_KIND;
	struct bz_lost_at at;
	int shared;

	if (bz_lost_take(loss->x, &at))
		return BEZ_OUTCOME_REFUSED_INVENTORY;
	/* no child in between: it would inherit a page that is empty */
	if (loss->memory.kind == BZ_MEMORY_ANON && !bz_gate_enter(s->mm, w))
		why = bz_mark(s->mm, loss->x);
	if (why == BEZ_OUTCOME_REFUSED_KIND) {
		why = bz_cover(loss->x, hit->share && !hit->share->disk,
			       scratch, bz_region_in, &shared);
		by = shared ? BZ_COVERED_SHARED : BZ_COVERED;
	}
	if (why == BEZ_OUTCOME_NONE)
		bz_lost_enter(&at, &lost, by);
	else
		bz_lost_give_up(&at);
	/* who tells of losses may have waited for this one, be it none */
	bz_ring(s->mm);
	return why;
}

static int to_errno(enum bez_outcome did)
{
	switch (did) {
	case BEZ_OUTCOME_NONE:
		return 0;
	case BEZ_OUTCOME_REFUSED_INVENTORY:
		return atomic_load(&bz_inventory.slots) ==
		       BZ_LOST_CHUNK * BZ_LOST_CHUNKS ? -ENOSPC : -ENOMEM;
	case BEZ_OUTCOME_REFUSED_MAPS:
		return -ENOMEM;
	case BEZ_OUTCOME_REFUSED_KIND:
	case BEZ_OUTCOME_REFUSED_ATTRS:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

/* 0, a negative errno, or 1: look again. Ends the reading and the claim. */
static int lose_claimed(const struct said *s, struct bz_walk *w,
			const struct bz_fault *fault, struct bz_hit *hit,
			struct bz_loss *loss)
{
	struct bz_result result = { 0 };
	enum bez_outcome why = check(s, w, hit, loss);
	uint64_t seq;

	if (why == BEZ_OUTCOME_ASKED_AGAIN) {
		bz_walk_done(w, 1);
		return 1;
	}
	if (why == BEZ_OUTCOME_NONE)
		why = enter(s, w, fault, hit, loss);
	result.outcome = why ? BEZ_OUTCOME_LEFT : BEZ_OUTCOME_DEGRADED;
	result.action = why ? BEZ_ACTION_NONE : BEZ_ACTION_DEGRADE;
	result.why = (uint16_t)why;
	seq = bz_record(s->mm, w, fault, loss->x.width, hit, &result);
	bz_walk_done(w, 0);		/* nobody waits for the writing */
	bz_record_write(s->mm, w, fault, loss->x.width, hit, &result, seq);
	bz_walk_done(w, 1);
	return to_errno(why);
}

static int lose(struct bz_walk *w, void *arg)
{
	struct said *s = arg;
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = s->start,
		.cause = BEZ_CAUSE_SAID,
	};
	struct bz_conflict conflict;
	struct bz_loss loss;
	struct bz_hit hit;
	uint32_t rounds;
	int r;

	for (rounds = 0; rounds < CLAIM_ROUNDS; rounds++) {
		bz_region_mark(w);
		r = look(s, w, &fault, &hit, &loss);
		if (r) {
			bz_walk_done(w, 1);
			return r;
		}
		s->next = loss.x.start + loss.x.width;
		if (loss.known) {
			bz_walk_done(w, 1);
			return 0;
		}
		switch (bz_claim(s->mm, w, loss.x, &conflict)) {
		case BZ_CLAIMED:
			r = lose_claimed(s, w, &fault, &hit, &loss);
			if (r <= 0)
				return r;
			continue;
		case BZ_CLAIM_OWN:
			bz_walk_done(w, 1);
			return -EDEADLK;
		case BZ_CLAIM_TAKEN:
		default:
			break;
		}
		bz_walk_unmark(w);
		bz_claim_wait(s->mm, conflict, loss.x, bz_core.claim_wait_ns,
			      1);
	}
	return -EAGAIN;
}

int bz_lose(struct bz_mm *mm, uint64_t start, uint64_t end, uint64_t *ret_next)
{
	struct said s = { .mm = mm, .start = start, .end = end };
	int r = bz_from_outside(mm, lose, &s);

	if (!r)
		*ret_next = s.next;
	return r;
}
