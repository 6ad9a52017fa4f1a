/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/smaps counts a poison entry as a page that is there: Rss of the
 * mapping is more than what the process has by /proc/PID/status.
 * Root, CONFIG_MEMORY_FAILURE; loses one page for good. TAP on standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static void on_sigbus(int sig)
{
	(void)sig;		/* since 6.11 MADV_HWPOISON raises it */
}

/* What smaps says of the mapping at @p, in KiB. */
static long said(const void *p, const char *what)
{
	unsigned long start, end;
	char line[512];
	long kib = -1, value;
	char name[64];
	int here = 0;
	FILE *file = fopen("/proc/self/smaps", "r");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)p && (uintptr_t)p < end;
		else if (here && sscanf(line, "%63[^:]: %ld", name, &value) == 2
			 && !strcmp(name, what))
			kib = value;
	}
	if (file)
		fclose(file);
	return kib;
}

static int point(int number, const char *what, long wanted, long got)
{
	if (wanted != got)
		printf("# expected %ld KiB, got %ld KiB\n", wanted, got);
	printf("%sok %d - %s\n", wanted == got ? "" : "not ", number, what);
	return wanted != got;
}

int main(void)
{
	char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mine = p + 4096;
	int bad;

	printf("TAP version 13\n1..4\n");
	/* A mapping of its own, between two that can not merge with it. */
	if (p == MAP_FAILED || mprotect(p, 4096, PROT_NONE) ||
	    mprotect(p + 2 * 4096, 4096, PROT_NONE) ||
	    signal(SIGBUS, on_sigbus) == SIG_ERR)
		return printf("# mmap: %s\n", strerror(errno)), 1;
	memset(mine, 'a', 4096);
	bad = point(1, "a good page: Rss", 4, said(mine, "Rss"));
	if (madvise(mine, 4096, MADV_HWPOISON))
		return printf("# MADV_HWPOISON: %s\n", strerror(errno)), 1;
	bad |= point(2, "a lost page: Rss", 0, said(mine, "Rss"));
	bad |= point(3, "a lost page: Pss", 0, said(mine, "Pss"));
	bad |= point(4, "a lost page: Swap", 0, said(mine, "Swap"));
	return bad;
}
