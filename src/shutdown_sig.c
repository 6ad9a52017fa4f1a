/* SPDX-License-Identifier: MIT */
/*
 * The action SHUTDOWN: who begins it, what becomes of the others, and the end.
 * mm->shutdown is the number of the thread that shuts down; nobody takes it from a
 * thread of this process.
 */
#include <string.h>

#include "core/core.h"
#include "fault/fault.h"
#include "ladder.h"
#include "record/record.h"
#include "worker/hooks.h"

#define LOOK_NS		1000000000u	/* whether who shuts down still lives */

enum bez_outcome bz_shutdown_begin(struct bz_mm *mm, struct bz_walk *w)
{
	uint32_t me = bz_walk_tid(w), was = 0;

	/* what reads this can do without: a source, a hook */
	if (w->guard)
		return atomic_load(&mm->hooks) == BZ_HOOKS_RUNNING &&
		       me == (uint32_t)atomic_load(&mm->worker_tid) ?
		       BEZ_OUTCOME_SHUTDOWN_TWICE : BEZ_OUTCOME_SHUTDOWN_INSIDE;
	while (!atomic_compare_exchange_strong(&mm->shutdown, &was, me)) {
		if (was == me)
			return BEZ_OUTCOME_SHUTDOWN_TWICE;
		/* a child of vfork(2) has ended, and left this behind */
		if (bz_is_here(was))
			return BEZ_OUTCOME_SHUTDOWN_WAITS;
	}
	return BEZ_OUTCOME_SHUTDOWN_BEGUN;
}

void bz_shutdown_park(struct bz_mm *mm)
{
	uint32_t who;

	while ((who = atomic_load(&mm->shutdown)) && bz_is_here(who))
		bz_futex_wait(&mm->shutdown, who, LOOK_NS);
}

/* No instruction met the loss: there is nowhere to go back to. */
static void die_here(uint64_t addr)
{
	struct bz_sigaction action = { .handler = (void *)SIG_DFL };
	uint64_t bit = bz_sigbit(SIGBUS);
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = BUS_MCEERR_AR;
	info.si_addr = (void *)addr;
	info.si_addr_lsb = (short)bz_core.page_shift;
	bz_sigaction(SIGBUS, &action, NULL);
	bz_sys(SYS_rt_tgsigqueueinfo, bz_sys0(SYS_getpid), bz_gettid(), SIGBUS,
	       (long)&info, 0, 0);
	bz_sigmask(SIG_UNBLOCK, &bit, NULL);
	/* where that is forbidden */
	bz_sys(SYS_exit_group, 128 + SIGBUS, 0, 0, 0, 0, 0);
}

void bz_shutdown_end(uint64_t addr, int sig, siginfo_t *info, void *context)
{
	if (bz_core.flags & BEZ_START_SHUTDOWN_EXIT)
		bz_sys(SYS_exit_group, (long)bz_core.shutdown_status, 0, 0, 0,
		       0, 0);
	if (info)
		bz_die(sig, info, context);
	else
		die_here(addr);
}
