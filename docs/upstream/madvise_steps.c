/* SPDX-License-Identifier: MIT */
/*
 * MADV_HWPOISON of a range in a huge page poisons the first page of the range
 * only, and says 0.
 * Root, CONFIG_MEMORY_FAILURE, huge pages on madvise; loses up to 8 pages for
 * good. TAP on standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)
#define HUGE ((size_t)2 << 20)

static sigjmp_buf out;
static volatile sig_atomic_t touching;

static void on_sigbus(int sig)
{
	(void)sig;
	if (touching)		/* and not from MADV_HWPOISON itself (6.11) */
		siglongjmp(out, 1);
}

static int is_lost(const volatile char *at)
{
	volatile int lost = 1;

	touching = 1;
	if (!sigsetjmp(out, 1)) {
		(void)*at;
		lost = 0;
	}
	touching = 0;
	return lost;
}

/* Of 8 pages, how many are lost then? */
static int lose(int number, const char *what, int advice)
{
	char *p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int lost = 0;

	if (p == MAP_FAILED)
		return printf("# mmap: %s\n", strerror(errno)), 1;
	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (madvise(p, HUGE, advice))
		return printf("# madvise: %s\n", strerror(errno)), 1;
	memset(p, 'a', HUGE);
	if (madvise(p, 8 * PAGE, MADV_HWPOISON))
		return printf("# MADV_HWPOISON: %s\n", strerror(errno)), 1;
	for (int i = 0; i < 8; i++)
		lost += is_lost(p + (size_t)i * PAGE);
	if (lost != 8)
		printf("# MADV_HWPOISON said 0, and %d of 8 are lost\n", lost);
	printf("%sok %d - %s\n", lost == 8 ? "" : "not ", number, what);
	return lost != 8;
}

int main(void)
{
	int bad;

	printf("TAP version 13\n1..2\n");
	if (signal(SIGBUS, on_sigbus) == SIG_ERR)
		return 1;
	bad = lose(1, "8 small pages: all are lost", MADV_NOHUGEPAGE);
	bad |= lose(2, "8 pages of a huge one: all are lost", MADV_HUGEPAGE);
	return bad;
}
