/* SPDX-License-Identifier: MIT */
#include "core/guard.h"

#include "core/core.h"
#include "core/keys.h"
#include "sys/sys.h"

/*
 * Not inlined: the frame that called __builtin_setjmp must be one that does
 * nothing else, so that no variable lives in a register across it.
 */
__attribute__((noinline)) int bz_guarded(struct bz_walk *w, int (*fn)(void *),
					 void *arg)
{
	struct bz_guard guard;
	struct bz_walk *volatile walk = w;
	int r;

	guard.outer = w->guard;
	guard.depth = w->depth;
	guard.keys = bz_keys_get();
	if (__builtin_setjmp(guard.env)) {
		walk->depth = guard.depth;
		walk->guard = guard.outer;
		return BZ_GUARD_LOST;
	}
	walk->guard = &guard;
	/* the nested handler of this same thread reads it */
	atomic_signal_fence(memory_order_seq_cst);
	r = fn(arg);
	atomic_signal_fence(memory_order_seq_cst);
	walk->guard = guard.outer;
	return r;
}

void bz_guard_jump(struct bz_walk *w)
{
	uint64_t mask = w->guard->depth == 1 ? w->mask : bz_handler_mask();
	uint32_t depth;

	/* what the abandoned levels held; the guard's own level keeps its
	 * claim and mark */
	for (depth = w->guard->depth + 1; depth <= BZ_DEPTH; depth++)
		if (atomic_load(&w->claim[depth - 1]))
			bz_walk_unclaim(w, depth);
	if (atomic_load(&w->placing))
		bz_walk_placed(w);
	atomic_store(&w->until, 0);
	bz_keys_set(w->guard->keys);
	bz_sigmask(SIG_SETMASK, &mask, NULL);
	__builtin_longjmp(w->guard->env, 1);
}
