/* SPDX-License-Identifier: MIT */
#include "worker/hooks.h"

#include <string.h>

#include "core/core.h"
#include "worker/defer.h"

struct bz_hooks bz_hooks;

int bz_is_here(uint32_t tid)
{
	return tid && !bz_sys(SYS_tgkill, bz_sys0(SYS_getpid), tid, 0, 0, 0, 0);
}

enum bez_outcome bz_hooks_run(struct bz_mm *mm, uint64_t seq)
{
	uint64_t end = bz_after(bz_now_ns(), bz_core.shutdown_ns), now;
	uint32_t worker = (uint32_t)atomic_load(&mm->worker_tid);
	uint64_t before = seq - 1;
	uint32_t state;

	if (!atomic_load_explicit(&bz_hooks.count, memory_order_acquire))
		return BEZ_OUTCOME_SHUTDOWN;
	/* the worker itself met it, while it told somebody of another */
	if (!bz_is_here(worker) || (int32_t)worker == bz_gettid())
		return BEZ_OUTCOME_SHUTDOWN_BARE;
	if (bez_events(&before, &mm->loss, 1) != 1 || mm->loss.seq != seq)
		memset(&mm->loss, 0, sizeof(mm->loss));
	atomic_store(&mm->hooks, BZ_HOOKS_POSTED);
	bz_ring(mm);
	while ((state = atomic_load(&mm->hooks)) != BZ_HOOKS_DONE) {
		now = bz_now_ns();
		if (now >= end)
			return BEZ_OUTCOME_SHUTDOWN_LATE;
		bz_futex_wait(&mm->hooks, state, end - now);
	}
	return atomic_load(&mm->hooks_hurt) ? BEZ_OUTCOME_SHUTDOWN_HURT :
					      BEZ_OUTCOME_SHUTDOWN;
}
