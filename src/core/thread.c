/* SPDX-License-Identifier: MIT */
/*
 * What a thread needs to live through the loss of a page: a stack for the
 * handler that is not the one that was lost, and its signals open.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/core.h"
#include "core/lock.h"
#include "core/own.h"

#define LEAST_FRAME	2048		/* where the kernel does not say */
#define OUR_FRAMES	4096		/* of the handler, one fault */
#define CALLBACK_ROOM	32768		/* for the owner's code in a source */

struct attached {
	uint32_t count;
	uint8_t was_blocked[2];		/* SIGBUS, SIGSEGV */
	uint8_t made_late;
	stack_t former;
	struct bz_mm *mm;		/* that counts us; kept over a stop */
	void *map;			/* our stack with its guard, or NULL */
	size_t bytes;
	uint32_t own;			/* core/own.h */
};

static __thread struct attached self
	__attribute__((tls_model("initial-exec")));

static _Atomic uint32_t at_exit;	/* pthread_key_t + 1; 0: none yet */

static void on_exit_of_thread(void *arg)
{
	(void)arg;
	bz_thread_detach_all();
}

/* What is at @value is told of this thread's end; NULL: nothing any more. */
static int tell_at_exit(void *value)
{
	uint32_t has = atomic_load(&at_exit);
	pthread_key_t key;
	int r;

	if (!has) {
		r = pthread_key_create(&key, on_exit_of_thread);
		if (r)
			return -r;
		if (!atomic_compare_exchange_strong(&at_exit, &has, key + 1))
			pthread_key_delete(key);
		else
			has = key + 1;
	}
	return -pthread_setspecific(has - 1, value);
}

/* A frame of the kernel's, with all registers, for each fault in a fault: one is
 * too deep, and one more comes if the region table is lost. (The libc's
 * MINSIGSTKSZ is four of them, where it is not a constant.) */
static size_t stack_bytes(void)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ);	/* 5.14 on x86 */
	size_t all;

	if (frame < LEAST_FRAME)
		frame = LEAST_FRAME;
	all = (frame + OUR_FRAMES) * (BZ_DEPTH + 2) + CALLBACK_ROOM;
	return (all + bz_core.page - 1) & -bz_core.page;
}

/*
 * Nested frames go on down the same stack and nothing checks its end, so there
 * is a page without access below. Touched and locked if that is allowed: a
 * stack that must be swapped in is one more thing that can fail.
 */
static int give_stack(struct attached *a)
{
	size_t bytes = stack_bytes();
	stack_t stack = { 0 };
	char *map;

	if (sigaltstack(NULL, &a->former))
		return -errno;
	if (a->former.ss_flags & SS_ONSTACK)
		return -EPERM;
	if (!(a->former.ss_flags & SS_DISABLE) && a->former.ss_size >= bytes)
		return 0;
	map = mmap(NULL, bytes + bz_core.page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	if (mprotect(map, bz_core.page, PROT_NONE))
		goto fail;
	mlock(map + bz_core.page, bytes);
	memset(map + bz_core.page, 0, bytes);
	stack.ss_sp = map + bz_core.page;
	stack.ss_size = bytes;
	if (sigaltstack(&stack, NULL))
		goto fail;
	a->map = map;
	a->bytes = bytes + bz_core.page;
	a->own = bz_own_add(map, a->bytes);
	return 0;
fail:
	munmap(map, bytes + bz_core.page);
	return -errno;
}

static void take_stack(struct attached *a)
{
	stack_t now;

	if (!a->map)
		return;
	/* only if it is still there; the thread may have set another */
	if (!sigaltstack(NULL, &now) &&
	    now.ss_sp == (char *)a->map + bz_core.page &&
	    sigaltstack(&a->former, NULL))
		return;			/* in use: better kept than missed */
	bz_own_drop(a->own);
	munmap(a->map, a->bytes);
	a->map = NULL;
}

/* Early notices are for the worker. A thread that wants them for itself, and
 * said so, keeps them. */
static void make_late(struct attached *a)
{
	if (bz_core.flags & (BEZ_START_NO_EARLY_KILL | BEZ_START_NO_WORKER))
		return;
	if (prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) == PR_MCE_KILL_DEFAULT)
		a->made_late = !prctl(PR_MCE_KILL, PR_MCE_KILL_SET,
				      PR_MCE_KILL_LATE, 0, 0);
}

static void ours(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGBUS);
	if (bz_core.flags & BEZ_START_SEGV_DOOR)
		sigaddset(ret, SIGSEGV);
}

static void open_signals(struct attached *a)
{
	sigset_t set, was;

	ours(&set);
	pthread_sigmask(SIG_UNBLOCK, &set, &was);
	a->was_blocked[0] = sigismember(&was, SIGBUS) == 1;
	a->was_blocked[1] = sigismember(&set, SIGSEGV) == 1 &&
			    sigismember(&was, SIGSEGV) == 1;
}

static void close_signals(const struct attached *a)
{
	sigset_t set;

	if (!a->was_blocked[0] && !a->was_blocked[1])
		return;
	sigemptyset(&set);
	if (a->was_blocked[0])
		sigaddset(&set, SIGBUS);
	if (a->was_blocked[1])
		sigaddset(&set, SIGSEGV);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int bz_thread_attach(struct bz_mm *mm)
{
	int r;

	if (self.count) {
		self.count++;
		return 0;
	}
	memset(&self, 0, sizeof(self));
	r = tell_at_exit(&self);
	if (r)
		return r;
	r = give_stack(&self);
	if (r) {
		tell_at_exit(NULL);
		return r;
	}
	open_signals(&self);
	make_late(&self);
	self.count = 1;
	self.mm = mm;
	atomic_fetch_add_explicit(&mm->threads, 1, memory_order_relaxed);
	return 0;
}

void bz_thread_detach_all(void)
{
	if (!self.count)
		return;
	self.count = 0;
	tell_at_exit(NULL);
	if (self.made_late)
		prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0);
	close_signals(&self);
	take_stack(&self);
	/* in a child of fork(2) the count begins anew */
	if (atomic_load(&self.mm->threads))
		atomic_fetch_sub_explicit(&self.mm->threads, 1,
					  memory_order_relaxed);
}

void bz_thread_forked(struct bz_mm *mm)
{
	if (!self.count)
		return;
	atomic_store(&mm->threads, 1);
}

int bez_thread_attach(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	int r;

	if (!mm)
		return -ESRCH;
	if (bz_inside())
		return -EDEADLK;
	r = bz_lock(NULL);
	if (r)
		return r;
	r = bz_thread_attach(mm);
	bz_unlock(NULL);
	/* in a child of fork(2) the worker stayed behind */
	if (r)
		return r;
	r = bz_worker_ensure(mm);
	if (r)
		bez_thread_detach();
	return r;
}

int bez_thread_detach(void)
{
	stack_t now;
	int r;

	if (bz_inside())
		return -EDEADLK;
	r = bz_lock(NULL);
	if (r)
		return r;
	if (!self.count)
		r = -EINVAL;
	else if (!sigaltstack(NULL, &now) && (now.ss_flags & SS_ONSTACK))
		r = -EPERM;
	else if (self.count > 1)
		self.count--;
	else
		bz_thread_detach_all();
	bz_unlock(NULL);
	return r;
}
