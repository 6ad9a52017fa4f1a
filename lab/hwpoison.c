/* SPDX-License-Identifier: MIT */
/*
 * What a process is told when a page of its memory is lost: the kernel's
 * side of the contract, on real poison. hwheal.c has what it can do then.
 *
 * Runs in the lab's guest only: it needs CAP_SYS_ADMIN and memory failure,
 * and loses a page for good with each case.
 */
#define _GNU_SOURCE
#include "poison.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The caller may be told the page (in poison()); every toucher is told the
 * exact byte. */
static void anon_page(void)
{
	unsigned char *p, value;

	take_sigbus();
	p = anon(3, MAP_PRIVATE);
	poison(p + PAGE);
	CHECK_EQ(peek(p + PAGE + 123, &value), -1);
	check_ar(p + PAGE + 123);
	CHECK_EQ(poke(p + 2 * PAGE - 1, 1), -1);
	check_ar(p + 2 * PAGE - 1);
	CHECK_EQ(sigbus.count, 2);
	CHECK(page_is(p, fill_of(0)));
	CHECK(page_is(p + 2 * PAGE, fill_of(2)));
	CHECK_EQ(sigbus.count, 2);
}

/* A huge page is split: only the 4 KiB that are bad are lost. */
static void transparent_huge_page(void)
{
	enum { BAD = 7 };
	unsigned char *p, value;
	size_t i;

	take_sigbus();
	p = anon_huge();
	poison(p + BAD * PAGE);
	CHECK(!is_huge(p));
	for (i = 0; i < HUGE_PAGES; i++)
		if (i != BAD)
			CHECK(page_is(p + i * PAGE, fill_of(i)));
	CHECK_EQ(sigbus.count, 0);
	CHECK_EQ(peek(p + BAD * PAGE + 9, &value), -1);
	check_ar(p + BAD * PAGE + 9);
}

/* The child of a fork has the entry too; its healing is its own. */
static void fork_inherits(void)
{
	unsigned char *p, value;
	int status;
	pid_t pid;

	take_sigbus();
	p = anon(1, MAP_PRIVATE);
	poison(p);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK_EQ(peek(p + 5, &value), -1);
		check_ar(p + 5);
		CHECK_EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
		CHECK_EQ(poke(p + 5, 1), 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(peek(p + 6, &value), -1);
	check_ar(p + 6);
}

/* The kernel does not raise the signal for its own access: it says EFAULT. */
static void system_calls(void)
{
	unsigned char *p;
	int fds[2];

	take_sigbus();
	p = anon(2, MAP_PRIVATE);
	poison(p + PAGE);
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	CHECK_EQ(write(fds[1], p + PAGE, 1), -1);
	CHECK_EQ(errno, EFAULT);
	/* What lies before the bad page is written, and the count says so. */
	CHECK_EQ(write(fds[1], p, 2 * PAGE), PAGE);
	CHECK_EQ(read(fds[0], p + PAGE, PAGE), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(read(fds[0], p, PAGE), PAGE);
	CHECK(page_is(p, fill_of(0)));
	CHECK_EQ(sigbus.count, 0);
}

/* The probe that raises no signal, and has nothing against good pages. */
static void populate_read(void)
{
	unsigned char *p;

	take_sigbus();
	p = anon(3, MAP_PRIVATE);
	if (madvise(p, PAGE, MADV_POPULATE_READ) && errno == EINVAL)
		tap_skip("no MADV_POPULATE_READ before Linux 5.14");
	poison(p + PAGE);
	CHECK_EQ(madvise(p + PAGE, PAGE, MADV_POPULATE_READ), -1);
	CHECK_EQ(errno, EHWPOISON);
	CHECK_EQ(madvise(p, PAGE, MADV_POPULATE_READ), 0);
	CHECK_EQ(madvise(p + 2 * PAGE, PAGE, MADV_POPULATE_READ), 0);
	CHECK_EQ(sigbus.count, 0);
}

/* A poison marker looks the same as poison, where there is memory failure. */
static void uffd_marker(void)
{
	unsigned char *p, value;
	int fd;

	take_sigbus();
	fd = uffd_open();
	p = anon(2, MAP_PRIVATE);
	uffd_register(fd, p + PAGE);
	if (uffd_poison(fd, p + PAGE) == -EINVAL)
		tap_skip("no UFFDIO_POISON before Linux 6.6");
	CHECK_EQ(uffd_poison(fd, p + PAGE), -EEXIST);
	CHECK_EQ(madvise(p + PAGE, PAGE, MADV_DONTNEED), 0);
	CHECK_EQ(uffd_poison(fd, p + PAGE), 0);
	CHECK_EQ(peek(p + PAGE + 77, &value), -1);
	check_ar(p + PAGE + 77);
	CHECK_EQ(madvise(p + PAGE, PAGE, MADV_POPULATE_READ), -1);
	CHECK_EQ(errno, EHWPOISON);
	uffd_unregister(fd, p + PAGE);
	CHECK_EQ(peek(p + PAGE + 78, &value), -1);
	check_ar(p + PAGE + 78);
	CHECK(page_is(p, fill_of(0)));
}

/* A thread that blocks SIGBUS dies of it, whatever handler there is. */
static void blocked_signal_kills(void)
{
	unsigned char *p, value;
	sigset_t set;
	int status;
	pid_t pid;

	take_sigbus();
	p = anon(1, MAP_PRIVATE);
	poison(p);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		sigemptyset(&set);
		sigaddset(&set, SIGBUS);
		sigprocmask(SIG_BLOCK, &set, NULL);
		_exit(peek(p, &value) ? 1 : 2);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFSIGNALED(status), "status %#x", status);
	CHECK_EQ(WTERMSIG(status), SIGBUS);
}

struct early {
	sem_t ready;
	int got;		/* what sigtimedwait() said */
	siginfo_t info;
};

/* The thread that asked for early notice, and waits for it. */
static void *early_thread(void *data)
{
	struct early *e = data;
	struct timespec patience = { .tv_sec = 20 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	CHECK_EQ(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0),
		 0);
	sem_post(&e->ready);
	e->got = sigtimedwait(&set, &e->info, &patience);
	return NULL;
}

/* Found by the machine, not by a touch: told to the early thread alone. */
static void action_optional(void)
{
	struct early e = { .got = 0 };
	unsigned char *p, value;
	pthread_t thread;

	take_sigbus();
	p = anon(2, MAP_PRIVATE);
	sem_init(&e.ready, 0, 0);
	CHECK_EQ(pthread_create(&thread, NULL, early_thread, &e), 0);
	while (sem_wait(&e.ready))
		;
	CHECK_EQ(inject_pfn("corrupt-pfn", pagemap(p + PAGE) & PAGEMAP_PFN),
		 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(e.got, SIGBUS);
	CHECK_EQ(e.info.si_code, BUS_MCEERR_AO);
	CHECK_EQ((uintptr_t)e.info.si_addr, (uintptr_t)(p + PAGE));
	CHECK_EQ(e.info.si_addr_lsb, 12);
	CHECK_EQ(sigbus.count, 0);
	CHECK_EQ(peek(p + PAGE + 1, &value), -1);
	check_ar(p + PAGE + 1);
}

static const struct tap_case cases[] = {
	{ .name = "anon_page", .run = anon_page },
	{ .name = "transparent_huge_page", .run = transparent_huge_page },
	{ .name = "fork_inherits", .run = fork_inherits },
	{ .name = "system_calls", .run = system_calls },
	{ .name = "populate_read", .run = populate_read },
	{ .name = "uffd_marker", .run = uffd_marker },
	{ .name = "blocked_signal_kills", .run = blocked_signal_kills },
	{ .name = "action_optional", .run = action_optional },
};
TAP_MAIN(cases)
