/* SPDX-License-Identifier: MIT */
/*
 * The one state of the library in a process: what bez_start() was given and
 * found. Written under bz_core.lock while no handler is installed, or by the
 * one writer that is named; read anywhere.
 */
#ifndef BEZOAR_CORE_CORE_H
#define BEZOAR_CORE_CORE_H

#include <bezoar/bezoar.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

#include "core/mm.h"
#include "sys/sys.h"

/* The action for one signal that was there before ours. */
struct bz_former {
	struct bz_sigaction action;
	_Atomic uint32_t spent;		/* SA_RESETHAND: it had its one call */
};

struct bz_core {
	_Atomic(struct bz_mm *) mm;	/* NULL: not started. bez_start() and
					 * bez_stop() */
	uint64_t page;			/* bytes of a base page */
	uint32_t page_shift;
	uint32_t has_keys;		/* protection keys: core/keys.h */
	uint32_t pkru_at;		/* in a signal frame's extended state */
	uint32_t flags;			/* BEZ_START_* */
	/* The number + 1 of the userfaultfd that was opened last, here or in
	 * the process that forked us, whose memory it works on. Written by
	 * who has mm->uffd_busy. */
	_Atomic int32_t uffd_last;
	_Atomic int32_t uffd_pid;	/* of who opened that */
	_Atomic int32_t fence_last;	/* the same of the fence */
	_Atomic int32_t fence_pid;
	_Atomic uint32_t fences;	/* opened, here and in who forked us */

	uint32_t has_kin;		/* records go to a daemon, if it is there */
	uint64_t claim_wait_ns;
	uint32_t missing_rounds;
	uint32_t shutdown_status;
	uint64_t shutdown_ns;

	struct bz_former sigbus;
	struct bz_former sigsegv;	/* with BEZ_START_SEGV_DOOR */

	uint64_t bench;			/* repair/hole_sig.c; 0: none */
	uint8_t bench_gone[BZ_WALKS];	/* a bit for a depth: not usable any
					 * more. Written by the slot's owner */

	/* from the thread pointer on, see core/tls.h */
	int64_t errno_at;
	int64_t rseq_at;
	int64_t scope_at;		/* core/scope.h */
	uint32_t rseq_bytes;		/* 0: the libc has none */
	uint32_t has_fsbase;		/* user space may read the register */
};

extern struct bz_core bz_core;

/* The number in a line of proc(5)'s status, at @path, that begins with @word, which begins
 * with a line's end: "\nVmPin:", in kB. 0, too: there is none. Context: handler-safe. */
uint64_t bz_status_number(const char *path, const char *word);

/* The signals that stay open in the handler: those the processor raises. */
uint64_t bz_handler_mask(void);

/* Where the former action for @sig is kept. */
static inline struct bz_former *bz_former_of(int sig)
{
	return sig == SIGSEGV ? &bz_core.sigsegv : &bz_core.sigbus;
}

/* The handler of SIGBUS, and of SIGSEGV with the door: src/path_sig.c. */
void bz_on_signal(int sig, siginfo_t *info, void *context);

/*
 * Is the calling thread inside the handler or a source? Functions that may
 * wait or lock answer -EDEADLK then. Context: handler-safe.
 */
int bz_inside(void);

/* core/thread.c: what bez_start() and bez_stop() do for their own thread; the
 * one thread of a child counts itself. */
int bz_thread_attach(struct bz_mm *mm);
void bz_thread_detach_all(void);
void bz_thread_forked(struct bz_mm *mm);

/* core/start.c: a worker for this process if it should have one. */
int bz_worker_ensure(struct bz_mm *mm);

#endif
