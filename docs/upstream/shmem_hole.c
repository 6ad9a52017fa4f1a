/* SPDX-License-Identifier: MIT */
/*
 * A hole punched into a tmpfs file does not take away the poison entries of
 * those who map it: the file is good again, and they keep getting SIGBUS.
 * Root, CONFIG_MEMORY_FAILURE; loses one page for good. TAP on standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static sigjmp_buf out;
static volatile sig_atomic_t code;
static int points, bad;

static void on_sigbus(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	code = si->si_code;
	siglongjmp(out, 1);
}

static void point(const char *what, int wanted, int got)
{
	bad += wanted != got;
	if (wanted != got)
		printf("# expected %d, got %d\n", wanted, got);
	printf("%sok %d - %s\n", wanted == got ? "" : "not ", ++points, what);
}

/* The byte at @at, or minus the code of the SIGBUS that came instead. */
static int touch(const volatile unsigned char *at)
{
	return sigsetjmp(out, 1) ? -code : *at;
}

/* Without a plan that is kept the test has failed. */
static int broken(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	return 1;
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO };
	const size_t page = 4096;
	unsigned char *one, *other, byte;
	int fd = memfd_create("hole", MFD_CLOEXEC);

	printf("TAP version 13\n1..6\n");
	if (fd < 0 || ftruncate(fd, 4096))
		return broken("memfd");
	one = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	other = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (one == MAP_FAILED || other == MAP_FAILED ||
	    sigaction(SIGBUS, &sa, NULL))
		return broken("mmap");
	/* Both have an entry, which the kernel makes one of poison. */
	memset(one, 'a', page);
	if (touch(other) != 'a')
		return broken("touch");
	/* Since 6.11 the caller is told, and leaves by the jump. */
	if (!sigsetjmp(out, 1) && madvise(one, page, MADV_HWPOISON))
		return broken("MADV_HWPOISON");
	point("poisoned: SIGBUS, BUS_MCEERR_AR", -BUS_MCEERR_AR, touch(other));

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096))
		return broken("FALLOC_FL_PUNCH_HOLE");
	point("read(2) has the hole", 1, (int)pread(fd, &byte, 1, 0));
	point("who was told has the hole", 0, touch(one));
	point("who was not told has the hole", 0, touch(other));

	if (pwrite(fd, "b", 1, 0) != 1)
		return broken("pwrite");
	point("and what is written into it", 'b', touch(other));
	/* What works today: each for himself. */
	if (madvise(other, page, MADV_DONTNEED))
		return broken("MADV_DONTNEED");
	point("who drops his own entry has it", 'b', touch(other));
	return bad != 0;
}
