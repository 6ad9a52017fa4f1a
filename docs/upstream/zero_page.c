/* SPDX-License-Identifier: MIT */
/*
 * MADV_HWPOISON of memory that nobody has written to marks the one page of
 * zeros that all processes share as bad, for good; the call itself says no.
 * Root, CONFIG_MEMORY_FAILURE; marks that page until the next boot. TAP on
 * standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KPF_HWPOISON	19
#define KPF_ZERO_PAGE	24

static volatile sig_atomic_t signals;

static void on_sigbus(int sig)
{
	(void)sig;
	signals++;
}

static unsigned long number(const char *file, unsigned long index)
{
	unsigned long value = 0;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && pread(fd, &value, 8, (off_t)(index * 8)) != 8)
		value = 0;
	if (fd >= 0)
		close(fd);
	return value;
}

static int point(int n, int good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", n, what);
	return !good;
}

int main(void)
{
	volatile char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long pfn, flags;
	int bad, i;

	if (access("/proc/sys/vm/memory_failure_recovery", F_OK))
		return puts("1..0 # SKIP no CONFIG_MEMORY_FAILURE"), 0;
	printf("TAP version 13\n1..3\n");
	if (p == MAP_FAILED || *p || signal(SIGBUS, on_sigbus) == SIG_ERR)
		return 1;
	pfn = number("/proc/self/pagemap", (uintptr_t)p / 4096) << 9 >> 9;
	flags = number("/proc/kpageflags", pfn);
	if (!(flags >> KPF_ZERO_PAGE & 1))
		return printf("# frame %#lx is no page of zeros\n", pfn), 1;
	for (i = 0; i < 2; i++)
		if (!madvise((void *)p, 4096, MADV_HWPOISON))
			errno = 0;
	if (errno != EBUSY)
		printf("# the second time: %s\n", strerror(errno));
	bad = point(1, errno == EBUSY, "it is refused, and again");
	if (signals)
		printf("# %d signals, and the page can be read\n", signals);
	bad |= point(2, !signals && !*p, "nobody is signalled");
	flags = number("/proc/kpageflags", pfn);
	if (flags >> KPF_HWPOISON & 1)
		printf("# its flags are %#lx\n", flags);
	return bad | point(3, !(flags >> KPF_HWPOISON & 1),
			   "the page of zeros is not marked as bad");
}
