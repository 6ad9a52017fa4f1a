/* SPDX-License-Identifier: MIT */
/* The worker's half: compare, and tell the difference. */
#include "hunt/quarantine.h"

#include <errno.h>

#include <bezoar/bezoar.h>

#include "core/core.h"
#include "core/lock.h"
#include "hunt/quarantine_table.h"
#include "sys/sys.h"
#include "worker/hooks.h"

/* Removed, by itself or by another: no word more. */
static int alive(const struct bz_quarantine *q)
{
	return atomic_load(&q->state) == BZ_QUARANTINE_READY;
}

static int is_region(bez_region_t region)
{
	struct bez_region_info info = { .size = sizeof(info) };

	return !region || !bez_region_info(region, &info);
}

/* What was told is not so any more. With its region it went without a word: that
 * memory is the allocator's own business again. */
static int back(struct bz_quarantine *q, struct bz_told *told)
{
	struct bez_quarantined what = told->what;

	told->seq = 0;
	if (!is_region(what.region))
		return 0;
	what.kind = BEZ_QUARANTINE_BACK;
	q->fn(&what, q->arg);
	return 1;
}

static int tell(struct bz_quarantine *q, struct bz_told *told, uint64_t seq,
		const struct bez_quarantined *what)
{
	int did = 0;

	if (told->seq)
		did = back(q, told);
	if (!alive(q))
		return did;
	told->seq = seq;
	told->what = *what;
	q->fn(what, q->arg);
	return 1;
}

/* --------------------------------------------------------------------- the lost */

static int losses_back(struct bz_quarantine *q)
{
	uint32_t i;
	int did = 0;

	for (i = 0; i < q->top && alive(q); i++)
		if (q->told[i].seq && !bz_lost_is(i, q->told[i].seq))
			did |= back(q, &q->told[i]);
	return did;
}

static void drop(uint64_t addr, uint64_t len)
{
	struct bz_lock *lock = bz_hooks_lock();

	if (bz_lock(lock))
		return;
	bz_retiring_drop(addr, len);
	bz_unlock(lock);
}

/* It is lost, so nobody waits for it to be. */
static void not_retiring(struct bz_quarantine *q, const struct bez_lost *lost)
{
	uint32_t i;

	drop((uint64_t)lost->addr, lost->width);
	for (i = BZ_TOLD_LOST; i < BZ_TOLD; i++) {
		struct bz_told *told = &q->told[i];
		uint64_t at = (uint64_t)told->what.addr - (uint64_t)lost->addr;

		if (at < lost->width && told->what.len <= lost->width - at)
			told->seq = 0;
	}
}

/* *@all: nothing was left out. */
static int losses(struct bz_quarantine *q, int *all)
{
	struct bez_lost lost;
	uint32_t slot;
	int did = 0, r = 0;

	while (alive(q) &&
	       (r = bz_lost_after(q->after, &slot, &lost)) > 0) {
		struct bez_quarantined what = {
			.kind = BEZ_QUARANTINE_LOST,
			.cause = lost.cause,
			.addr = lost.addr,
			.len = lost.width,
			.region = lost.region,
			.seq = lost.seq,
		};

		q->after = lost.seq;
		not_retiring(q, &lost);
		if (!bz_quarantine_wants(q, (uint64_t)lost.addr, lost.width))
			continue;
		/* it may be lost once more, in another slot: that it was back
		 * comes first */
		did |= losses_back(q);
		if (!alive(q))
			break;
		if (slot >= q->top)
			q->top = slot + 1;
		did |= tell(q, &q->told[slot], lost.seq, &what);
	}
	*all = r == 0;
	return did;
}

/* ------------------------------------------------------------------ the retiring */

/* Copy it: 1, or 0 if it is free, or another's by now. */
static int retiring(uint32_t i, uint64_t *ret_seq, struct bez_quarantined *ret)
{
	struct bz_retiring *r = &bz_quarantines.retiring[i];

	*ret_seq = atomic_load(&r->seq);
	*ret = (struct bez_quarantined){
		.kind = BEZ_QUARANTINE_RETIRING,
		.cause = atomic_load(&r->cause),
		.addr = (void *)atomic_load(&r->addr),
		.len = atomic_load(&r->len),
		.region = atomic_load(&r->region),
	};
	return *ret_seq && atomic_load(&r->seq) == *ret_seq;
}

static int retirings(struct bz_quarantine *q)
{
	struct bez_quarantined what;
	uint64_t seq;
	uint32_t i;
	int did = 0;

	for (i = 0; i < BEZ_RETIRING_MAX && alive(q); i++) {
		struct bz_told *told = &q->told[BZ_TOLD_LOST + i];
		int there = retiring(i, &seq, &what);

		if (there && !is_region(what.region)) {
			drop((uint64_t)what.addr, what.len);
			there = 0;
		}
		if (there && seq == told->seq)
			continue;
		if (there && bz_quarantine_wants(q, (uint64_t)what.addr,
						 what.len))
			did |= tell(q, told, seq, &what);
		else if (told->seq)
			did |= back(q, told);
	}
	return did;
}

/* ---------------------------------------------------------------------- each one */

static int visit(struct bz_quarantine *q)
{
	uint64_t generation, changes;
	int did, all;

	if (!alive(q))
		return 0;
	generation = bez_lost_generation();
	changes = atomic_load(&bz_quarantines.changes);
	if (generation == q->seen[0] && changes == q->seen[1])
		return 0;
	did = losses_back(q) | losses(q, &all) | retirings(q);
	if (all) {
		q->seen[0] = generation;
		q->seen[1] = changes;
	}
	return did;
}

static void out(struct bz_quarantine *q)
{
	struct bz_lock *lock = bz_hooks_lock();
	uint32_t itself = atomic_load(&q->removes_itself);

	atomic_store(&bz_quarantines.in, 0);
	atomic_fetch_add(&bz_quarantines.outs, 1);
	bz_futex_wake(&bz_quarantines.outs);
	if (!itself)
		return;
	bz_lock_take(lock);
	bz_quarantine_free(q);
	bz_lock_give(lock);
}

int bz_quarantine_tell(void)
{
	uint32_t i;
	int did = 0;

	if (!atomic_load(&bz_quarantines.count))
		return 0;
	for (i = 0; i < BEZ_QUARANTINES_MAX; i++) {
		struct bz_quarantine *q = &bz_quarantines.one[i];

		if (!alive(q))
			continue;
		/* before the state is looked at once more: pairs with
		 * bez_quarantine_remove() */
		atomic_store(&bz_quarantines.in, i + 1);
		did |= visit(q);
		out(q);
	}
	return did;
}
