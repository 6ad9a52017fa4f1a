/* SPDX-License-Identifier: MIT */
/*
 * A lost page of a memory file reads as zeros for read(2), and for whoever maps
 * the file next: the data is gone, and nobody is told.
 * Root, CONFIG_MEMORY_FAILURE, one free huge page of 2 MiB; loses two pages for
 * good. TAP on standard output.
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

static void point(const char *kind, const char *what, int good, int got)
{
	bad += !good;
	if (!good)
		printf("# got %d\n", got);
	printf("%sok %d - %s: %s\n", good ? "" : "not ", ++points, kind, what);
}

/* The byte at @at, or minus the code of the SIGBUS that came instead. */
static int touch(const volatile char *at)
{
	return sigsetjmp(out, 1) ? -code : *at;
}

static int broken(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	return 1;
}

static int lose(const char *kind, unsigned int flags, size_t size)
{
	char *one, *late, byte = 0;
	int got, fd = memfd_create("zeros", MFD_CLOEXEC | flags);

	if (fd < 0 || ftruncate(fd, (off_t)size))
		return broken("memfd");
	one = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (one == MAP_FAILED)
		return broken("mmap");
	memset(one, 'a', size);
	/* Since 6.11 the caller is told, and leaves by the jump. */
	if (!sigsetjmp(out, 1) && madvise(one, 4096, MADV_HWPOISON))
		return broken("MADV_HWPOISON");
	got = touch(one);
	point(kind, "who had it mapped gets SIGBUS", got == -BUS_MCEERR_AR,
	      got);
	got = pread(fd, &byte, 1, 0) == 1 ? byte : -errno;
	point(kind, "read(2) fails", got < 0, got);
	late = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (late == MAP_FAILED)
		return broken("mmap");
	got = touch(late);
	point(kind, "who maps it later gets SIGBUS", got == -BUS_MCEERR_AR,
	      got);
	return 0;
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO };

	printf("TAP version 13\n1..6\n");
	if (sigaction(SIGBUS, &sa, NULL))
		return broken("sigaction");
	return lose("memfd", 0, 4096) ||
	       lose("hugetlb", MFD_HUGETLB, (size_t)2 << 20) || bad;
}
