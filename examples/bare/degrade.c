/* SPDX-License-Identifier: MIT */
/* Degrade, by hand: give the lost data up and go on without it. */
#include "poison.h"
#include <setjmp.h>
#include <signal.h>

#define RECORDS 4
static char *record[RECORDS];		/* NULL: this data is lost */
static size_t size;
static sigjmp_buf recovery;
static volatile sig_atomic_t guarded;	/* recovery is set up */
static void *volatile lost;

/*
 * SA_NODEFER leaves SIGBUS open in the handler, so that the jump needs no
 * mask to put back, and sigsetjmp(, 0) no system call to save one.
 */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)context;
	lost = info->si_addr;
	if (guarded)
		siglongjmp(recovery, 1);
	signal(sig, SIG_DFL);
}

/* Every pointer into the lost page goes, so that nobody touches it again. */
static void forget(const void *at)
{
	for (int i = 0; i < RECORDS; i++)
		if (record[i] == (char *)((uintptr_t)at & -size))
			record[i] = NULL;
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO | SA_NODEFER };
	volatile int read = 0;

	size = sysconf(_SC_PAGESIZE);
	record[0] = mmap(NULL, RECORDS * size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (record[0] == MAP_FAILED || sigaction(SIGBUS, &sa, NULL) < 0)
		return perror("setting up"), 1;
	for (int i = 1; i < RECORDS; i++)
		record[i] = record[0] + i * size;
	memset(record[0], 1, RECORDS * size);
	poison(record[2], size);

	for (volatile int i = 0; i < RECORDS; i++) {
		if (sigsetjmp(recovery, 0) != 0)
			forget(lost);
		guarded = 1;
		read += record[i] ? *(volatile char *)record[i] : 0;
		guarded = 0;
	}
	printf("degraded: %d of %d records read, lost %p\n", read, RECORDS, lost);
	return read == RECORDS - 1 && !record[2] ? 0 : 1;
}
