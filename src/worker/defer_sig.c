/* SPDX-License-Identifier: MIT */
#include "worker/defer.h"

#include <errno.h>
#include <string.h>

#include "core/core.h"
#include "core/guard.h"
#include "sys/sys.h"

void bz_ring(struct bz_mm *mm)
{
	/* pairs with the worker: it says that it sleeps, then looks once more
	 * at the bell */
	atomic_fetch_add(&mm->bell, 1);
	if (atomic_load(&mm->asleep))
		bz_futex_wake(&mm->bell);
}

/* Take the request back, or leave it to a worker that is busy with it. */
static int give_up(struct bz_request *req)
{
	uint32_t state = BZ_REQ_POSTED;

	if (atomic_compare_exchange_strong(&req->state, &state, BZ_REQ_IDLE))
		return -ETIMEDOUT;
	if (state == BZ_REQ_RUNNING &&
	    atomic_compare_exchange_strong(&req->state, &state,
					   BZ_REQ_ABANDONED))
		return -ETIMEDOUT;
	return 0;			/* DONE in the last moment */
}

static int wait_done(struct bz_request *req, uint64_t end)
{
	uint32_t state;
	uint64_t now;

	while ((state = atomic_load(&req->state)) != BZ_REQ_DONE) {
		now = bz_now_ns();
		if (now >= end)
			return give_up(req);
		bz_futex_wait(&req->state, state, end - now);
	}
	return 0;
}

/* Until the worker has come back from what was asked last in this slot, and
 * given up: that was somebody else's fault, in both meanings. */
static int wait_idle(struct bz_request *req, uint64_t end)
{
	uint32_t state;
	uint64_t now;

	/* DONE: an answer that nobody came to fetch any more */
	while ((state = atomic_load(&req->state)) != BZ_REQ_IDLE &&
	       state != BZ_REQ_DONE) {
		now = bz_now_ns();
		if (now >= end)
			return -EBUSY;
		bz_futex_wait(&req->state, state, end - now);
	}
	return 0;
}

int bz_defer(struct bz_mm *mm, struct bz_walk *w, const struct bz_source *s,
	     uint64_t offset, uint64_t len, uint64_t taken_ns, void **from)
{
	struct bz_request *req = &w->request;
	uint32_t slot = (uint32_t)(w - mm->walk);
	int32_t worker = atomic_load(&mm->worker_tid);
	uint64_t end = bz_after(taken_ns, s->deadline_ns);
	int r;

	/* the worker cannot wait for itself. Looking after an early notice it
	 * is in normal context and calls; in a fault of its own it may not:
	 * then a frame was interrupted, core/walk.h */
	if ((uint32_t)worker == bz_walk_tid(w) && w->depth == 1 &&
	    !(atomic_load_explicit(&w->owner, memory_order_relaxed) >> 32)) {
		atomic_store(&w->until, end);
		r = s->fill(*from, len, offset, s->arg) ? -EIO : 0;
		atomic_store(&w->until, 0);
		return r;
	}
	if (!worker || (uint32_t)worker == bz_walk_tid(w))
		return -EBUSY;
	if (wait_idle(req, end))
		return -EBUSY;
	req->fill = s->fill;
	req->arg = s->arg;
	req->page = bz_mm_page(mm, w, BZ_PAGE_DEFER, w->depth);
	req->offset = offset;
	req->mark = atomic_load_explicit(&w->mark, memory_order_relaxed);
	/* who waits for our claim waits as long as we do, at least */
	atomic_store(&w->until, end);
	atomic_store(&req->state, BZ_REQ_POSTED);
	atomic_fetch_or(&mm->posted[slot / 64], (uint64_t)1 << (slot % 64));
	bz_ring(mm);

	r = wait_done(req, end);
	atomic_store(&w->until, 0);
	if (r)
		return r;
	r = req->result;
	if (!r)
		*from = req->page;
	atomic_store(&req->state, BZ_REQ_IDLE);
	return r;
}

int bz_notice(struct bz_mm *mm, uint64_t addr, uint8_t lsb)
{
	uint64_t word = (addr & -bz_core.page) | lsb | 1u << 8;
	uint32_t i;

	for (i = 0; i < BZ_NOTICES; i++) {
		uint64_t was = 0;

		if (atomic_compare_exchange_strong(&mm->notice[i], &was,
						   word) ||
		    was == word) {
			atomic_store(&mm->noticed, 1);
			bz_ring(mm);
			return 0;
		}
	}
	return -ENOSPC;
}
