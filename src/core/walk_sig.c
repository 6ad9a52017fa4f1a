/* SPDX-License-Identifier: MIT */
#include "core/walk.h"

#include <stddef.h>

#include "core/mm.h"

#define FULL_NAP_NS 200000u		/* nobody tells when a slot is free */

static void set_used(struct bz_mm *mm, uint32_t i)
{
	atomic_fetch_or(&mm->used[i / 64], (uint64_t)1 << (i % 64));
}

static void clear_used(struct bz_mm *mm, uint32_t i)
{
	atomic_fetch_and(&mm->used[i / 64], ~((uint64_t)1 << (i % 64)));
}

/*
 * Only the thread itself can have put its own number there, so a plain look is
 * enough: if it is there, this thread wrote it.
 */
struct bz_walk *bz_walk_of(struct bz_mm *mm, uint32_t tid)
{
	uint32_t word;

	for (word = 0; word < BZ_WALKS / 64; word++) {
		uint64_t bits = atomic_load(&mm->used[word]);

		for (; bits; bits &= bits - 1) {
			struct bz_walk *w = &mm->walk[word * 64 +
						      __builtin_ctzll(bits)];

			if (atomic_load_explicit(&w->tid,
						 memory_order_relaxed) == tid)
				return w;
		}
	}
	return NULL;
}

int bz_walk_any(struct bz_mm *mm)
{
	uint32_t word;

	for (word = 0; word < BZ_WALKS / 64; word++)
		if (atomic_load_explicit(&mm->used[word], memory_order_relaxed))
			return 1;
	return 0;
}

static struct bz_walk *take(struct bz_mm *mm, uint32_t tid)
{
	uint32_t word;

	for (word = 0; word < BZ_WALKS / 64; word++) {
		uint64_t room = ~atomic_load(&mm->used[word]);

		for (; room; room &= room - 1) {
			uint32_t i = word * 64 + __builtin_ctzll(room);
			struct bz_walk *w = &mm->walk[i];
			uint32_t nobody = 0;

			if (!atomic_compare_exchange_strong(&w->tid, &nobody,
							    tid))
				continue;
			w->depth = 0;
			w->guard = NULL;
			w->held = 0;
			set_used(mm, i);
			return w;
		}
	}
	return NULL;
}

struct bz_walk *bz_walk_enter(struct bz_mm *mm, uint32_t tid, uint64_t wait_ns)
{
	struct bz_walk *w = NULL;
	uint64_t end = 0;

	if (tid != BZ_WALK_ANYBODY)
		w = bz_walk_of(mm, tid);
	while (!w) {
		w = take(mm, tid);
		if (w)
			break;
		/* full: as many threads are inside as there are slots, and
		 * each of them has deadlines to leave by */
		if (!end)
			end = bz_now_ns() + wait_ns;
		else if (bz_now_ns() > end)
			return NULL;
		bz_futex_wait(&mm->bell, atomic_load(&mm->bell), FULL_NAP_NS);
	}
	w->depth++;
	return w;
}

/*
 * Pairs with the waiter, who counts itself in, and only then looks at the
 * claim or mark again: either it sees that gone, or we see the waiter. All
 * sequentially consistent.
 */
static void tell(struct bz_walk *w)
{
	if (!atomic_load(&w->waiters))
		return;
	atomic_fetch_add(&w->gen, 1);
	bz_futex_wake(&w->gen);
}

void bz_walk_unclaim(struct bz_walk *w, uint32_t depth)
{
	atomic_store(&w->claim[depth - 1], 0);
	tell(w);
}

void bz_walk_placed(struct bz_walk *w)
{
	atomic_store(&w->placing, 0);
	tell(w);
}

void bz_walk_unmark(struct bz_walk *w)
{
	if (!atomic_load_explicit(&w->mark, memory_order_relaxed))
		return;
	atomic_store(&w->mark, 0);
	tell(w);
}

static void give_back(struct bz_mm *mm, struct bz_walk *w)
{
	clear_used(mm, (uint32_t)(w - mm->walk));
	/* release: whoever takes it next finds it as we left it */
	atomic_store_explicit(&w->tid, 0, memory_order_release);
}

void bz_walk_leave(struct bz_mm *mm, struct bz_walk *w)
{
	if (!--w->depth)
		give_back(mm, w);
}

static void wipe(struct bz_walk *w)
{
	uint32_t depth;

	for (depth = 1; depth <= BZ_DEPTH; depth++)
		if (atomic_load(&w->claim[depth - 1]))
			bz_walk_unclaim(w, depth);
	bz_walk_unmark(w);
	bz_walk_placed(w);
}

void bz_walk_drop(struct bz_mm *mm, struct bz_walk *w)
{
	wipe(w);
	w->depth = 0;
	w->guard = NULL;
	give_back(mm, w);
}

/*
 * A thread that dies alone in the handler: only a child of vfork(2) can, that
 * shares the memory and not the fate. Whoever finds it first cleans up.
 */
void bz_walk_bury(struct bz_mm *mm, struct bz_walk *w)
{
	uint32_t tid = atomic_load(&w->tid);

	if (!tid || tid == BZ_WALK_ANYBODY ||
	    bz_sys(SYS_tkill, (long)tid, 0, 0, 0, 0, 0) != -ESRCH)
		return;
	if (!atomic_compare_exchange_strong(&w->tid, &tid, BZ_WALK_ANYBODY))
		return;
	wipe(w);
	give_back(mm, w);
}

/*
 * gen moves only when somebody waits. That is enough: a waiter counts itself
 * in before it reads gen for the last time (see its callers), so what happens
 * after that moves it.
 */
int bz_walk_wait(struct bz_walk *w, uint32_t gen, uint64_t ns)
{
	uint64_t now = bz_now_ns(), end = now + ns;

	while (atomic_load(&w->gen) == gen) {
		if (now >= end)
			return -ETIMEDOUT;
		bz_futex_wait(&w->gen, gen, end - now);
		now = bz_now_ns();
	}
	return 0;
}
