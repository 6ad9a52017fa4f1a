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

			if (bz_walk_tid(w) == tid)
				return w;
		}
	}
	return NULL;
}

int bz_walk_any(struct bz_mm *mm)
{
	uint64_t any = 0;
	uint32_t word;

	for (word = 0; word < BZ_WALKS / 64; word++)
		any |= atomic_load_explicit(&mm->used[word],
					    memory_order_relaxed);
	return any != 0;
}

static uint64_t owner_word(uint32_t tid, const void *frame)
{
	return ((uint64_t)frame >> 4 & UINT32_MAX) << 32 | tid;
}

/*
 * A slot that is @me's own, by the number: was its handler left by a jump, or
 * killed in a child of vfork(2)? One that was not is above us on the same
 * stack.
 */
static int forsaken(uint64_t owner, uint64_t me)
{
	return (uint32_t)owner == (uint32_t)me && owner >> 32 && me >> 32 &&
	       (int32_t)((me >> 32) - (owner >> 32)) >= 0;
}

static struct bz_walk *take(struct bz_mm *mm, uint64_t me)
{
	uint32_t word;

	for (word = 0; word < BZ_WALKS / 64; word++) {
		uint64_t room = ~atomic_load(&mm->used[word]);

		for (; room; room &= room - 1) {
			uint32_t i = word * 64 + __builtin_ctzll(room);
			struct bz_walk *w = &mm->walk[i];
			uint64_t owner = 0;

			if (!atomic_compare_exchange_strong(&w->owner, &owner,
							    me)) {
				if (!forsaken(owner, me))
					continue;
				atomic_store(&w->owner, me);
			}
			w->depth = 1;
			w->guard = NULL;
			w->held = 0;
			atomic_store_explicit(&w->until, 0,
					      memory_order_relaxed);
			set_used(mm, i);
			return w;
		}
	}
	return NULL;
}

struct bz_walk *bz_walk_enter(struct bz_mm *mm, uint32_t tid, const void *frame,
			      uint64_t wait_ns)
{
	struct bz_walk *w = NULL;
	uint64_t end = 0;

	if (tid != BZ_WALK_ANYBODY)
		w = bz_walk_of(mm, tid);
	if (w && forsaken(atomic_load_explicit(&w->owner, memory_order_relaxed),
			  owner_word(tid, frame))) {
		bz_walk_drop(mm, w, NULL);
		w = NULL;
	}
	if (w) {
		w->depth++;
		return w;
	}
	for (;;) {
		w = take(mm, owner_word(tid, frame));
		if (w)
			return w;
		/* full: as many threads are inside as there are slots, and
		 * each of them has deadlines to leave by */
		if (!end)
			end = bz_now_ns() + wait_ns;
		else if (bz_now_ns() > end)
			return NULL;
		bz_futex_wait(&mm->bell, atomic_load(&mm->bell), FULL_NAP_NS);
	}
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

/* What its owner did not come to unlock. The number may be another file's now. Not
 * inlined: frames are small here, and struct stat is not. */
static __attribute__((noinline)) void unlock_file(struct bz_file_lock *l)
{
	struct flock lock = {
		.l_type = F_UNLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)l->start,
		.l_len = (off_t)l->len,
	};
	struct bz_file_id id;

	if (!bz_file_id(l->fd, &id) && id.dev == l->dev && id.ino == l->ino)
		bz_sys(SYS_fcntl, l->fd, F_OFD_SETLK, (long)&lock, 0, 0, 0);
	l->dev = l->ino = 0;
}

void bz_walk_unclaim(struct bz_walk *w, uint32_t depth)
{
	struct bz_file_lock *l = &w->lock[depth - 1];

	if (l->dev || l->ino)
		unlock_file(l);
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

void bz_walk_done(struct bz_walk *w, int unmark)
{
	/* nothing that anybody would wait for, if the mark stays */
	if (!unmark &&
	    !atomic_load_explicit(&w->placing, memory_order_relaxed) &&
	    !atomic_load_explicit(&w->claim[w->depth - 1], memory_order_relaxed))
		return;
	atomic_store_explicit(&w->placing, 0, memory_order_release);
	if (unmark)
		atomic_store_explicit(&w->mark, 0, memory_order_release);
	atomic_store_explicit(&w->claim[w->depth - 1], 0, memory_order_release);
	/* all three before the look at the waiters: see tell() */
	atomic_thread_fence(memory_order_seq_cst);
	tell(w);
}

static int give_back(struct bz_mm *mm, struct bz_walk *w, siginfo_t *ret_held)
{
	int held;

	clear_used(mm, (uint32_t)(w - mm->walk));
	/* What is sent from here on is not kept for us: that handler does not
	 * find this slot. So none is missed. Pairs with the same thread's
	 * handler on top of this one. */
	atomic_signal_fence(memory_order_seq_cst);
	held = w->held != 0;
	if (held && ret_held)
		*ret_held = w->held_info;
	/* release: whoever takes it next finds it as we left it */
	atomic_store_explicit(&w->owner, 0, memory_order_release);
	return held;
}

int bz_walk_leave(struct bz_mm *mm, struct bz_walk *w, siginfo_t *ret_held)
{
	if (w->depth == 1)
		return give_back(mm, w, ret_held);
	w->depth--;
	return 0;
}

/* What was asked of the worker is not wanted any more: before the mark goes, so
 * that it does not begin with it after that. */
static void withdraw(struct bz_request *req)
{
	uint32_t state = BZ_REQ_POSTED;

	if (!atomic_compare_exchange_strong(&req->state, &state, BZ_REQ_IDLE) &&
	    state == BZ_REQ_RUNNING)
		atomic_compare_exchange_strong(&req->state, &state,
					       BZ_REQ_ABANDONED);
}

static void wipe(struct bz_walk *w)
{
	uint32_t depth;

	withdraw(&w->request);
	atomic_store(&w->until, 0);
	for (depth = 1; depth <= BZ_DEPTH; depth++)
		if (atomic_load(&w->claim[depth - 1]))
			bz_walk_unclaim(w, depth);
	bz_walk_unmark(w);
	bz_walk_placed(w);
}

int bz_walk_drop(struct bz_mm *mm, struct bz_walk *w, siginfo_t *ret_held)
{
	wipe(w);
	w->guard = NULL;
	return give_back(mm, w, ret_held);
}

/*
 * A thread that dies alone in the handler: only a child of vfork(2) can, that
 * shares the memory and not the fate. Whoever finds it first cleans up.
 */
void bz_walk_bury(struct bz_mm *mm, struct bz_walk *w)
{
	uint64_t owner = atomic_load(&w->owner);
	uint32_t tid = (uint32_t)owner;

	if (!tid || tid == BZ_WALK_ANYBODY ||
	    bz_sys(SYS_tkill, (long)tid, 0, 0, 0, 0, 0) != -ESRCH)
		return;
	if (!atomic_compare_exchange_strong(&w->owner, &owner,
					    BZ_WALK_ANYBODY))
		return;
	wipe(w);
	give_back(mm, w, NULL);
}

/*
 * gen moves only when somebody waits. That is enough: a waiter counts itself
 * in before it reads gen for the last time (see its callers), so what happens
 * after that moves it.
 */
int bz_walk_wait(struct bz_walk *w, uint32_t gen, uint64_t ns)
{
	uint64_t now = bz_now_ns(), end = bz_after(now, ns);

	while (atomic_load(&w->gen) == gen) {
		if (now >= end)
			return -ETIMEDOUT;
		bz_futex_wait(&w->gen, gen, end - now);
		now = bz_now_ns();
	}
	return 0;
}
