/* SPDX-License-Identifier: MIT */
#include "core/gate.h"

#include "sys/sys.h"

#define PATIENCE_NS 10000000u
#define LATE_NS 3000000000u		/* a fork of some hundred GiB */
#define CLOSE_WAIT_NS 1000000000u

static int enter(struct bz_mm *mm, struct bz_walk *w, uint64_t patience_ns)
{
	uint32_t self = bz_walk_tid(w);
	uint64_t end = 0, now;
	uint32_t forking;

	for (;;) {
		/* pairs with bz_gate_close(): either we see the gate closed,
		 * or it sees us. Sequentially consistent. */
		atomic_store(&w->placing, 1);
		forking = atomic_load(&mm->gate);
		/* the forking thread itself is here, so it is not there */
		if (!forking || forking == self)
			return 0;
		bz_walk_placed(w);
		now = bz_now_ns();
		if (!end)
			end = now + patience_ns;
		if (now >= end)
			return -ETIMEDOUT;
		bz_futex_wait(&mm->gate, forking, end - now);
	}
}

int bz_gate_enter(struct bz_mm *mm, struct bz_walk *w)
{
	return enter(mm, w, PATIENCE_NS);
}

int bz_gate_hold(struct bz_mm *mm, struct bz_walk *w, uint64_t patience_ns)
{
	int r;

	if (atomic_load_explicit(&w->placing, memory_order_relaxed))
		return 0;
	r = enter(mm, w, patience_ns);
	return r ? r : 1;
}

void bz_gate_leave(struct bz_walk *w, int held)
{
	if (held > 0)
		bz_walk_placed(w);
}

int bz_gate_enter_late(struct bz_mm *mm, struct bz_walk *w)
{
	uint64_t was = atomic_load(&w->until);
	int r;

	atomic_store(&w->until, bz_now_ns() + LATE_NS);
	r = enter(mm, w, LATE_NS);
	atomic_store(&w->until, was);
	return r;
}

void bz_gate_close(struct bz_mm *mm)
{
	uint32_t i, self = (uint32_t)bz_gettid();

	atomic_store(&mm->gate, self);
	for (i = 0; i < BZ_WALKS; i++) {
		struct bz_walk *w = &mm->walk[i];

		while (atomic_load(&w->placing) && bz_walk_tid(w) != self) {
			uint32_t gen;

			atomic_fetch_add(&w->waiters, 1);
			gen = atomic_load(&w->gen);
			if (atomic_load(&w->placing) &&
			    bz_walk_wait(w, gen, CLOSE_WAIT_NS))
				bz_walk_bury(mm, w);
			atomic_fetch_sub(&w->waiters, 1);
		}
	}
}

void bz_gate_open(struct bz_mm *mm)
{
	atomic_store(&mm->gate, 0);
	bz_futex_wake(&mm->gate);
}
