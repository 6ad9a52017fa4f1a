/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "core/action.h"
#include "core/core.h"
#include "core/gate.h"
#include "core/keys.h"
#include "core/lock.h"
#include "core/scope.h"
#include "core/sized.h"
#include "core/tls.h"
#include "hunt/quarantine.h"
#include "ladder.h"
#include "record/record.h"
#include "region/lost.h"
#include "region/region.h"
#include "repair/repair.h"
#include "repair/share.h"
#include "worker/hooks.h"
#include "worker/worker.h"

#define DEFAULT_CLAIM_WAIT_NS	2000000000u
#define DEFAULT_MISSING_ROUNDS	8
#define DEFAULT_SHUTDOWN_NS	5000000000u
#define LOOK_NS			1000000000u
#define MOST_MISSING_ROUNDS	254	/* bz_missing_again() counts that far */

#define ALL_FLAGS (BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL | \
		   BEZ_START_NO_UFFD | BEZ_START_SEGV_DOOR | \
		   BEZ_START_SHUTDOWN_EXIT)

/* Orders bez_start(), bez_stop() and fork(2). */
static struct bz_lock lock;
static int watching;			/* forks, from the first start on */
/* bez_stop() waits for the worker, and not under the lock: what runs there may
 * fork(2). Futex; under the lock. */
static _Atomic uint32_t stopping;
/* This thread is who waits there; so is its child, whose number is another. */
static __thread volatile int stops
	__attribute__((tls_model("initial-exec")));

/* How many of fork(2) this thread is in: a handler on top of one may fork, too. */
static __thread volatile uint32_t forks
	__attribute__((tls_model("initial-exec")));

/* The gate that this thread has closed for them; another may have stopped the
 * library since. */
static __thread struct bz_mm *volatile closed
	__attribute__((tls_model("initial-exec")));

/* Kept from the first start on: a handler that began before bez_stop() may
 * still stand on it. */
static struct bz_mm *kept;

void bz_all_locks(struct bz_lock *ret_locks[BZ_LOCKS])
{
	ret_locks[0] = &lock;
	ret_locks[1] = bz_region_lock();
	ret_locks[2] = bz_hooks_lock();
}

static void before_fork(void)
{
	struct bz_lock *locks[BZ_LOCKS];
	struct bz_mm *mm;

	bz_all_locks(locks);
	bz_lock_fork(locks);
	forks++;
	mm = atomic_load(&bz_core.mm);
	if (mm) {
		bz_gate_close(mm);
		closed = mm;
	}
}

static void leave_fork(int is_child)
{
	struct bz_lock *locks[BZ_LOCKS];

	/* one further up has closed it */
	if (!--forks && closed) {
		bz_gate_open(closed);
		closed = NULL;
	}
	/* who was about to stop the library stayed behind; unless it is the one
	 * that forks, in a handler of the program's: that goes on */
	if (is_child && atomic_load(&stopping) && !stops) {
		atomic_store(&stopping, 0);
		bz_region_fork_open();
	}
	bz_all_locks(locks);
	bz_unlock_fork(locks, is_child);
}

static void after_fork(void)
{
	leave_fork(0);
}

static void after_fork_in_child(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);

	if (mm) {
		bz_thread_forked(mm);
		bz_worker_forked();
		bz_uffd_close_inherited();
		bz_share_forked(mm);
		bz_record_forked(mm);
		bz_lost_forked();
		bz_quarantine_forked();
		bz_degrade_forked(mm);
	}
	leave_fork(1);
}

/* The lock is held. */
static int watch_forks(void)
{
	int r = 0;

	if (!watching)
		r = -pthread_atfork(before_fork, after_fork,
				    after_fork_in_child);
	watching = !r;
	return r;
}

static int options_from_user(const struct bez_options *options,
			     struct bez_options *ret_o)
{
	struct bez_options o = BEZ_OPTIONS_INIT;
	int r = 0;

	if (options)
		r = bz_sized_in(&o, sizeof(o), options, options->size);
	if (r)
		return r;
	if ((o.flags & ~ALL_FLAGS) || o.reserved || o.reserved2 ||
	    o.missing_rounds > MOST_MISSING_ROUNDS || o.shutdown_status > 255)
		return -EINVAL;
	bz_core.flags = o.flags;
	bz_core.claim_wait_ns = o.claim_wait_ns ? o.claim_wait_ns :
						  DEFAULT_CLAIM_WAIT_NS;
	bz_core.missing_rounds = o.missing_rounds ? o.missing_rounds :
						    DEFAULT_MISSING_ROUNDS;
	bz_core.shutdown_ns = o.shutdown_ns ? o.shutdown_ns :
					      DEFAULT_SHUTDOWN_NS;
	bz_core.shutdown_status = o.shutdown_status;
	*ret_o = o;
	return 0;
}

static int install(void)
{
	int r = bz_action_install(SIGBUS);

	if (r || !(bz_core.flags & BEZ_START_SEGV_DOOR))
		return r;
	r = bz_action_install(SIGSEGV);
	if (r)
		bz_action_uninstall(SIGBUS);
	return r;
}

static void uninstall(void)
{
	if (bz_core.flags & BEZ_START_SEGV_DOOR)
		bz_action_uninstall(SIGSEGV);
	bz_action_uninstall(SIGBUS);
}

static int installed(void)
{
	return bz_action_installed(SIGBUS) &&
	       (!(bz_core.flags & BEZ_START_SEGV_DOOR) ||
		bz_action_installed(SIGSEGV));
}

/* glibc 2.35 */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/* The same distance in every thread: the libc's own memory of a thread is set
 * up with the thread. */
static void find_tls(void)
{
#if defined(__x86_64__)
	bz_core.has_fsbase = getauxval(AT_HWCAP2) >> 1 & 1;
#endif
	bz_core.errno_at = (int64_t)((uint64_t)&errno - bz_thread_pointer());
	bz_core.scope_at = (int64_t)((uint64_t)&bz_scope_now -
				     bz_thread_pointer());
	bz_core.rseq_at = &__rseq_offset ? __rseq_offset : 0;
	bz_core.rseq_bytes = &__rseq_size ? __rseq_size : 0;
}

/* The lock is held. */
static int start(const struct bez_options *options)
{
	struct bez_options o;
	int r;

	if (atomic_load(&bz_core.mm))
		return -EALREADY;
	bz_core.page = (uint64_t)sysconf(_SC_PAGESIZE);
	bz_core.page_shift = (uint32_t)__builtin_ctzll(bz_core.page);
	bz_core.has_keys = bz_keys_detect();
	bz_core.pkru_at = bz_core.has_keys ? bz_keys_at() : 0;
	find_tls();
	r = options_from_user(options, &o);
	if (!r)
		r = watch_forks();
	if (r)
		return r;
	if (!kept) {
		r = bz_mm_create(&kept);
		if (r)
			return r;
	}
	if (bz_core.flags & BEZ_START_SEGV_DOOR) {
		r = bz_bench_create();
		if (r)
			return r;
	}
	r = bz_record_open(kept, &o);
	if (r)
		return r;
	bz_uffd_open(kept);
	bz_region_open();
	atomic_store(&bz_core.mm, kept);
	r = bz_thread_attach(kept);
	if (r)
		goto close;
	r = install();
	if (r)
		goto detach;
	if (!(bz_core.flags & BEZ_START_NO_WORKER))
		r = bz_worker_start(kept);
	if (!r)
		return 0;
	uninstall();
detach:
	bz_thread_detach_all();
close:
	atomic_store(&bz_core.mm, NULL);
	bz_uffd_close(kept);
	bz_record_close();
	return r;
}

int bz_worker_ensure(struct bz_mm *mm)
{
	int r;

	if ((bz_core.flags & BEZ_START_NO_WORKER) ||
	    atomic_load(&mm->worker_tid))
		return 0;
	r = bz_lock(&lock);
	if (r)
		return r;
	/* bez_stop() may have come in between */
	r = atomic_load(&bz_core.mm) == mm && !atomic_load(&stopping) ?
	    bz_worker_start(mm) : -ESRCH;
	bz_unlock(&lock);
	return r;
}

/* In a callback of the program's that the worker runs. */
static int on_worker(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);

	return mm && atomic_load(&mm->worker_tid) == bz_gettid();
}

/* The lock is held before and after. */
static void wait_for_stop(void)
{
	while (atomic_load(&stopping)) {
		bz_lock_give(&lock);
		bz_futex_wait(&stopping, 1, LOOK_NS);
		bz_lock_take(&lock);
	}
}

int bez_start(const struct bez_options *options)
{
	int r;

	if (bz_inside())
		return -EDEADLK;
	/* bez_stop() may be waiting for us */
	if (on_worker())
		return -EALREADY;
	r = bz_lock(&lock);
	if (r)
		return r;
	wait_for_stop();
	r = start(options);
	bz_unlock(&lock);
	return r;
}

static void bury_dead(struct bz_mm *mm)
{
	uint32_t i;

	for (i = 0; i < BZ_WALKS; i++)
		bz_walk_bury(mm, &mm->walk[i]);
}

/* The lock is held. */
static int stop(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);

	if (!mm)
		return -ESRCH;
	if (!installed() || bz_region_close())
		return -EBUSY;
	/* the worker first: an early notice that is on its way to it must not
	 * meet the default action */
	atomic_store(&stopping, 1);
	stops = 1;
	bz_lock_give(&lock);
	bz_worker_stop(mm);
	bz_lock_take(&lock);
	uninstall();
	bz_thread_detach_all();
	atomic_store(&bz_core.mm, NULL);
	/* who is still in the handler finds no region and leaves */
	while (bz_walk_any(mm)) {
		bury_dead(mm);
		bz_yield();
	}
	bz_uffd_close(mm);
	bz_fence_close(mm);
	bz_record_close();
	bz_hooks_forget();
	bz_quarantine_forget();
	bz_region_reset();
	stops = 0;
	atomic_store(&stopping, 0);
	bz_futex_wake(&stopping);
	return 0;
}

int bez_stop(void)
{
	int r;

	/* the worker could not be waited for by itself */
	if (bz_inside() || on_worker())
		return -EDEADLK;
	r = bz_lock(&lock);
	if (r)
		return r;
	wait_for_stop();
	r = stop();
	bz_unlock(&lock);
	return r;
}
