/* SPDX-License-Identifier: MIT */
/*
 * The ladder: what is done about one extent, action by action, until one of them is
 * the outcome; and what is written down of that.
 */
#include <errno.h>
#include <string.h>

#include "core/core.h"
#include "fault/fault.h"
#include "ladder.h"
#include "record/record.h"
#include "region/lost.h"
#include "region/region.h"
#include "repair/repair.h"
#include "worker/hooks.h"

#define CLAIM_ROUNDS	3		/* at the top; nested: one */

int bz_learn(struct bz_mm *mm, struct bz_walk *w, uint64_t addr,
	     struct bz_hit *hit, struct bz_memory *ret_memory)
{
	void *scratch = bz_mm_page(mm, w, BZ_PAGE_SCRATCH, w->depth);
	uint64_t start, end;

	if (bz_memory_read(addr, scratch, ret_memory, &start, &end))
		return 0;
	if (hit->memory.kind != BZ_MEMORY_MIXED && start <= hit->start &&
	    end >= hit->end)
		bz_region_learn(hit, *ret_memory);
	return 1;
}

/*
 * What memory it is, and so how wide what was lost. Mostly the page's own width
 * says enough; the rest takes the kernel long to tell.
 */
static struct bz_memory memory_of(struct bz_mm *mm, struct bz_walk *w,
				  const struct bz_fault *fault,
				  struct bz_hit *hit)
{
	struct bz_memory memory = hit->memory;

	if (memory.kind == BZ_MEMORY_MIXED ||
	    (memory.kind == BZ_MEMORY_UNKNOWN &&
	     fault->lsb > bz_core.page_shift)) {
		memory.kind = BZ_MEMORY_UNKNOWN;
		bz_learn(mm, w, fault->addr, hit, &memory);
	}
	return memory;
}

/*
 * 1, 0, or -1 if nobody can say.
 *
 * Who had the claim before us may have put base pages where a huge one was: most
 * of what was lost then is not lost now. Or memory without a file where a
 * file's was: what is done to that would throw this away.
 */
static int is_as_found(struct bz_mm *mm, struct bz_walk *w,
		       const struct bz_fault *fault, struct bz_hit *hit,
		       const struct bz_loss *loss)
{
	struct bz_memory now = loss->memory;

	if (now.kind == BZ_MEMORY_UNKNOWN || !bz_region_is_mixed(hit))
		return 1;
	if (!bz_learn(mm, w, fault->addr, hit, &now))
		return -1;
	return now.kind == loss->memory.kind &&
	       now.shift == loss->memory.shift;
}

enum bez_outcome bz_claim_for(struct bz_mm *mm, struct bz_walk *w,
			      const struct bz_fault *fault, int outermost,
			      struct bz_hit *hit, struct bz_extent x)
{
	struct bz_conflict conflict;
	struct bz_lost_at at;
	enum bez_outcome did;

	switch (bz_claim(mm, w, x, &conflict)) {
	case BZ_CLAIMED:
		/* who had it before may have entered it as lost */
		return bz_lost_count() && bz_lost_find(fault->addr, &at) ?
		       BEZ_OUTCOME_ASKED_AGAIN : BEZ_OUTCOME_NONE;
	case BZ_CLAIM_OWN:
		return BEZ_OUTCOME_OWN_CLAIM;
	case BZ_CLAIM_TAKEN:
	default:
		break;
	}
	/* who has it may be waiting for the worker, which is us; and if it
	 * comes to nothing, there is a touch yet to come */
	if (fault->cause == BEZ_CAUSE_POISON_AO)
		return BEZ_OUTCOME_NOTED;
	/* it may take long, and nobody shall wait for us meanwhile */
	if (outermost)
		bz_walk_unmark(w);
	did = bz_claim_wait(mm, conflict, x, bz_core.claim_wait_ns,
			    w->depth > 1 ? 1 : CLAIM_ROUNDS) ?
	      BEZ_OUTCOME_CLAIM_TIMEOUT : BEZ_OUTCOME_WAITED;
	bz_region_mark(w);
	return bz_region_find(fault->addr, hit) ? BEZ_OUTCOME_ASKED_AGAIN : did;
}

/* The action REPLACE. Leaves the claim and the mark set and *hit valid, or
 * returns ASKED_AGAIN: the region was removed while we waited for another. */
static enum bez_outcome act_replace(struct bz_mm *mm, struct bz_walk *w,
				    const struct bz_fault *fault, int outermost,
				    struct bz_hit *hit, struct bz_loss *loss,
				    struct bz_result *result)
{
	enum bez_outcome why;

	if (bz_no_restart(fault, hit))
		return BEZ_OUTCOME_REFUSED_RESTART;
	why = bz_claim_for(mm, w, fault, outermost, hit, loss->x);
	if (why != BEZ_OUTCOME_NONE)
		return why;
	switch (is_as_found(mm, w, fault, hit, loss)) {
	case 1:
		return bz_replace(mm, w, fault, hit, loss, result);
	case 0:
		return BEZ_OUTCOME_ASKED_AGAIN;
	default:
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	}
}

/* The same, and once more if the memory is not what it was taken for. */
static enum bez_outcome replace(struct bz_mm *mm, struct bz_walk *w,
				const struct bz_fault *fault, int outermost,
				struct bz_hit *hit, struct bz_loss *loss,
				struct bz_result *result)
{
	enum bez_outcome did = act_replace(mm, w, fault, outermost, hit, loss,
					   result);

	if (did != BEZ_OUTCOME_REFUSED_KIND ||
	    loss->memory.kind != BZ_MEMORY_UNKNOWN ||
	    !bz_learn(mm, w, fault->addr, hit, &loss->memory))
		return did;
	bz_walk_done(w, 0);
	loss->x = bz_extent_of(fault, loss->memory);
	loss->again = 1;
	return act_replace(mm, w, fault, outermost, hit, loss, result);
}

/* Of the ladder: what DEFAULT is depends on who met the loss. */
static enum bez_outcome at_the_end(const struct bz_fault *fault)
{
	switch (fault->cause) {
	case BEZ_CAUSE_POISON_AO:	/* wait until it is touched */
		return BEZ_OUTCOME_NOTED;
	case BEZ_CAUSE_RECOVER:
		return BEZ_OUTCOME_LEFT;
	default:
		return fault->fix ? BEZ_OUTCOME_COPY_SHORT :
				    BEZ_OUTCOME_DEFAULT;
	}
}

/* Everything but the end itself. An early notice is none: the page may never be
 * touched. */
static enum bez_outcome shut_down(struct bz_mm *mm, struct bz_walk *w,
				  const struct bz_fault *fault,
				  const struct bz_hit *hit, uint64_t width,
				  struct bz_result *result)
{
	enum bez_outcome did = bz_shutdown_begin(mm, w);
	uint64_t seq;

	if (did != BEZ_OUTCOME_SHUTDOWN_BEGUN)
		return did;
	bz_walk_done(w, 0);		/* hooks may touch the page */
	result->outcome = (uint16_t)did;
	seq = bz_record(mm, w, fault, width, hit, result);
	bz_record_write(mm, w, fault, width, hit, result, seq);
	return bz_hooks_run(mm, seq);
}

static int is_over(enum bez_outcome outcome)
{
	return bz_goes_on(outcome) || outcome == BEZ_OUTCOME_DEGRADED ||
	       bz_is_end(outcome);
}

/* What no signal has given a width, and no action had to know better. */
static void measure(struct bz_mm *mm, struct bz_walk *w,
		    const struct bz_fault *fault, struct bz_hit *hit,
		    struct bz_loss *loss)
{
	if (fault->lsb || loss->known ||
	    loss->memory.kind != BZ_MEMORY_UNKNOWN)
		return;
	if (bz_learn(mm, w, fault->addr, hit, &loss->memory))
		loss->x = bz_extent_of(fault, loss->memory);
}

/* Who goes on after it has the claim of what it was taken for. */
static enum bez_outcome measure_and_end(struct bz_mm *mm, struct bz_walk *w,
					const struct bz_fault *fault,
					struct bz_hit *hit, struct bz_loss *loss,
					struct bz_result *result)
{
	struct bz_loss measured = *loss;
	enum bez_outcome did;

	measure(mm, w, fault, hit, &measured);
	did = shut_down(mm, w, fault, hit, measured.x.width, result);
	if (is_over(did))
		*loss = measured;
	return did;
}

/* Each action in turn. DEFAULT is at the end, named or not. */
static void climb(struct bz_mm *mm, struct bz_walk *w,
		  const struct bz_fault *fault, int outermost,
		  struct bz_hit *hit, struct bz_loss *loss,
		  struct bz_result *result)
{
	enum bez_outcome did;
	uint32_t i;

	for (i = 0; i < sizeof(hit->actions); i++) {
		result->action = hit->actions[i];
		switch (hit->actions[i]) {
		case BEZ_ACTION_REPLACE:
			if (loss->known)	/* it stays lost */
				continue;
			did = replace(mm, w, fault, outermost, hit, loss,
				      result);
			break;
		case BEZ_ACTION_DEGRADE:
			did = bz_degrade(mm, w, fault, outermost, hit, loss,
					 result);
			break;
		case BEZ_ACTION_SHUTDOWN:
			if (fault->cause == BEZ_CAUSE_POISON_AO)
				continue;
			did = measure_and_end(mm, w, fault, hit, loss, result);
			break;
		default:
			continue;
		}
		result->outcome = (uint16_t)did;
		if (is_over(did))
			return;
		if (result->why)
			bz_count(mm, w, result->why);
		result->why = (uint16_t)did;
	}
	measure(mm, w, fault, hit, loss);
	result->outcome = (uint16_t)at_the_end(fault);
	result->action = result->outcome == BEZ_OUTCOME_DEFAULT ||
			 result->outcome == BEZ_OUTCOME_NOTED ?
			 BEZ_ACTION_DEFAULT : BEZ_ACTION_NONE;
}

/* The caller reads the region table. */
static int walk_extent(struct bz_mm *mm, struct bz_walk *w,
		       const struct bz_fault *fault, int outermost,
		       struct bz_result *result)
{
	struct bz_lost_at at;
	struct bz_loss loss;
	struct bz_hit hit;
	uint64_t seq;

	if (bz_region_find(fault->addr, &hit))
		return -ENOENT;
	loss.again = 0;
	loss.known = bz_lost_count() && bz_lost_find(fault->addr, &at);
	result->was_lost = (uint16_t)loss.known;
	if (loss.known) {
		loss.memory = hit.memory;
		loss.x = at.x;
	} else {
		loss.memory = memory_of(mm, w, fault, &hit);
		loss.x = bz_extent_of(fault, loss.memory);
	}
	result->frame = bz_record_frame(mm, fault);
	climb(mm, w, fault, outermost, &hit, &loss, result);
	if (result->outcome == BEZ_OUTCOME_ASKED_AGAIN) {
		bz_walk_done(w, 0);
		return -EAGAIN;
	}
	bz_region_count(&hit, result, fault->cause);
	seq = bz_record(mm, w, fault, loss.x.width, &hit, result);
	bz_walk_done(w, 0);		/* nobody waits for the writing */
	bz_record_write(mm, w, fault, loss.x.width, &hit, result, seq);
	if (bz_is_end(result->outcome) && fault->cause == BEZ_CAUSE_RECOVER)
		bz_shutdown_end(fault->addr, 0, NULL, NULL);
	return bz_goes_on(result->outcome) ? 0 : -EFAULT;
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
	uint64_t seq, width;

	/* others are about no region. Nested too deep, it may be the table that
	 * is lost: then there is one more fault, and that one does not look */
	found = (fault->cause == BEZ_CAUSE_POISON_AO ||
		 (outcome == BEZ_OUTCOME_NESTED && w->depth == BZ_DEPTH + 1)) &&
		!bz_region_find(fault->addr, &hit);
	width = found ? bz_extent_of(fault, hit.memory).width : 0;
	result.frame = bz_record_frame(mm, fault);
	seq = bz_record(mm, w, fault, width, found ? &hit : NULL, &result);
	bz_record_write(mm, w, fault, width, found ? &hit : NULL, &result,
			seq);
	if (outermost)
		bz_walk_unmark(w);
}
