/* SPDX-License-Identifier: MIT */
/* After a system call that said EFAULT: look for what is lost, replace it. */
#include <errno.h>

#include "copy/copy.h"
#include "core/core.h"
#include "core/keys.h"
#include "ladder.h"
#include "repair/repair.h"

#define SLOT_WAIT_NS	1000000000u
#define CHUNK		512u		/* pages that are asked about at once */
#define TRIES		8		/* for a page that is lost again */
#define PARKS		1		/* until another thread's shutdown ends */
#define WAITED		2		/* for another thread; it is no try */

static int readable(uint64_t addr)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)addr, 1 };

	return bz_sys(SYS_process_vm_readv, bz_sys0(SYS_getpid), (long)&here,
		      1, (long)&there, 1, 0) == 1;
}

static int all_good(uint64_t addr, uint64_t len)
{
	return !bz_madvise(addr, len, MADV_POPULATE_READ);
}

/* 0: the page can be read now; or PARKS, or WAITED. */
static int climb(struct bz_mm *mm, struct bz_walk *w, uint64_t page)
{
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = page,
		.cause = BEZ_CAUSE_RECOVER,
	};
	struct bz_result result;
	int r = bz_ladder(mm, w, &fault, &result);

	if (result.outcome == BEZ_OUTCOME_SHUTDOWN_WAITS)
		return PARKS;
	if (result.outcome == BEZ_OUTCOME_WAITED)
		return WAITED;
	if (r == -ENOENT) {
		bz_ladder_record(mm, w, &fault, BEZ_OUTCOME_LEFT);
		return -EFAULT;
	}
	if (r == -EFAULT && (result.why == BEZ_OUTCOME_REFUSED_NOMEM ||
			     result.why == BEZ_OUTCOME_REFUSED_MAPS))
		return -ENOMEM;
	return r == -EFAULT ? -EFAULT : 0;
}

static int recover_page(struct bz_mm *mm, struct bz_walk *w, uint64_t page)
{
	struct bz_extent x = { .start = page, .width = bz_core.page };
	int tries, r;

	for (tries = 0; tries < TRIES; tries++) {
		if (all_good(page, bz_core.page))
			return 0;
		switch (bz_probe(x, 0)) {
		case BZ_PROBE_LOST:
		case BZ_PROBE_FAULT:
			r = climb(mm, w, page);
			if (r == WAITED)
				tries--;
			else if (r)
				return r;
			break;
		case BZ_PROBE_GOOD:
			/* or nobody may read it, or the kernel is an old one */
			if (readable(page))
				return 0;
			return -EFAULT;
		case BZ_PROBE_UNMAPPED:
		case BZ_PROBE_OTHER:
		default:
			return -EFAULT;
		}
	}
	return -EFAULT;
}

static int recover(struct bz_mm *mm, struct bz_walk *w, uint64_t page,
		   uint64_t end)
{
	uint64_t chunk = CHUNK * bz_core.page;
	int r;

	while (page < end) {
		uint64_t ahead = end - page < chunk ? end - page : chunk;

		if (all_good(page, ahead)) {
			page += ahead;
			continue;
		}
		for (ahead += page; page < ahead; page += bz_core.page) {
			r = recover_page(mm, w, page);
			if (r)
				return r;
		}
	}
	return 0;
}

/*
 * As the handler does it: with the program's signals blocked, and all keys
 * open. SIGBUS is open only while the slot is held: one that is sent meanwhile
 * is kept there. 1: at @ret_held.
 */
static int inside(struct bz_mm *mm, uint64_t page, uint64_t end,
		  siginfo_t *ret_held, int *ret)
{
	uint64_t mask = bz_handler_mask(), all = mask | bz_sigbit(SIGBUS);
	uint32_t keys = bz_keys_get();
	struct bz_walk *w;

	w = bz_walk_enter(mm, (uint32_t)bz_gettid(), NULL, SLOT_WAIT_NS);
	if (!w) {
		*ret = -EBUSY;
		return 0;
	}
	w->mask = mask;
	bz_sigmask(SIG_SETMASK, &mask, NULL);
	bz_keys_set(BZ_KEYS_OPEN);
	*ret = recover(mm, w, page, end);
	bz_keys_set(keys);
	bz_sigmask(SIG_SETMASK, &all, NULL);
	return bz_walk_leave(mm, w, ret_held);
}

/* A thread that blocks SIGBUS must not keep what kill(2) sent the process: there
 * may be another that takes it. Of sigqueue(3) it is not known which it was. */
static void send_on(const siginfo_t *info, uint64_t mask)
{
	long pid = bz_sys0(SYS_getpid);

	if (info->si_code == SI_USER && (mask & bz_sigbit(SIGBUS)) &&
	    !bz_sys(SYS_rt_sigqueueinfo, pid, SIGBUS, (long)info, 0, 0, 0))
		return;
	bz_sys(SYS_rt_tgsigqueueinfo, pid, bz_gettid(), SIGBUS, (long)info, 0,
	       0);
}

int bez_recover(const void *addr, size_t len)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint64_t all = bz_handler_mask() | bz_sigbit(SIGBUS), was = 0;
	uint64_t start = (uint64_t)addr, end = start + len;
	siginfo_t held;
	int r = 0, was_sent = 0;

	if (!mm)
		return -ESRCH;
	if (end < start || end > -bz_core.page)
		return -EINVAL;
	if (bz_inside())
		return -EDEADLK;
	if (!len)
		return 0;
	end = (end + bz_core.page - 1) & -bz_core.page;
	bz_sigmask(SIG_SETMASK, &all, &was);
	do {
		if (r == PARKS)
			bz_shutdown_park(mm);
		was_sent |= inside(mm, start & -bz_core.page, end, &held, &r);
	} while (r == PARKS);
	bz_sigmask(SIG_SETMASK, &was, NULL);
	if (was_sent)
		send_on(&held, was);
	return r;
}
