/* SPDX-License-Identifier: MIT */
/* What the kernel tells, and to whom: S1, S5.5 and S7, without the library. */
#include "probe.h"
#include "told.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define HUGE	(2ul << 20)

void s1_address(void)
{
	size_t page = probe_page(), i;
	unsigned char *p;

	told_begin();
	p = probe_pages(3);
	probe_lose(p + page);
	EXPECT(!told.count, "there was a signal before anybody touched it");
	EXPECT(told_load(p + page + 123), "a load of a lost page was no fault");
	told_expect(p + page + 123);
	EXPECT(told_store(p + 2 * page - 1, 1),
	       "a store to a lost page was no fault");
	told_expect(p + 2 * page - 1);
	for (i = 0; i < 3 * page; i++)
		EXPECT(i / page == 1 || p[i] == probe_byte(i),
		       "the page beside it has a wrong byte");
	probe_holds();
}

/* --------------------------------------------------------------- huge pages */

/* KiB of huge pages in the mapping that has @at. */
static unsigned long huge_kib(const unsigned char *at)
{
	unsigned long start, end, kib = 0, found = 0;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	int here = 0;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)at && (uintptr_t)at < end;
		else if (here && sscanf(line, "AnonHugePages: %lu", &kib) == 1)
			found = kib;
	}
	if (f)
		fclose(f);
	return found;
}

void s1_huge(void)
{
	size_t page = probe_page(), bad = 7 * page, i;
	unsigned char *area, *p;

	/* emulation splits the huge page itself, to mark one page of it */
	probe_wants_real();
	told_begin();
	area = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		probe_untested("mmap: %s", strerror(errno));
	p = (unsigned char *)(((uintptr_t)area + HUGE - 1) & -HUGE);
	if (madvise(p, HUGE, MADV_HUGEPAGE))
		probe_untested("this kernel has no transparent huge pages");
	probe_fill(p, HUGE);
	if (huge_kib(p) != HUGE / 1024)
		probe_untested("the kernel gave no huge page: see "
			       "/sys/kernel/mm/transparent_hugepage/enabled");
	probe_lose(p + bad);
	for (i = 0; i < HUGE; i += page)
		EXPECT(i == bad || !told_load(p + i),
		       "page %zu of it is lost as well", i / page);
	for (i = 0; i < HUGE; i++)
		EXPECT(i / page == bad / page || p[i] == probe_byte(i),
		       "page %zu of it has a wrong byte", i / page);
	EXPECT(told_load(p + bad + 9), "the page that is bad can be read");
	EXPECT(told.addr == p + bad + 9, "the signal said %p, and %p was "
	       "touched", told.addr, (void *)(p + bad + 9));
	probe_holds();
}

/* --------------------------------------------------------------------- fork */

static void touches_it(void *at)
{
	EXPECT(told_load(at), "the child can read the page");
	EXPECT(told.addr == at, "the child was told %p, and touched %p",
	       told.addr, at);
	madvise((void *)((uintptr_t)at & -probe_page()), probe_page(),
		MADV_DONTNEED);
	EXPECT(!told_store(at, 1), "the child can not drop the page");
}

void s1_fork(void)
{
	unsigned char *p;

	told_begin();
	p = probe_pages(1);
	probe_lose(p);
	probe_doing("waiting for a child that touches the page");
	EXPECT(!probe_ended(probe_child(touches_it, p + 5)),
	       "the child died of it");
	EXPECT(told_load(p + 6), "what the child did has changed the parent's");
	EXPECT(told.addr == p + 6, "the parent was told %p, and touched %p",
	       told.addr, (void *)(p + 6));
	probe_holds();
}

/* ------------------------------------------------------------ early notices */

static struct {
	sem_t ready;
	siginfo_t info;
	int got;
} early;

static void *waits_for_notice(void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	EXPECT(!prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0),
	       "early notice can not be asked for: %s", strerror(errno));
	sem_post(&early.ready);
	early.got = sigwaitinfo(&set, &early.info);
	return arg;
}

void s1_early(void)
{
	pthread_t thread;
	unsigned char *p;

	probe_wants_early();
	told_begin();
	p = probe_pages(1);
	sem_init(&early.ready, 0, 0);
	pthread_create(&thread, NULL, waits_for_notice, NULL);
	while (sem_wait(&early.ready))
		continue;
	probe_lose_early(p);
	probe_doing("waiting for the notice");
	pthread_join(thread, NULL);
	EXPECT(early.got == SIGBUS && early.info.si_code == BUS_MCEERR_AO,
	       "the notice was signal %d with code %d", early.got,
	       early.info.si_code);
	EXPECT(early.info.si_addr == p, "the notice said %p, and %p is lost",
	       early.info.si_addr, (void *)p);
	EXPECT(!told.count, "a thread that had not asked was told as well");
	probe_holds();
}

/* ------------------------------------------------- blocked; told at a touch */

static void touches_blocked(void *at)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	sigprocmask(SIG_BLOCK, &set, NULL);
	_exit(told_load(at) ? 1 : 2);
}

void s5_blocked(void)
{
	unsigned char *p;
	int status;

	told_begin();
	p = probe_pages(1);
	probe_lose(p);
	probe_doing("waiting for a child that blocks SIGBUS");
	status = probe_ended(probe_child(touches_blocked, p));
	EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
	       "it did not die of SIGBUS, but ended with status %#x",
	       (unsigned int)status);
	probe_holds();
}

void s7_next_touch(void)
{
	unsigned char *p;

	probe_wants_real();
	told_begin();
	p = probe_pages(1);
	probe_lose_elsewhere(p);
	EXPECT(!told.count, "there was a signal before it was touched");
	EXPECT(told_load(p + 77), "a load of a lost page was no fault");
	told_expect(p + 77);
	probe_holds();
}
