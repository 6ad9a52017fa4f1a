/* SPDX-License-Identifier: MIT */
#include "region/region.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/core.h"
#include "core/lock.h"
#include "core/sized.h"
#include "region/arena.h"
#include "region/lost.h"
#include "region/policy.h"
#include "region/pool.h"
#include "region/table.h"
#include "repair/share.h"

#define REMOVE_PATIENCE_NS 10000000000u

static struct bz_lock lock;

/* Registered, or not yet quite removed. Written under the lock. */
static _Atomic uint64_t total;
static int closed;			/* under the lock */

struct bz_lock *bz_region_lock(void)
{
	return &lock;
}

/* The caller has the lock. */
void bz_region_fork_open(void)
{
	closed = 0;
}

uint64_t bz_region_total(void)
{
	return atomic_load_explicit(&total, memory_order_relaxed);
}

int bz_region_each(int (*each)(uint64_t start, uint64_t end, const void *note,
			       size_t bytes, void *arg), void *arg)
{
	struct bz_region *r;
	uint64_t i;
	int ret = bz_lock(&lock);

	if (ret)
		return ret;
	for (i = 0; !ret && (r = bz_pool_nth(i)); i++)
		if (r->end && !r->dying)
			ret = each(r->start, r->end, r->share,
				   r->share ? sizeof(*r->share) : 0, arg);
	bz_unlock(&lock);
	return ret;
}

/* One more, or one less. The lock is held. */
static void count(const struct bz_region *r, int step)
{
	atomic_store_explicit(&total, bz_region_total() + (uint64_t)step,
			      memory_order_relaxed);
	if (r->flags & BEZ_POLICY_NO_RESTART)
		atomic_fetch_add_explicit(&bz_region_strict, (uint32_t)step,
					  memory_order_relaxed);
}

int bz_region_close(void)
{
	int busy;

	bz_lock_take(&lock);
	busy = bz_region_total() != 0;
	closed = !busy;
	bz_lock_give(&lock);
	return busy ? -EBUSY : 0;
}

void bz_region_open(void)
{
	bz_lock_take(&lock);
	closed = 0;
	bz_lock_give(&lock);
}

void bz_region_reset(void)
{
	bz_lock_take(&lock);
	bz_table_reset();
	bz_pool_reset();
	bz_lost_reset();
	bz_arena_reset();
	bz_lock_give(&lock);
}

void bz_region_lost_room(void)
{
	if (bz_lost_has_room() || bz_lock(&lock))
		return;
	/* that there is none shows when it is needed */
	if (!closed)
		bz_lost_grow();
	bz_unlock(&lock);
}

static int check_range(uint64_t start, uint64_t len)
{
	if (!start || !len || (start | len) & (bz_core.page - 1) ||
	    start + len < start)
		return -EINVAL;
	return 0;
}

/* MS_ASYNC does nothing on Linux but to look for holes; msync(2). */
static int check_mapped(uint64_t start, uint64_t len)
{
	return msync((void *)start, len, MS_ASYNC) ? -ENOMEM : 0;
}

static void describe(struct bz_region *r, const struct bz_said *said)
{
	struct bz_source *sources = r->list ? r->list : &r->one;

	memcpy(sources, said->source, said->sources * sizeof(*sources));
	r->sources = said->sources;
	r->digests = said->digests;
	r->flags = said->flags;
	r->max_repeats = said->max_repeats;
	r->on_lost = said->on_lost;
	r->on_lost_arg = said->on_lost_arg;
	r->relay = said->relay;
	memcpy(r->actions, said->actions, sizeof(r->actions));
	memcpy(r->name, said->name, sizeof(r->name));
}

/* The lock is held. */
static int add(uint64_t start, uint64_t len, const struct bz_said *said,
	       struct bz_share *share, bez_region_t *ret_region)
{
	struct bz_region *r;
	int ret = -ENOMEM;

	if (bz_policy_degrades(said->actions) && bz_lost_grow())
		return -ENOMEM;
	r = bz_pool_get();
	if (!r)
		return -ENOMEM;
	r->list = said->is_list ? bz_pool_get_list() : NULL;
	if (said->is_list && !r->list)
		goto put;
	describe(r, said);
	r->start = start;
	r->end = start + len;
	r->dying = 0;
	r->share = share;
	atomic_store_explicit(&r->memory,
			      share ? (uint16_t)(share->memory.kind |
						 share->memory.shift << 8) : 0,
			      memory_order_relaxed);
	atomic_store_explicit(&r->faults, 0, memory_order_relaxed);
	atomic_store_explicit(&r->replaced, 0, memory_order_relaxed);
	atomic_store_explicit(&r->not_replaced, 0, memory_order_relaxed);
	atomic_store_explicit(&r->notices, 0, memory_order_relaxed);
	atomic_store_explicit(&r->last_outcome, 0, memory_order_relaxed);
	ret = bz_table_insert(r);
	if (!ret) {
		bz_share_list(share);
		count(r, 1);
		*ret_region = bz_region_id(r);
		return 0;
	}
	bz_pool_put_list(r->list);
put:
	r->end = 0;
	bz_pool_put(r);
	return ret;
}

/* The lock is held, from before the fence is raised until the region has it: it
 * is not for one that is refused to lower another's, and a child that is made
 * in between must find it listed. */
static int share_with(struct bz_mm *mm, uint64_t start, uint64_t len,
		      const struct bz_said *said, struct bz_share **ret_share)
{
	if (bz_share_overlaps(start, start + len))
		return -EEXIST;
	return bz_share_open(mm, start, start + len, &said->shared, ret_share);
}

int bez_region_add(void *addr, size_t len, const struct bez_policy *policy,
		   bez_region_t *ret_region)
{
	uint64_t start = (uint64_t)addr;
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_share *share = NULL;
	bez_region_t region = 0;
	struct bz_said said;
	int ret;

	if (!policy || !ret_region)
		return -EINVAL;
	if (!mm)
		return -ESRCH;
	if (bz_inside())
		return -EDEADLK;
	ret = check_range(start, len);
	if (!ret)
		ret = bz_policy_from_user(policy, start, start + len, &said);
	if (!ret && !(said.flags & BEZ_POLICY_IS_MAPPED))
		ret = check_mapped(start, len);
	if (!ret)
		ret = bz_lock(&lock);
	if (ret)
		return ret;
	/* bez_stop() may have come in between */
	ret = closed ? -ESRCH : 0;
	if (!ret && said.is_shared)
		ret = share_with(mm, start, len, &said, &share);
	if (!ret)
		ret = add(start, len, &said, share, &region);
	if (ret)
		bz_share_close(mm, share);
	bz_unlock(&lock);
	if (!ret)
		*ret_region = region;
	return ret;
}

/* A walker that may still use what was unpublished before @epoch, or NULL. */
static struct bz_walk *older_reader(struct bz_mm *mm, uint64_t epoch)
{
	uint32_t i;

	for (i = 0; i < BZ_WALKS / 64; i++) {
		uint64_t bits = atomic_load(&mm->used[i]);

		for (; bits; bits &= bits - 1) {
			struct bz_walk *w = &mm->walk[i * 64 +
						      __builtin_ctzll(bits)];
			uint64_t mark = atomic_load(&w->mark);

			if (mark && mark < epoch)
				return w;
		}
	}
	return NULL;
}

/*
 * Until every reader from before @epoch is gone. 0 or -EBUSY. A mark can move
 * from a walker to the worker while we look, from a row that we have yet to
 * see to one that we have seen; it moves but once, so it must be missing twice.
 */
static int wait_for_readers(struct bz_mm *mm, uint64_t epoch)
{
	uint64_t end = 0;
	uint32_t missing = 0;

	while (missing < 2) {
		struct bz_walk *w = older_reader(mm, epoch);
		uint64_t mark, now;
		uint32_t gen;

		missing = w ? 0 : missing + 1;
		if (!w)
			continue;
		now = bz_now_ns();
		if (!end)
			end = now + REMOVE_PATIENCE_NS;
		if (now >= end)
			return -EBUSY;
		atomic_fetch_add(&w->waiters, 1);
		gen = atomic_load(&w->gen);
		mark = atomic_load(&w->mark);
		if (mark && mark < epoch && bz_walk_wait(w, gen, end - now))
			bz_walk_bury(mm, w);
		atomic_fetch_sub(&w->waiters, 1);
	}
	return 0;
}

int bez_region_remove(bez_region_t region)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_region *r;
	uint64_t epoch;
	int ret;

	if (!mm)
		return -ENOENT;
	if (bz_inside())
		return -EDEADLK;
	ret = bz_lock(&lock);
	if (ret)
		return ret;
	r = bz_region_by_id(region);
	if (!r)
		ret = -ENOENT;
	else if (!r->dying)
		ret = bz_table_remove(r);
	if (ret) {
		bz_unlock(&lock);
		return ret;
	}
	r->dying = 1;
	epoch = bz_table_next_epoch();
	bz_unlock(&lock);

	ret = wait_for_readers(mm, epoch);
	if (!ret)
		ret = bz_lost_wait_told(region, REMOVE_PATIENCE_NS);
	if (!ret)
		ret = bz_lock(&lock);
	if (ret)
		return ret;
	/* two threads may have waited for the same removal */
	if (bz_region_by_id(region) == r) {
		bz_lost_forget(region);
		bz_share_unlist(r->share);
		bz_share_close(mm, r->share);
		bz_pool_put_list(r->list);
		count(r, -1);
		r->end = 0;
		bz_pool_put(r);
	} else {
		ret = -ENOENT;
	}
	bz_unlock(&lock);
	return ret;
}

int bez_region_info(bez_region_t region, struct bez_region_info *ret_info)
{
	struct bez_region_info info = { .size = sizeof(info) };
	struct bz_region *r;
	int ret;

	if (!ret_info || ret_info->size < sizeof(uint32_t))
		return -EINVAL;
	if (!atomic_load(&bz_core.mm))
		return -ENOENT;
	if (bz_inside())
		return -EDEADLK;
	ret = bz_lock(&lock);
	if (ret)
		return ret;
	r = bz_region_by_id(region);
	if (r && !r->dying) {
		info.last_outcome = atomic_load(&r->last_outcome);
		info.addr = (void *)r->start;
		info.len = r->end - r->start;
		memcpy(info.name, r->name, sizeof(info.name));
		info.faults = atomic_load(&r->faults);
		info.replaced = atomic_load(&r->replaced);
		info.not_replaced = atomic_load(&r->not_replaced);
		info.notices = atomic_load(&r->notices);
	} else {
		r = NULL;
	}
	bz_unlock(&lock);
	return r ? bz_sized_out(ret_info, &info, sizeof(info)) : -ENOENT;
}
