/* SPDX-License-Identifier: MIT */
/*
 * A thread whose rseq area is in a page that is lost dies of SIGSEGV, before
 * it gets the SIGBUS that would tell it so: the kernel reads the area on its
 * way to the handler. The C library has that area beside every thread's errno.
 * Root, CONFIG_MEMORY_FAILURE; loses one page for good. TAP on standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/rseq.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIGNATURE 0x53053053

/* What the C library has registered; glibc 2.35 has these names for it. */
extern const ptrdiff_t __rseq_offset;
extern const unsigned int __rseq_size;

static unsigned char *lost;

/* Puts a fresh page there, as any handler would that can. */
static void on_sigbus(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)si;
	(void)context;
	madvise(lost, 4096, MADV_DONTNEED);
	_exit(0);
}

/* Ends with 0 if the handler was entered, 2 if there was no loss. */
static void child(int with_rseq)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO };
	struct rseq *area;

	lost = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(lost, 0, 4096);
	area = (struct rseq *)lost;
	area->cpu_id = (__u32)RSEQ_CPU_ID_UNINITIALIZED;
	if (__rseq_size)
		syscall(SYS_rseq, (char *)__builtin_thread_pointer() +
			__rseq_offset, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE);
	if (sigaction(SIGBUS, &sa, NULL) ||
	    (with_rseq && syscall(SYS_rseq, area, 32, 0, SIGNATURE)))
		_exit(3);
	if (madvise(lost, 4096, MADV_HWPOISON))
		_exit(4);
	/* Before 6.11 nobody has been told yet: a touch is. */
	_exit(*(volatile unsigned char *)lost ? 5 : 2);
}

static int point(int number, const char *what, int with_rseq)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		child(with_rseq);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return printf("# fork: %s\n", strerror(errno)), 1;
	if (WIFSIGNALED(status))
		printf("# killed by signal %d, %s\n", WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
	else if (status)
		printf("# exit status %d\n", WEXITSTATUS(status));
	printf("%sok %d - %s\n", status ? "not " : "", number, what);
	return status != 0;
}

int main(void)
{
	int bad;

	if (access("/proc/sys/vm/memory_failure_recovery", F_OK))
		return puts("1..0 # SKIP no CONFIG_MEMORY_FAILURE"), 0;
	printf("TAP version 13\n1..2\n");
	fflush(stdout);
	bad = point(1, "a page that is lost: the handler is entered", 0);
	fflush(stdout);
	bad |= point(2, "one with the rseq area: the handler is entered", 1);
	return bad;
}
