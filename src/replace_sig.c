/* SPDX-License-Identifier: MIT */
/*
 * The action REPLACE: where source/ and repair/ meet. The content is built first,
 * as that may take long; then it is asked whether the page is still lost; then it
 * is put in place. Shared memory is locked first, as others may be at it.
 */
#include "core/core.h"
#include "core/gate.h"
#include "core/guard.h"
#include "ladder.h"
#include "region/region.h"
#include "repair/repair.h"
#include "repair/share.h"
#include "source/source.h"

#include <bezoar/shared.h>
#include <string.h>

#define SHARE_ROUNDS	3		/* of bz_core.claim_wait_ns */

/* One replacement under way. */
struct job {
	struct bz_mm *mm;
	struct bz_walk *walk;
	const struct bz_fault *fault;
	struct bz_hit *hit;
	struct bz_extent x;
	struct bz_memory memory;
	struct bz_result *result;
	void *stage;			/* where the content is built */
	struct bz_content content;
	uint8_t mapped;			/* bad, and can be read all the same */
	uint8_t detach;			/* its file does not have it any more */
	uint8_t cut;			/* it ends before that */
	uint8_t forking;		/* another thread has been, for long */
	uint8_t copied;			/* nothing is used where it lies */
	uint8_t again;			/* the second try for this fault */
};

/* -------------------------------------------------------------- the content */

static int is_wide(const struct job *j)
{
	return j->x.width > bz_core.page;
}

/*
 * Used from where it lies, it can turn out to be unreadable when the place is empty
 * already; where the kernel can not poison that again, access to it is taken, and
 * then nobody can tell it from what the program has closed.
 */
static int may_fail_late(const struct job *j)
{
	return !j->copied && atomic_load_explicit(&j->mm->uffd_closes,
						  memory_order_relaxed);
}

/* Not where it might have to be read by us after all, to make base pages of it.
 * The kernel is asked about it before anything is emptied. */
static void *in_place(const struct job *j)
{
	void *ready = bz_source_in_place(j->hit, j->x);
	struct bz_extent there = { (uint64_t)ready, j->x.width };

	if (!ready || (j->hit->flags & BEZ_POLICY_BASE_PAGES) ||
	    !bz_probe_present(there))
		return NULL;
	return ready;
}

/*
 * To copy a huge page twice costs more than everything else together, so what lies
 * ready in a mirror is used from there. If it turns out that it cannot be read (it
 * is lost itself), it is built after all, which repairs it, or asks the next.
 */
static enum bez_outcome build(struct job *j, int salvage, int may_stay)
{
	void *ready = is_wide(j) && may_fail_late(j) ? in_place(j) : NULL;
	enum bez_outcome why;

	j->stage = NULL;
	if (ready) {
		j->content = (struct bz_content){ .from = ready,
						  .in_place = 1 };
		j->result->source = BEZ_SOURCE_MIRROR;
		return BEZ_OUTCOME_NONE;
	}
	j->stage = is_wide(j) ? bz_stage_get(j->x.width, bz_region_in) :
		   bz_mm_page(j->mm, j->walk, BZ_PAGE_STAGE, j->walk->depth);
	if (!j->stage)
		return BEZ_OUTCOME_REFUSED_NOMEM;
	j->content = (struct bz_content){ .from = j->stage,
					  .salvage = (uint8_t)salvage,
					  .in_place = may_stay &&
						      may_fail_late(j) };
	why = bz_source_fill(j->mm, j->walk, j->hit, j->x, j->fault->taken_ns,
			     &j->content);
	j->result->source = j->content.kind;
	return why;
}

/* It may have been a secret. What lies in a mirror stays. */
static void wipe(struct job *j)
{
	if (is_wide(j)) {
		if (j->stage)
			bz_stage_put(j->stage, j->x.width);
	} else if (!j->content.in_place) {
		memset(j->content.from, 0, j->x.width);
	}
}

static int must_copy(struct job *j, enum bez_outcome why)
{
	if (why != BEZ_OUTCOME_SOURCE_LOST || !j->content.in_place)
		return 0;
	j->copied = 1;
	j->again = 1;
	return 1;
}

/* Again and again: then it is no use. */
static int loops(struct job *j)
{
	return !j->again &&
	       bz_repeats(j->mm, j->x, j->fault->taken_ns,
			  j->hit->max_repeats);
}

static enum bez_outcome already_good(struct job *j)
{
	if (bz_good_again(j->mm, j->x, j->fault->taken_ns))
		return BEZ_OUTCOME_LOOPING;
	/* of a page that stays mapped it has to be known what it is */
	if (j->memory.kind == BZ_MEMORY_UNKNOWN &&
	    j->fault->cause == BEZ_CAUSE_POISON_AR &&
	    j->fault->addr == j->x.start)
		bz_learn(j->mm, j->walk, j->fault->addr, j->hit, &j->memory);
	bz_go_on_over(j->mm, j->walk, j->fault, j->x,
		      bz_others_mend(j->hit, j->memory));
	return BEZ_OUTCOME_ALREADY_GOOD;
}

/* ----------------------------------------------------------- private memory */

/* The file has lost it, or its disk; as far as the policy lets it, the page
 * becomes memory without a file. */
static enum bez_outcome gone_from_file(struct job *j)
{
	void *scratch = bz_mm_page(j->mm, j->walk, BZ_PAGE_SCRATCH,
				   j->walk->depth);
	int cut = j->hit->share && j->hit->share->fd >= 0 ? j->cut :
		  bz_memory_is_cut(j->x.start, scratch);

	if (cut != 1 && bz_probe(j->x, 1) != BZ_PROBE_FAULT)
		return BEZ_OUTCOME_ASKED_AGAIN;	/* it was but for a moment */
	if (cut != 1 && is_wide(j))		/* the pool is empty */
		return BEZ_OUTCOME_REFUSED_HUGE;
	if (cut >= 0)
		j->result->cause = cut ? BEZ_CAUSE_CUT : BEZ_CAUSE_UNREADABLE;
	if (j->memory.kind == BZ_MEMORY_SHARED &&
	    !(j->hit->flags & BEZ_POLICY_DETACH))
		return BEZ_OUTCOME_REFUSED_DETACH;
	j->detach = 1;
	return BEZ_OUTCOME_NONE;
}

/*
 * Is there still something to do? Whoever held the claim before us may have
 * replaced the page since we faulted, and the program may have written to it
 * since. NONE: it is lost.
 */
static enum bez_outcome still_lost(struct job *j)
{
	int is_file = j->memory.kind == BZ_MEMORY_PRIVATE ||
		      j->memory.kind == BZ_MEMORY_SHARED;

	switch (bz_probe(j->x, j->memory.kind == BZ_MEMORY_ANON)) {
	case BZ_PROBE_GOOD:
		return j->mapped ? BEZ_OUTCOME_NONE : already_good(j);
	case BZ_PROBE_LOST:
		return BEZ_OUTCOME_NONE;
	case BZ_PROBE_UNMAPPED:
		/* it went since: run again, and it comes in by the door */
		return bz_core.flags & BEZ_START_SEGV_DOOR ?
		       BEZ_OUTCOME_ASKED_AGAIN : BEZ_OUTCOME_REFUSED_UNMAPPED;
	case BZ_PROBE_FAULT:
		if (is_file)
			return gone_from_file(j);
		return is_wide(j) ? BEZ_OUTCOME_REFUSED_HUGE :
		       bz_watched(j->mm, j->fault, j->x, j->memory);
	case BZ_PROBE_OTHER:
	default:
		return BEZ_OUTCOME_REFUSED_KIND;
	}
}

static int place(void *arg)
{
	struct job *j = arg;
	struct bz_placing p = {
		.x = j->x,
		.taken = bz_region_in,
		.stage = j->content.from,
		.scratch = bz_mm_page(j->mm, j->walk, BZ_PAGE_SCRATCH,
				      j->walk->depth),
		.memory = j->memory,
		.mapped = j->mapped,
		.fenced = j->hit->share && !j->hit->share->disk,
		.base_pages = (j->hit->flags & BEZ_POLICY_BASE_PAGES) != 0,
		.detach = j->detach,
		.forking = j->forking,
		.in_place = j->content.in_place,
	};

	return (int)bz_place(j->mm, &p);
}

static enum bez_outcome put(struct job *j)
{
	static const struct bz_memory mixed = { .kind = BZ_MEMORY_MIXED };
	int r;

	if (loops(j))
		return BEZ_OUTCOME_LOOPING;
	if (!is_wide(j) && (j->memory.kind == BZ_MEMORY_UNKNOWN ||
			    j->memory.kind == BZ_MEMORY_ANON))
		r = place(j);
	else		/* a file may be cut while a page of it is copied; and a
			 * mirror be lost while a huge page is */
		r = bz_guarded(j->walk, place, j);
	if (r == BZ_GUARD_LOST)
		r = BEZ_OUTCOME_REFUSED_FILE;
	if (r == BEZ_OUTCOME_NONE &&
	    (j->detach ||
	     (is_wide(j) && (j->hit->flags & BEZ_POLICY_BASE_PAGES))))
		bz_region_learn(j->hit, mixed);
	return (enum bez_outcome)r;
}

/* Is it perhaps no memory error? */
static int may_be_file(const struct bz_fault *fault)
{
	return fault->cause == BEZ_CAUSE_ADRERR ||
	       fault->cause == BEZ_CAUSE_RECOVER;
}

/* No bytes, but at least it can be said what it was. */
static enum bez_outcome name_it(struct job *j, enum bez_outcome why)
{
	if (!may_be_file(j->fault) ||
	    bz_probe(j->x, 0) != BZ_PROBE_FAULT)
		return why;
	if (j->memory.kind == BZ_MEMORY_UNKNOWN)
		return BEZ_OUTCOME_REFUSED_KIND;
	if (j->memory.kind != BZ_MEMORY_ANON)
		gone_from_file(j);
	return why;
}

/* The gate may make us wait, so it comes before the look. */
static enum bez_outcome look_and_put(struct job *j, int late)
{
	enum bez_outcome why;

	j->forking = (late ? bz_gate_enter_late(j->mm, j->walk) :
			     bz_gate_enter(j->mm, j->walk)) != 0;
	why = still_lost(j);
	return why == BEZ_OUTCOME_NONE ? put(j) : why;
}

/* What mremap(2) cannot make again, as a file that has no name, has to wait for a
 * fork that takes long. */
static int must_wait(const struct job *j, enum bez_outcome why)
{
	return j->forking && (why == BEZ_OUTCOME_REFUSED_FILE ||
			      why == BEZ_OUTCOME_REFUSED_ATTRS);
}

static enum bez_outcome replace_private(struct job *j)
{
	enum bez_outcome why;

	do {
		why = build(j, 0, 1);
		if (why != BEZ_OUTCOME_NONE) {
			why = name_it(j, why);
		} else {
			why = look_and_put(j, 0);
			if (must_wait(j, why)) {
				j->again = 1;
				why = look_and_put(j, 1);
			}
		}
		wipe(j);
	} while (must_copy(j, why));
	return why;
}

/* ---------------------------------------------------- what is not there at all */

static enum bez_outcome look_into_hole(struct job *j)
{
	switch (bz_probe_hole(j->x)) {
	case BZ_PROBE_GOOD:
		return already_good(j);
	case BZ_PROBE_LOST:
	case BZ_PROBE_UNMAPPED:
		return BEZ_OUTCOME_NONE;
	default:
		return BEZ_OUTCOME_REFUSED_KIND;
	}
}

static enum bez_outcome put_into_hole(struct job *j)
{
	if (bz_probe_hole(j->x) != BZ_PROBE_UNMAPPED)
		return put(j);
	if (loops(j))
		return BEZ_OUTCOME_LOOPING;
	return bz_hole_place(j->mm, j->walk, j->x, j->hit, j->content.from,
			     bz_mm_page(j->mm, j->walk, BZ_PAGE_SCRATCH,
					j->walk->depth));
}

/* SIGSEGV: a page of the region is not mapped any more. No source need be asked
 * for what the program has closed itself. */
static enum bez_outcome replace_hole(struct job *j)
{
	enum bez_outcome why = look_into_hole(j);

	if (why != BEZ_OUTCOME_NONE)
		return why;
	why = build(j, 0, 0);
	if (why == BEZ_OUTCOME_NONE) {
		j->forking = bz_gate_enter(j->mm, j->walk) != 0;
		why = look_into_hole(j);
	}
	if (why == BEZ_OUTCOME_NONE)
		why = put_into_hole(j);
	wipe(j);
	return why;
}

/* ------------------------------------------------------------ shared memory */

static enum bez_outcome refill(struct job *j, struct bz_share_claim *claim,
			       int lost, int salvage)
{
	enum bez_outcome why;

	do {
		why = build(j, salvage && !claim->share->disk, 0);
		if (why == BEZ_OUTCOME_NONE && loops(j))
			why = BEZ_OUTCOME_LOOPING;
		if (why == BEZ_OUTCOME_NONE) {
			/* A child finds the hole behind its own fence, and waits
			 * like everybody else. Handlers of fork(2) that run
			 * there before ours would not: so it is kept out, but
			 * for one that takes too long. */
			bz_gate_enter(j->mm, j->walk);
			why = bz_share_put(claim, j->content.from, lost,
					   j->content.own_file);
		}
		wipe(j);
		/* what could be read of the bad page has been punched out */
		lost = salvage = 0;
	} while (must_copy(j, why));
	return why;
}

static enum bez_outcome by_look(struct job *j, struct bz_share_claim *claim)
{
	switch (bz_share_look(claim)) {
	case BZ_LOOK_GOOD:
		/* a bad page of a huge one that could not be split: as long as
		 * that is so, it cannot be punched out of the file either, only
		 * be zeroed there */
		return j->mapped ? BEZ_OUTCOME_REFUSED_KIND : already_good(j);
	case BZ_LOOK_LOST:
		return refill(j, claim, 1, 1);
	case BZ_LOOK_HIDDEN:
		return refill(j, claim, 1, 0);
	case BZ_LOOK_HOLE:
		j->result->cause = BEZ_CAUSE_HOLE;
		return refill(j, claim, 0, 0);
	case BZ_LOOK_CUT:
		j->cut = 1;
		j->detach = 1;
		return BEZ_OUTCOME_NONE;
	case BZ_LOOK_UNREADABLE:
		j->detach = 1;
		return BEZ_OUTCOME_NONE;
	case BZ_LOOK_UNMAPPED:
		return BEZ_OUTCOME_REFUSED_UNMAPPED;
	case BZ_LOOK_OTHER:
	default:
		return BEZ_OUTCOME_REFUSED_KIND;
	}
}

static enum bez_outcome replace_shared(struct job *j)
{
	uint64_t patience = SHARE_ROUNDS * bz_core.claim_wait_ns;
	uint32_t i;
	struct bz_share_claim claim;
	enum bez_outcome why;

	/* who has the lock may wait for a source like ours */
	for (i = 0; i < j->hit->sources; i++)
		if (j->hit->source[i].kind == BEZ_SOURCE_DEFERRED)
			patience = bz_after(patience,
					    j->hit->source[i].deadline_ns);
	why = bz_share_lock(j->mm, j->walk, j->hit->share, j->x,
			    bz_after(j->fault->taken_ns, patience), &claim);
	if (why != BEZ_OUTCOME_NONE)
		return why;
	why = by_look(j, &claim);
	bz_share_unlock(&claim);
	if (why == BEZ_OUTCOME_REFUSED_DETACH)
		j->cut = 1;
	else if (!j->detach)
		return why;
	/* the file is out of it */
	j->detach = 0;
	j->again = 1;
	return replace_private(j);
}

/* Nobody said who shares it. What a file has lost can still become memory of
 * this process alone; and another thread may have done that since. */
static enum bez_outcome replace_alone(struct job *j)
{
	switch (may_be_file(j->fault) ? bz_probe(j->x, 0) : BZ_PROBE_OTHER) {
	case BZ_PROBE_FAULT:
		return replace_private(j);
	case BZ_PROBE_GOOD:
		return already_good(j);
	default:
		return BEZ_OUTCOME_REFUSED_SHARED;
	}
}

static enum bez_outcome put_there(const struct job *j, enum bez_outcome why)
{
	if (why != BEZ_OUTCOME_NONE)
		return why;
	bz_mended(j->mm, j->x);
	return BEZ_OUTCOME_REPLACED;
}

enum bez_outcome bz_replace(struct bz_mm *mm, struct bz_walk *w,
			    const struct bz_fault *fault, struct bz_hit *hit,
			    const struct bz_loss *loss,
			    struct bz_result *result)
{
	struct job j = {
		.mm = mm,
		.walk = w,
		.fault = fault,
		.hit = hit,
		.x = loss->x,
		.memory = loss->memory,
		.result = result,
		/* a huge page that could not be split is bad and mapped all the
		 * same, which only its first report shows */
		.mapped = bz_bad_anyway(mm, w, fault, loss->x, bz_others_mend(hit, loss->memory)) != 0,
		.again = loss->again,
	};
	enum bez_outcome why;

	if (j.memory.kind == BZ_MEMORY_OTHER ||
	    (fault->cause == BEZ_CAUSE_SEGV && (hit->share || is_wide(&j))))
		return BEZ_OUTCOME_REFUSED_KIND;
	if (fault->cause == BEZ_CAUSE_SEGV) {
		why = replace_hole(&j);
		return put_there(&j, why);
	}
	/* of a huge page that the region has but a part of, nobody has the
	 * rest */
	if (j.x.start < hit->start || j.x.width > hit->end - j.x.start)
		return BEZ_OUTCOME_REFUSED_KIND;
	if (j.memory.kind != BZ_MEMORY_SHARED)
		why = replace_private(&j);
	else if (hit->share)
		why = replace_shared(&j);
	else
		why = replace_alone(&j);
	return put_there(&j, why);
}
