/* SPDX-License-Identifier: MIT */
/* The half of those who register, and of those who know of what is retiring. */
#include "hunt/quarantine.h"

#include <errno.h>

#include <bezoar/bezoar.h>

#include "core/core.h"
#include "core/lock.h"
#include "core/own.h"
#include "core/sized.h"
#include "hunt/quarantine_table.h"
#include "sys/sys.h"
#include "worker/defer.h"
#include "worker/hooks.h"

#define REMOVE_PATIENCE_NS	10000000000u

struct bz_quarantines bz_quarantines;

static uint64_t ids, retirings;		/* drawn; under the lock */

/* ------------------------------------------------------------- for both halves */

static int overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a - b < b_len || b - a < a_len;
}

int bz_quarantine_wants(const struct bz_quarantine *q, uint64_t addr,
			uint64_t len)
{
	uint32_t i;

	for (i = 0; i < q->count; i++)
		if (overlap((uint64_t)q->ranges[i].addr, q->ranges[i].len,
			    addr, len))
			return 1;
	return !q->count;
}

void bz_quarantine_free(struct bz_quarantine *q)
{
	bz_own_drop(q->own);
	bz_munmap((uint64_t)q->told, q->map_size);
	atomic_fetch_sub(&bz_quarantines.count, 1);
	atomic_store(&q->state, BZ_QUARANTINE_FREE);
}

uint32_t bz_retiring_drop(uint64_t addr, uint64_t len)
{
	uint32_t i, dropped = 0;

	for (i = 0; i < BEZ_RETIRING_MAX; i++) {
		struct bz_retiring *r = &bz_quarantines.retiring[i];
		uint64_t at = atomic_load(&r->addr) - addr;

		if (!atomic_load(&r->seq) || at >= len ||
		    atomic_load(&r->len) > len - at)
			continue;
		atomic_store(&r->seq, 0);
		dropped++;
	}
	if (dropped)
		atomic_fetch_add(&bz_quarantines.changes, 1);
	return dropped;
}

/* The lock of who registers a hook does for these, too: held for moments. */
static int enter(struct bz_mm **ret_mm)
{
	int r;

	if (bz_inside())
		return -EDEADLK;
	r = bz_lock(bz_hooks_lock());
	if (r)
		return r;
	*ret_mm = atomic_load(&bz_core.mm);
	if (!*ret_mm)
		bz_unlock(bz_hooks_lock());
	return *ret_mm ? 0 : -ESRCH;
}

static void leave(struct bz_mm *mm)
{
	bz_unlock(bz_hooks_lock());
	bz_ring(mm);
}

/* ------------------------------------------------------------------- add, remove */

static int check(const struct bez_quarantine *user, struct bez_quarantine *ret)
{
	uint32_t i;
	int r;

	if (!user)
		return -EINVAL;
	r = bz_sized_in(ret, sizeof(*ret), user, user->size);
	if (r)
		return r;
	if (!ret->fn || (ret->count && !ret->ranges))
		return -EINVAL;
	for (i = 0; i < ret->count; i++)
		if (!ret->ranges[i].len || (uint64_t)ret->ranges[i].addr +
			    ret->ranges[i].len - 1 <
			    (uint64_t)ret->ranges[i].addr)
			return -EINVAL;
	return 0;
}

/* The lock is held. */
static int add(const struct bez_quarantine *from, bez_quarantine_t *ret)
{
	uint64_t told = BZ_TOLD * sizeof(struct bz_told), size;
	struct bz_quarantine *q = NULL;
	uint32_t i;
	long at;

	for (i = 0; !q && i < BEZ_QUARANTINES_MAX; i++)
		if (!atomic_load(&bz_quarantines.one[i].state))
			q = &bz_quarantines.one[i];
	if (!q)
		return -ENOSPC;
	size = told + from->count * sizeof(*from->ranges);
	at = bz_mmap(0, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (at < 0)
		return -ENOMEM;
	q->told = (void *)at;
	q->map_size = size;
	/* it has addresses of what is lost */
	q->own = bz_own_add(q->told, size);
	q->ranges = (void *)((uint64_t)at + told);
	for (i = 0; i < from->count; i++)
		q->ranges[i] = from->ranges[i];
	q->count = from->count;
	q->fn = from->fn;
	q->arg = from->arg;
	q->id = ++ids;
	atomic_store(&q->removes_itself, 0);
	q->top = 0;
	q->after = 0;
	q->seen[0] = q->seen[1] = UINT64_MAX;
	*ret = q->id;
	atomic_fetch_add(&bz_quarantines.count, 1);
	atomic_fetch_add(&bz_quarantines.changes, 1);
	atomic_store(&q->state, BZ_QUARANTINE_READY);
	return 0;
}

int bez_quarantine_add(const struct bez_quarantine *quarantine,
		       bez_quarantine_t *ret_quarantine)
{
	struct bez_quarantine from;
	struct bz_mm *mm;
	int r;

	if (!ret_quarantine)
		return -EINVAL;
	r = check(quarantine, &from);
	if (!r)
		r = enter(&mm);
	if (r)
		return r;
	r = bz_core.flags & BEZ_START_NO_WORKER ? -EINVAL :
						  add(&from, ret_quarantine);
	leave(mm);
	return r;
}

static struct bz_quarantine *by_id(uint64_t id)
{
	uint32_t i;

	for (i = 0; i < BEZ_QUARANTINES_MAX; i++)
		if (atomic_load(&bz_quarantines.one[i].state) &&
		    bz_quarantines.one[i].id == id)
			return &bz_quarantines.one[i];
	return NULL;
}

static uint32_t place(const struct bz_quarantine *q)
{
	return (uint32_t)(q - bz_quarantines.one) + 1;
}

static int wait_for_out(uint32_t in)
{
	uint64_t now = bz_now_ns(), end = bz_after(now, REMOVE_PATIENCE_NS);

	for (;;) {
		uint32_t outs = atomic_load(&bz_quarantines.outs);

		/* pairs with visit() */
		if (atomic_load(&bz_quarantines.in) != in)
			return 0;
		if (now >= end)
			return -EBUSY;
		bz_futex_wait(&bz_quarantines.outs, outs, end - now);
		now = bz_now_ns();
	}
}

int bez_quarantine_remove(bez_quarantine_t quarantine)
{
	struct bz_quarantine *q;
	struct bz_mm *mm;
	int r = enter(&mm), itself = 0, other = 0;

	if (r)
		return r;
	q = by_id(quarantine);
	/* in its function, which has not returned yet: the worker gives it back */
	other = q && atomic_load(&q->removes_itself) &&
		atomic_load(&mm->worker_tid) != bz_gettid();
	if (q && !atomic_load(&q->removes_itself)) {
		itself = atomic_load(&mm->worker_tid) == bz_gettid() &&
			 atomic_load(&bz_quarantines.in) == place(q);
		atomic_store(&q->removes_itself, (uint32_t)itself);
		atomic_store(&q->state, BZ_QUARANTINE_DYING);
	} else {
		r = -ENOENT;
	}
	leave(mm);
	if (other && wait_for_out(place(q)))
		return -EBUSY;
	if (r || itself)
		return r;
	r = wait_for_out(place(q));
	if (!r)
		r = enter(&mm);
	if (r)
		return r;
	/* two threads may have waited for the same */
	q = by_id(quarantine);
	if (q)
		bz_quarantine_free(q);
	leave(mm);
	return q ? 0 : -ENOENT;
}

void bz_quarantine_forget(void)
{
	uint32_t i;

	for (i = 0; i < BEZ_QUARANTINES_MAX; i++)
		if (atomic_load(&bz_quarantines.one[i].state))
			bz_quarantine_free(&bz_quarantines.one[i]);
	for (i = 0; i < BEZ_RETIRING_MAX; i++)
		atomic_store(&bz_quarantines.retiring[i].seq, 0);
	atomic_store(&bz_quarantines.in, 0);
}

void bz_quarantine_forked(void)
{
	uint32_t i;

	atomic_store(&bz_quarantines.in, 0);
	for (i = 0; i < BEZ_QUARANTINES_MAX; i++)
		if (atomic_load(&bz_quarantines.one[i].state) ==
		    BZ_QUARANTINE_DYING)
			bz_quarantine_free(&bz_quarantines.one[i]);
}

/* --------------------------------------------------------------------- retiring */

/* The lock is held. */
static int retire(uint64_t addr, uint64_t len, enum bez_cause cause)
{
	struct bz_retiring *free_one = NULL;
	bez_region_t region = 0;
	uint32_t i;

	for (i = 0; i < BEZ_RETIRING_MAX; i++) {
		struct bz_retiring *r = &bz_quarantines.retiring[i];

		if (!atomic_load(&r->seq))
			free_one = r;
		else if (atomic_load(&r->addr) == addr &&
			 atomic_load(&r->len) == len)
			return 0;
	}
	if (!free_one)
		return -ENOSPC;
	if (bez_region_at((void *)addr, &region))
		region = 0;
	atomic_store(&free_one->addr, addr);
	atomic_store(&free_one->len, len);
	atomic_store(&free_one->region, region);
	atomic_store(&free_one->cause, cause);
	atomic_store(&free_one->seq, ++retirings);
	atomic_fetch_add(&bz_quarantines.changes, 1);
	return 0;
}

static int enter_range(uint64_t addr, uint64_t len, struct bz_mm **ret_mm)
{
	return len && addr + len - 1 >= addr ? enter(ret_mm) : -EINVAL;
}

int bez_quarantine_retire(void *addr, size_t len)
{
	struct bz_mm *mm;
	int r = enter_range((uint64_t)addr, len, &mm);

	if (r)
		return r;
	r = retire((uint64_t)addr, len, BEZ_CAUSE_SAID);
	leave(mm);
	return r;
}

int bez_quarantine_back(void *addr, size_t len)
{
	struct bz_mm *mm;
	int r = enter_range((uint64_t)addr, len, &mm);

	if (r)
		return r;
	r = bz_retiring_drop((uint64_t)addr, len) ? 0 : -ENOENT;
	leave(mm);
	return r;
}

int bz_quarantine_any(void)
{
	return atomic_load(&bz_quarantines.count) != 0;
}

/* Nobody asks who is not there yet: a notice is worth little later. */
void bz_quarantine_announced(uint64_t addr, uint64_t len)
{
	struct bz_mm *mm;
	uint32_t i;
	int wanted = 0;

	if (enter(&mm))
		return;
	for (i = 0; i < BEZ_QUARANTINES_MAX; i++)
		wanted |= atomic_load(&bz_quarantines.one[i].state) ==
				  BZ_QUARANTINE_READY &&
			  bz_quarantine_wants(&bz_quarantines.one[i], addr,
					      len);
	if (wanted)
		retire(addr, len, BEZ_CAUSE_POISON_AO);
	leave(mm);
}
