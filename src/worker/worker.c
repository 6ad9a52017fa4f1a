/* SPDX-License-Identifier: MIT */
#include "worker/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "core/core.h"
#include "core/guard.h"
#include "core/keys.h"
#include "core/own.h"
#include "hunt/quarantine.h"
#include "ladder.h"
#include "repair/repair.h"
#include "worker/defer.h"
#include "worker/hooks.h"

#define NAP_NS 60000000000u		/* it is woken when there is work */

static pthread_t thread;		/* valid while mm->worker_tid is set */
static uint64_t own_mask;		/* of the worker's signals; worker */
/* How its beginning went: 0: not yet; 1; a negative errno. Futex; worker. */
static _Atomic int32_t began;
static uint32_t own_stack;		/* core/own.h; who starts and stops it, and
					 * a child of fork(2) before it runs */

static uint32_t self(struct bz_mm *mm)
{
	return (uint32_t)atomic_load_explicit(&mm->worker_tid,
					      memory_order_relaxed);
}

/* NULL: the table is full. */
static struct bz_walk *enter(struct bz_mm *mm)
{
	struct bz_walk *me = bz_walk_enter(mm, self(mm), NULL, NAP_NS);

	if (me)
		me->mask = own_mask;
	return me;
}

/* What was sent to us while we worked; the handler kept it. */
static void leave(struct bz_mm *mm, struct bz_walk *me)
{
	siginfo_t held;

	bz_walk_unmark(me);
	if (bz_walk_leave(mm, me, &held))
		bz_sys(SYS_rt_tgsigqueueinfo, bz_sys0(SYS_getpid), bz_gettid(),
		       SIGBUS, (long)&held, 0, 0);
}

/* ------------------------------------------------------- deferred sources */

static int call_back(void *arg)
{
	struct bz_request *req = arg;

	return req->fill(req->page, bz_core.page, req->offset, req->arg) ?
	       -EIO : 0;
}

static void run_request(struct bz_mm *mm, struct bz_walk *walk)
{
	struct bz_request *req = &walk->request;
	uint32_t state = BZ_REQ_POSTED;
	struct bz_walk *me;

	if (atomic_load(&req->state) != BZ_REQ_POSTED)
		return;
	me = enter(mm);
	if (!me)
		return;
	/* Hold what the walker holds, before we are told that it still waits:
	 * from then on the region stays even if the walker gives up. The mark
	 * of a request that came in between is no older than this one. */
	atomic_store(&me->mark, req->mark);
	if (atomic_compare_exchange_strong(&req->state, &state,
					   BZ_REQ_RUNNING)) {
		req->result = bz_guarded(me, call_back, req);
		if (req->result)	/* half a secret is one as well */
			memset(req->page, 0, bz_core.page);
		state = BZ_REQ_RUNNING;
		if (atomic_compare_exchange_strong(&req->state, &state,
						   BZ_REQ_DONE)) {
			bz_futex_wake(&req->state);
		} else {
			memset(req->page, 0, bz_core.page);
			atomic_store(&req->state, BZ_REQ_IDLE);
			bz_futex_wake(&req->state);
		}
	}
	leave(mm, me);
}

static int run_requests(struct bz_mm *mm)
{
	uint32_t i;
	int did = 0;

	for (i = 0; i < BZ_WALKS / 64; i++) {
		uint64_t bits = atomic_load(&mm->posted[i]);

		if (bits)
			bits = atomic_exchange(&mm->posted[i], 0);

		for (; bits; bits &= bits - 1) {
			run_request(mm, &mm->walk[i * 64 +
						  __builtin_ctzll(bits)]);
			did = 1;
		}
	}
	return did;
}

/* -------------------------------------------------- the hooks of a shutdown */

static int call_hook(void *arg)
{
	struct bz_hook *hook = arg;

	hook->fn(&atomic_load(&bz_core.mm)->loss, hook->arg);
	return 0;
}

static void run_hook(struct bz_mm *mm, uint32_t i)
{
	struct bz_walk *me = enter(mm);

	if (!me || bz_guarded(me, call_hook, &bz_hooks.hook[i]))
		atomic_store(&mm->hooks_hurt, 1);
	if (me)
		leave(mm, me);
}

static int run_hooks(struct bz_mm *mm)
{
	uint32_t state = BZ_HOOKS_POSTED, i;

	if (!atomic_compare_exchange_strong(&mm->hooks, &state,
					    BZ_HOOKS_RUNNING))
		return 0;
	for (i = 0; i < atomic_load(&bz_hooks.count); i++)
		run_hook(mm, i);
	atomic_store(&mm->hooks, BZ_HOOKS_DONE);
	bz_futex_wake(&mm->hooks);
	return 1;
}

/* ---------------------------------------------------------- early notices */

#define NOTICE_TRIES	8u		/* while others change what it is about */

/* The notice may be late, or about memory that was given up: only what the
 * kernel confirms is replaced. What is lost already may be covered, and its owner
 * is told anew. */
static void look_after(struct bz_mm *mm, uint64_t word)
{
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = word & -bz_core.page,
		.cause = BEZ_CAUSE_POISON_AO,
		.si_code = BUS_MCEERR_AO,
	};
	struct bz_result result;
	struct bz_extent x = { .start = fault.addr, .width = bz_core.page };
	uint32_t keys = bz_keys_get(), tries = NOTICE_TRIES;
	struct bz_walk *me;
	int r;

	me = enter(mm);
	if (!me)
		return;
	bz_keys_set(BZ_KEYS_OPEN);
	/* once more: who had the claim before us may have entered it as lost */
	do {
		r = bez_lost_in((void *)fault.addr, x.width) ||
		    bz_probe(x, 1) == BZ_PROBE_LOST ?
		    bz_ladder(mm, me, &fault, &result) : -ENOENT;
	} while (r == -EAGAIN && --tries);
	bz_keys_set(keys);
	if (r && r != -EFAULT)
		bz_ladder_record(mm, me, &fault, BEZ_OUTCOME_STALE);
	leave(mm, me);
	/* it may be about a page that could not be unmapped */
	if (r == -ENOENT && bz_quarantine_any() &&
	    bz_probe(x, 1) != BZ_PROBE_LOST)
		bz_quarantine_announced(fault.addr, x.width);
}

static int look_after_all(struct bz_mm *mm)
{
	uint32_t i;
	int did = 0;

	/* cleared first: one that comes now is seen by the next look */
	if (!atomic_load(&mm->noticed) || !atomic_exchange(&mm->noticed, 0))
		return 0;
	for (i = 0; i < BZ_NOTICES; i++) {
		uint64_t word = atomic_exchange(&mm->notice[i], 0);

		if (!word)
			continue;
		look_after(mm, word);
		did = 1;
	}
	return did;
}

/*
 * Early notice goes to the first thread that asked for it. All four arguments
 * count: PR_MCE_KILL_EARLY in the place of PR_MCE_KILL_SET succeeds, too, and
 * means something else. So it is read back. prctl(2); Linux 2.6.32.
 */
static int ask_for_notice(void)
{
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	return prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) == PR_MCE_KILL_EARLY;
}

/* ------------------------------------------------------------- the thread */

static void *work(void *arg)
{
	struct bz_mm *mm = arg;
	int32_t r = bz_thread_attach(mm);

	if (r) {
		atomic_store(&began, r);
		bz_futex_wake((_Atomic uint32_t *)&began);
		return NULL;
	}
	if (!(bz_core.flags & BEZ_START_NO_EARLY_KILL))
		atomic_store(&mm->early_notice, (uint32_t)ask_for_notice());
	prctl(PR_SET_NAME, "bezoar", 0, 0, 0);
	bz_sigmask(SIG_BLOCK, NULL, &own_mask);
	atomic_store(&mm->worker_tid, bz_gettid());
	atomic_store(&began, 1);
	bz_futex_wake((_Atomic uint32_t *)&began);

	for (;;) {
		/* the bell first: what rings after this is not slept over */
		uint32_t bell = atomic_load(&mm->bell);

		if (atomic_load(&mm->worker_stop))
			break;
		if (run_hooks(mm) | run_requests(mm) | look_after_all(mm) |
		    bz_tell_losses(mm) | bz_quarantine_tell() |
		    bz_daemon_again(mm))
			continue;
		/* pairs with bz_ring(): it rings first, then looks whether
		 * we sleep */
		atomic_store(&mm->asleep, 1);
		if (atomic_load(&mm->bell) == bell)
			bz_futex_wait(&mm->bell, bell, NAP_NS);
		atomic_store(&mm->asleep, 0);
	}
	bz_thread_detach_all();
	return NULL;
}

/* Not by the worker itself: this allocates, and would give it an arena. */
static uint32_t note_stack(void)
{
	pthread_attr_t attr;
	size_t bytes = 0;
	void *at = NULL;

	if (pthread_getattr_np(thread, &attr))
		return 0;
	pthread_attr_getstack(&attr, &at, &bytes);
	pthread_attr_destroy(&attr);
	return bz_own_add(at, bytes);
}

/* Its stack there is the libc's to give to another thread. */
void bz_worker_forked(void)
{
	bz_own_drop(own_stack);
	own_stack = 0;
}

int bz_worker_start(struct bz_mm *mm)
{
	uint64_t mask = bz_handler_mask(), was = 0;
	int r;

	if (atomic_load(&mm->worker_tid))
		return 0;
	atomic_store(&mm->worker_stop, 0);
	atomic_store(&began, 0);
	/* it is born with the program's signals blocked, those of the libc
	 * (32, 33) aside: they are not for it */
	mask &= ~(bz_sigbit(32) | bz_sigbit(33));
	bz_sigmask(SIG_BLOCK, &mask, &was);
	r = -pthread_create(&thread, NULL, work, mm);
	bz_sigmask(SIG_SETMASK, &was, NULL);
	if (r)
		return r;
	while (!(r = atomic_load(&began)))
		bz_futex_wait((_Atomic uint32_t *)&began, 0, NAP_NS);
	if (r > 0) {
		own_stack = note_stack();
		return 0;
	}
	pthread_join(thread, NULL);
	return r;
}

void bz_worker_stop(struct bz_mm *mm)
{
	if (!atomic_load(&mm->worker_tid))
		return;
	atomic_store(&mm->worker_stop, 1);
	bz_ring(mm);
	pthread_join(thread, NULL);
	bz_own_drop(own_stack);
	own_stack = 0;
	atomic_store(&mm->worker_tid, 0);
	atomic_store(&mm->early_notice, 0);
}
