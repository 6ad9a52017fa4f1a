/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/pagemap shows a lost page as swapped (bit 62), and a lost huge page
 * as nothing: as if it had never been touched.
 * Root, CONFIG_MEMORY_FAILURE, one free huge page of 2 MiB; loses two pages for
 * good. TAP on standard output.
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

static void on_sigbus(int sig)
{
	(void)sig;		/* since 6.11 MADV_HWPOISON raises it */
}

static unsigned long entry(const char *at)
{
	unsigned long value = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &value, 8, (off_t)((uintptr_t)at / 4096 * 8)) != 8)
		printf("# pagemap: %s\n", strerror(errno));
	close(fd);
	return value;
}

static int lose(int n, const char *what, size_t size, int flags)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	int shown;

	if (p == MAP_FAILED)
		return printf("# mmap: %s\n", strerror(errno)), 1;
	memset(p, 'a', size);
	if (madvise(p, 4096, MADV_HWPOISON))
		return printf("# MADV_HWPOISON: %s\n", strerror(errno)), 1;
	shown = (int)(entry(p) >> 62);
	if (shown != 1)
		printf("# present %d, swapped %d\n", shown >> 1, shown & 1);
	printf("%sok %d - %s\n", shown == 1 ? "" : "not ", n, what);
	return shown != 1;
}

int main(void)
{
	int bad;

	printf("TAP version 13\n1..2\n");
	if (signal(SIGBUS, on_sigbus) == SIG_ERR)
		return 1;
	bad = lose(1, "a lost page shows as swapped", 4096, 0);
	bad |= lose(2, "so does a lost huge page", (size_t)2 << 20,
		    MAP_HUGETLB);
	return bad;
}
