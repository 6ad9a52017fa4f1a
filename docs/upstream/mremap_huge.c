/* SPDX-License-Identifier: MIT */
/*
 * mremap(MREMAP_FIXED) of hugetlb pages fails, and what was mapped at the
 * target is gone. Needs a free huge page of 2 MiB, no privilege; loses nothing.
 * TAP on standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE ((size_t)2 << 20)

static sigjmp_buf out;

static void on_sigsegv(int sig)
{
	(void)sig;
	siglongjmp(out, 1);
}

int main(void)
{
	char *from = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	char *to = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile int there;
	int moved;

	printf("TAP version 13\n1..2\n");
	if (from == MAP_FAILED || to == MAP_FAILED ||
	    signal(SIGSEGV, on_sigsegv) == SIG_ERR)
		return printf("# mmap: %s\n", strerror(errno)), 1;
	to = (char *)(((uintptr_t)to + HUGE - 1) & ~(HUGE - 1));
	memset(from, 'a', HUGE);
	memset(to, 'b', HUGE);
	moved = mremap(from, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       to) != MAP_FAILED;
	if (!moved)
		printf("# mremap: %s\n", strerror(errno));
	printf("%sok 1 - a huge page is moved\n", moved ? "" : "not ");
	there = 0;
	if (!sigsetjmp(out, 1))
		there = *(volatile char *)to;
	if (!there)
		printf("# SIGSEGV: the target is not mapped any more\n");
	printf("%sok 2 - or the target is what it was\n",
	       there == (moved ? 'a' : 'b') ? "" : "not ");
	return !moved || there != 'a';
}
