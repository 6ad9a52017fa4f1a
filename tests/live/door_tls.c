/* SPDX-License-Identifier: MIT */
/*
 * A thread loses the memory that it lives in: what the libc keeps for it, errno
 * among that. The handler does without, and the page comes back like any other,
 * as long as the kernel does not look there itself: for rseq(2) it does, and
 * kills. So these threads unregister theirs, but for one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chain_help.h"
#include "replace_see.h"

enum how {
	TOUCH,			/* errno, whose page was lost */
	TOUCH_POINTER,		/* the thread pointer's own page was */
	FORGED,			/* the kernel's SIGSEGV, sent by ourselves */
	WITH_RSEQ		/* the real one */
};

struct tls_case {
	enum how how;
	uint32_t flags;
	int in_region;
};

static const struct tls_case *the;
static uint64_t lost_at, errno_at, pointer;
static unsigned char *copy;
static _Atomic int ready, go, done;
static int found;

/* A system call that leaves errno alone. */
static long quiet(long nr, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall" : "=a"(r)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return r;
#else
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc #0" : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
#endif
}

/* clang has no builtin for it on x86-64 */
static uint64_t thread_pointer(void)
{
	uint64_t at;

#if defined(__x86_64__)
	__asm__("mov %%fs:0, %0" : "=r"(at));
#else
	__asm__("mrs %0, tpidr_el0" : "=r"(at));
#endif
	return at;
}

static uint64_t page_of(uint64_t addr)
{
	return addr & -live_page();
}

/* From "ready" on it touches nothing of its own. */
static void *loses_its_own(void *arg)
{
	static siginfo_t info;
	int pid = getpid(), tid = (int)syscall(SYS_gettid);
	int *mine = &errno;

	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	pointer = thread_pointer();
	errno_at = (uint64_t)mine;
	if (the->how != WITH_RSEQ && __rseq_size)
		CHECK_EQ(syscall(SYS_rseq, pointer + (uint64_t)__rseq_offset,
				 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG), 0);
	info.si_signo = SIGSEGV;
	info.si_code = SI_KERNEL;
	errno = 77;
	atomic_store(&ready, 1);
	while (!atomic_load(&go))
		continue;
	if (the->how == FORGED)
		quiet(SYS_rt_tgsigqueueinfo, pid, tid, SIGSEGV, (long)&info);
	found = *(volatile int *)mine;
	atomic_store(&done, 1);
	return NULL;
}

static int is_done(void *arg)
{
	(void)arg;
	return atomic_load(&done);
}

/* The loss, and then the thread goes on with it. */
static void lose(void)
{
	pthread_t thread;
	struct bez_source from;

	live_start(the->flags | BEZ_START_NO_EARLY_KILL);
	copy = live_pages(1);
	from = bez_source_mirror(copy);
	CHECK_EQ(pthread_create(&thread, NULL, loses_its_own, NULL), 0);
	while (!atomic_load(&ready))
		continue;
	lost_at = page_of(the->how == TOUCH_POINTER ? pointer :
			  the->how == WITH_RSEQ ?
			  pointer + (uint64_t)__rseq_offset : errno_at);
	if (the->in_region)
		live_region((void *)lost_at, live_page(), &from, "tls");
	memcpy(copy, (void *)lost_at, live_page());
	live_poison((void *)lost_at);
	atomic_store(&go, 1);
	/* pthread_join(3) looks there, too */
	chain_until(is_done, NULL, "the thread goes on");
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void comes_back(void)
{
	struct bez_event event;

	the = tap_data();
	lose();
	CHECK_EQ(found, 77);
	event = see_event((void *)lost_at);
	CHECK_EQ(event.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(event.cause, the->how == FORGED ? BEZ_CAUSE_SEGV :
			      live_code() == BUS_ADRERR ?
			      BEZ_CAUSE_ADRERR : BEZ_CAUSE_POISON_AR);
	CHECK(page_of(event.addr) == lost_at);
	CHECK(event.tid != getpid());
}

struct end {
	int status;
	char said[256];
};

static struct end end_of_it(void)
{
	struct end end = { 0 };
	int fd[2];
	pid_t pid;

	the = tap_data();
	CHECK_EQ(pipe(fd), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		dup2(fd[1], 2);
		close(fd[0]);
		close(fd[1]);
		lose();
		_exit(33);
	}
	close(fd[1]);
	CHECK(read(fd[0], end.said, sizeof(end.said) - 1) >= 0);
	close(fd[0]);
	CHECK_EQ(waitpid(pid, &end.status, 0), pid);
	return end;
}

/* Of the signal that it would have died of without us. */
static void dies_of_it(void)
{
	struct end end = end_of_it();
	int sig = the->how == WITH_RSEQ ? SIGSEGV : SIGBUS;

	if (the->how == WITH_RSEQ && !__rseq_size)
		tap_skip("this libc has registered no rseq area");
	CHECKF(WIFSIGNALED(end.status) && WTERMSIG(end.status) == sig,
	       "ends with %#x", end.status);
	CHECKF(!end.said[0], "says: %s", end.said);
}

static void says_it(void)
{
	struct end end = end_of_it();

	CHECKF(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGSEGV,
	       "ends with %#x", end.status);
	CHECKF(!strncmp(end.said, "bezoar: thread ", 15) &&
	       strstr(end.said, ": its thread-local storage at 0x") &&
	       strstr(end.said, " was lost and is in no region; "
				"the process ends\n"), "says: %s", end.said);
}

#define T(what, fn, ...) { .name = what, .run = fn, .timeout_s = 20, \
			   .data = &(const struct tls_case){ __VA_ARGS__ } }

static const struct tap_case cases[] = {
	T("errno's page comes back, userfaultfd", comes_back, TOUCH, 0, 1),
	T("errno's page comes back, mremap", comes_back, TOUCH,
	  BEZ_START_NO_UFFD, 1),
	T("the thread pointer's page comes back", comes_back, TOUCH_POINTER,
	  0, 1),
	T("errno's page in no region ends by SIGBUS", dies_of_it, TOUCH, 0, 0),
	T("the door looks for it", comes_back, FORGED, BEZ_START_SEGV_DOOR, 1),
	T("last word: it is in no region", says_it, FORGED,
	  BEZ_START_SEGV_DOOR, 0),
	/* no handler runs: the kernel looks there again before it would */
	T("with rseq the kernel kills", dies_of_it, WITH_RSEQ,
	  BEZ_START_SEGV_DOOR, 1),
};
TAP_MAIN(cases)
