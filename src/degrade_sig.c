/* SPDX-License-Identifier: MIT */
/*
 * The action DEGRADE: where the inventory of region/ and the covers of repair/
 * meet. An extent is entered by who has claimed it, once it is sure that it is
 * lost and that it will stay closed; from then on nobody tries to replace it.
 * Who met it leaves by a jump, if the owner's relay does not carry it elsewhere; a
 * copy, bez_recover() and the worker have other ways to say so.
 */
#include <errno.h>

#include "core/core.h"
#include "core/guard.h"
#include "core/scope.h"
#include "fault/fault.h"
#include "ladder.h"
#include "region/lost.h"
#include "region/region.h"
#include "repair/repair.h"
#include "repair/share.h"
#include "worker/defer.h"

static void *scratch(struct bz_mm *mm, struct bz_walk *w)
{
	return bz_mm_page(mm, w, BZ_PAGE_SCRATCH, w->depth);
}

/* ----------------------------------------------------- into the inventory */

#define WAITS	3

/* Bad, and mapped all the same: a huge page that did not split, which only its
 * first report tells; unless somebody had it @meanwhile. That an instruction must
 * not run again is no reason: the page may have been replaced before we came to
 * claim it, and written to since. */
static int is_lost_anyway(struct bz_mm *mm, const struct bz_walk *w,
			  const struct bz_fault *fault,
			  const struct bz_hit *hit, struct bz_extent x,
			  struct bz_memory memory, int meanwhile)
{
	return !meanwhile && bz_bad_anyway(mm, w, fault, x,
					   bz_others_mend(hit, memory));
}

/*
 * Does the kernel's own entry keep it closed? In private anonymous memory. In a
 * file's mapping it goes when the file is cut, and if that grows again there are
 * zeros; unless a fence makes a SIGBUS of those, and nobody else fills them.
 */
static int keeps_closed(const struct bz_hit *hit, struct bz_memory memory)
{
	if (hit->share)
		return !hit->share->disk &&
		       (hit->share->flags & BEZ_SHARED_EXCLUSIVE);
	return memory.kind == BZ_MEMORY_ANON;
}

/* NONE: it is lost, and *@ret_stays, if the kernel itself keeps it closed. */
static enum bez_outcome look(struct bz_mm *mm, const struct bz_walk *w,
			     const struct bz_fault *fault,
			     const struct bz_hit *hit, struct bz_extent x,
			     struct bz_memory memory, int meanwhile,
			     int *ret_stays)
{
	enum bz_probe probe = fault->cause == BEZ_CAUSE_SEGV ?
			      bz_probe_hole(x) :
			      bz_probe(x, memory.kind == BZ_MEMORY_ANON);

	*ret_stays = probe == BZ_PROBE_LOST && keeps_closed(hit, memory);
	/* a guard page; or the kernel does not say that it is lost */
	if (probe == BZ_PROBE_OTHER)
		return BEZ_OUTCOME_REFUSED_KIND;
	if (probe == BZ_PROBE_FAULT && memory.kind != BZ_MEMORY_PRIVATE &&
	    memory.kind != BZ_MEMORY_SHARED)
		return bz_watched(mm, fault, x, memory);
	if (probe == BZ_PROBE_UNMAPPED && fault->cause != BEZ_CAUSE_SEGV)
		return BEZ_OUTCOME_REFUSED_UNMAPPED;
	if (probe != BZ_PROBE_GOOD ||
	    is_lost_anyway(mm, w, fault, hit, x, memory, meanwhile))
		return BEZ_OUTCOME_NONE;
	if (bz_good_again(mm, x, fault->taken_ns))
		return BEZ_OUTCOME_LOOPING;
	bz_go_on_over(mm, w, fault, x, bz_others_mend(hit, memory));
	return BEZ_OUTCOME_ALREADY_GOOD;
}

/* Its claim may stand, of the action before; but that may have known less of
 * how wide it is. */
static enum bez_outcome claim(struct bz_mm *mm, struct bz_walk *w,
			      const struct bz_fault *fault, int outermost,
			      struct bz_hit *hit, struct bz_loss *loss)
{
	struct bz_extent was = loss->x;
	int has = atomic_load(&w->claim[w->depth - 1]) != 0;

	if (loss->memory.kind == BZ_MEMORY_UNKNOWN)
		bz_learn(mm, w, fault->addr, hit, &loss->memory);
	loss->x = bz_extent_of(fault, loss->memory);
	if (loss->x.start < hit->start ||
	    loss->x.width > hit->end - loss->x.start)
		return BEZ_OUTCOME_REFUSED_KIND;
	if (has && loss->x.width == was.width)
		return BEZ_OUTCOME_NONE;
	if (has)
		bz_walk_done(w, 0);
	return bz_claim_for(mm, w, fault, outermost, hit, loss->x);
}

static struct bez_lost describe(struct bz_walk *w, const struct bz_fault *fault,
				const struct bz_hit *hit,
				const struct bz_loss *loss,
				const struct bz_result *result)
{
	return (struct bez_lost){
		.addr = (void *)loss->x.start,
		.width = loss->x.width,
		.touched = (void *)fault->addr,
		.region = hit->id,
		.time_ns = fault->taken_ns,
		.cause = result->cause ? result->cause :
					 (uint16_t)fault->cause,
		.why = result->why,
		.tid = (int32_t)bz_walk_tid(w),
	};
}

static enum bez_outcome enter(struct bz_mm *mm, struct bz_walk *w,
			      const struct bz_fault *fault, int outermost,
			      struct bz_hit *hit, struct bz_loss *loss,
			      struct bz_result *result, struct bz_lost_at *at)
{
	enum bez_outcome why = claim(mm, w, fault, outermost, hit, loss);
	int stays, shared = 0, waits = 0;
	struct bez_lost lost;

	/* who has waited for another's repair runs again; but not this one */
	while (why == BEZ_OUTCOME_WAITED && bz_no_restart(fault, hit) &&
	       waits++ < WAITS)
		why = claim(mm, w, fault, outermost, hit, loss);
	if (why == BEZ_OUTCOME_NONE)
		why = look(mm, w, fault, hit, loss->x, loss->memory, waits,
			   &stays);
	if (why != BEZ_OUTCOME_NONE)
		return why;
	if (bz_lost_take(loss->x, at))
		return BEZ_OUTCOME_REFUSED_INVENTORY;
	if (!stays)
		why = bz_cover(loss->x, hit->share && !hit->share->disk,
			       scratch(mm, w), bz_region_in, &shared);
	if (why != BEZ_OUTCOME_NONE) {
		bz_lost_give_up(at);
		/* who tells of losses may have waited for this one */
		bz_ring(mm);
		return why;
	}
	lost = describe(w, fault, hit, loss, result);
	bz_lost_enter(at, &lost, stays ? BZ_AS_IT_WAS :
				 shared ? BZ_COVERED_SHARED : BZ_COVERED);
	bz_ring(mm);
	return BEZ_OUTCOME_NONE;
}

/* ------------------------------------------------------------- and out of it */

/* What the owner's relay is asked. */
struct asked {
	const struct bez_relay *relay;
	const struct bez_lost *lost;
	const void *context;
	int takes;
};

/* All of it may be lost itself: it is the owner's. */
static int ask(void *arg)
{
	struct asked *a = arg;

	a->takes = a->relay->relay(a->lost, a->context, a->relay->arg);
	return 0;
}

/*
 * Only the mark is held meanwhile, so that the region stays: nobody shall wait at
 * the page for code that is not ours, nor that code for itself.
 */
static __attribute__((noinline)) int
takes(struct bz_walk *w, const struct bz_fault *fault, const struct bz_hit *hit,
      const struct bez_lost *lost)
{
	struct asked a = { .relay = hit->relay, .lost = lost,
			   .context = fault->context };

	if (!hit->relay)
		return 0;
	bz_walk_done(w, 0);
	return !bz_guarded(w, ask, &a) && a.takes;
}

static enum bez_outcome leave(struct bz_walk *w, const struct bz_fault *fault,
			      const struct bz_hit *hit, struct bez_lost *lost,
			      struct bz_result *result)
{
	struct bz_extent x = { (uint64_t)lost->addr, lost->width };

	if (fault->cause == BEZ_CAUSE_RECOVER)
		return BEZ_OUTCOME_DEGRADED;
	if (fault->fix)
		return BEZ_OUTCOME_COPY_SHORT;
	/* inside a fault: that one has failed, and goes on */
	if (w->depth > 1)
		return BEZ_OUTCOME_REFUSED_NO_SCOPE;
	lost->touched = (void *)fault->addr;
	if (takes(w, fault, hit, lost))
		return BEZ_OUTCOME_RELAYED;
	if (fault->cause == BEZ_CAUSE_POISON_AO)
		return BEZ_OUTCOME_DEGRADED;
	result->scope = bz_scope_find(w, fault, x, lost);
	return result->scope ? BEZ_OUTCOME_UNWOUND :
			       BEZ_OUTCOME_REFUSED_NO_SCOPE;
}

static int runs_again(enum bez_outcome why)
{
	return why == BEZ_OUTCOME_WAITED || why == BEZ_OUTCOME_ALREADY_GOOD ||
	       why == BEZ_OUTCOME_ASKED_AGAIN;
}

enum bez_outcome bz_degrade(struct bz_mm *mm, struct bz_walk *w,
			    const struct bz_fault *fault, int outermost,
			    struct bz_hit *hit, struct bz_loss *loss,
			    struct bz_result *result)
{
	int never = bz_no_restart(fault, hit);
	enum bez_outcome why = BEZ_OUTCOME_ASKED_AGAIN;
	struct bez_lost lost;
	struct bz_lost_at at;

	if (!loss->known)
		why = enter(mm, w, fault, outermost, hit, loss, result, &at);
	else if (bz_lost_find(fault->addr, &at))
		why = BEZ_OUTCOME_NONE;
	/* it may have been cleared since */
	if (why == BEZ_OUTCOME_NONE && !bz_lost_read(&at, &lost))
		why = BEZ_OUTCOME_ASKED_AGAIN;
	if (why == BEZ_OUTCOME_NONE) {
		loss->known = 1;
		result->why = lost.why;
		return leave(w, fault, hit, &lost, result);
	}
	bz_walk_done(w, 0);		/* the next action claims anew */
	/* the region may be gone, and with it who wants that */
	if (!never || !runs_again(why) || bz_region_find(fault->addr, hit))
		return why;
	/* good by now, or entered by another: it leaves all the same */
	if (!bz_lost_find(fault->addr, &at) || !bz_lost_read(&at, &lost))
		lost = describe(w, fault, hit, loss, result);
	return leave(w, fault, hit, &lost, result);
}

/* ------------------------------------------------------------------- fork(2) */

/*
 * A child inherits entries for poison, but not those in mappings that it can read
 * from the file again. Memory that it was to find empty (MADV_WIPEONFORK) is
 * anew, and not to have (MADV_DONTFORK) none of its. The caller has the lock of
 * the regions.
 */
void bz_degrade_forked(struct bz_mm *mm)
{
	void *page = bz_mm_page(mm, &mm->walk[BZ_WALKS - 1], BZ_PAGE_SCRATCH,
				1);
	struct bz_lost_at at;
	uint32_t i = 0;

	while (bz_lost_walk(&i, &at)) {
		enum bz_probe probe;
		int shared;

		if (bz_lost_cover(&at) != BZ_AS_IT_WAS) {
			/* another thread had just opened it */
			if (bz_probe_present(at.x))
				bz_lost_remove(&at);
			continue;
		}
		probe = bz_probe(at.x, 0);
		if (probe == BZ_PROBE_LOST || probe == BZ_PROBE_UNMAPPED)
			continue;
		if (bz_cover(at.x, 1, page, bz_region_in, &shared) ==
		    BEZ_OUTCOME_NONE)
			bz_lost_set_cover(&at, shared ? BZ_COVERED_SHARED :
							BZ_COVERED);
		else if (probe == BZ_PROBE_GOOD)
			bz_lost_remove(&at);
	}
}
