/* SPDX-License-Identifier: MIT */
/* Memory of other kinds that is replaced: S2.11, S2.12, S2.15, S2.16. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ----------------------------------------------------- a thread's own stack */

#define STACK_PAGES	64
#define DEEP_PAGES	8

static _Atomic(unsigned char *) stands_at;
static _Atomic int stack_lost;

/* Deep down its stack, which it does not touch while that is lost. */
static __attribute__((noinline)) void stands(void)
{
	volatile unsigned char deep[DEEP_PAGES * 4096];
	volatile unsigned char *at = deep;
	size_t i;

	for (i = 0; i < sizeof(deep); i++)
		at[i] = (unsigned char)i;
	stands_at = (unsigned char *)(uintptr_t)deep + sizeof(deep) / 2;
	while (!stack_lost)
		continue;
	for (i = 0; i < sizeof(deep); i++)
		EXPECT(at[i] == (unsigned char)i, "its stack has a wrong byte");
}

static void *runs_on_it(void *arg)
{
	int r = bez_thread_attach();

	EXPECT(!r, "bez_thread_attach(): %s", strerror(-r));
	stands();
	return arg;
}

void s2_own_stack(void)
{
	size_t page = probe_page(), len = STACK_PAGES * page;
	unsigned char *stack = probe_pages(STACK_PAGES);
	unsigned char *copy = probe_pages(STACK_PAGES), *p;
	pthread_attr_t attr;
	pthread_t thread;
	int i;

	probe_start(BEZ_START_NO_EARLY_KILL);
	probe_mirrored(stack, len, copy);
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stack, len);
	if (pthread_create(&thread, &attr, runs_on_it, NULL))
		probe_untested("no thread can be made");
	while (!stands_at)
		sched_yield();
	memcpy(copy, stack, len);
	p = (unsigned char *)((uintptr_t)stands_at & -page);
	/* and below, where the signal's frame would go */
	for (i = 0; i < DEEP_PAGES; i++)
		probe_lose(p - (size_t)i * page);
	probe_doing("waiting for a thread whose stack is lost");
	stack_lost = 1;
	pthread_join(thread, NULL);
	EXPECT(bez_outcome_count(BEZ_OUTCOME_REPLACED) >= 1,
	       "its stack was not lost");
	probe_holds();
}

/* ------------------------------------------------------------ early notices */

void s2_announced(void)
{
	size_t page = probe_page();
	unsigned char *p, *copy;

	probe_wants_early();
	probe_start(0);
	p = probe_pages(1);
	copy = probe_pages(1);
	probe_mirrored(p, page, copy);
	probe_lose_early(p);
	probe_doing("waiting for the worker to replace a page");
	while (!bez_outcome_count(BEZ_OUTCOME_REPLACED)) {
		EXPECT(!bez_outcome_count(BEZ_OUTCOME_STALE),
		       "the notice was taken for a late one");
		sched_yield();
	}
	EXPECT(!probe_wrong(p, page), "there are wrong bytes");
	probe_holds();
}

/* ------------------------------------------------- locked, of a file, huge */

static uint64_t replaced(void)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED);
}

static void expect_good(const char *what, const unsigned char *p, size_t len,
			uint64_t before)
{
	EXPECT(!probe_wrong(p, len), "%s: there are wrong bytes", what);
	EXPECT(replaced() == before + 1,
	       "%s was not replaced", what);
}

static long locked_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmLck: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

static void locked(size_t page, uint32_t flags)
{
	unsigned char *p = probe_pages(2);
	bez_region_t region;
	uint64_t before;
	long kib;

	if (mlock(p, 2 * page))
		probe_untested("memory can not be locked here: raise "
			       "RLIMIT_MEMLOCK");
	probe_start(flags | BEZ_START_NO_EARLY_KILL);
	before = replaced();
	region = probe_mirrored(p, 2 * page, probe_pages(2));
	kib = locked_kib();
	probe_lose(p + page);
	expect_good("locked memory", p, 2 * page, before);
	EXPECT(locked_kib() == kib, "it is not locked any more");
	EXPECT(!bez_region_remove(region) && !bez_stop(),
	       "bezoar does not stop");
	munmap(p, 2 * page);
}

/* What became of @at; asked so, as a touch of what is refused would be the end. */
static enum bez_outcome why_not(unsigned char *at, size_t page)
{
	struct bez_event e = { 0 };
	uint64_t seq = 0;

	if (!bez_recover(at, page))
		return BEZ_OUTCOME_NONE;
	while (bez_events(&seq, &e, 1) == 1)
		continue;
	return e.why;
}

/* 0: it was refused by name. */
static int of_a_file(size_t page)
{
	unsigned char *p, *copy = probe_pages(2);
	int fd = memfd_create("bezoar-check", MFD_CLOEXEC);
	uint64_t before = replaced();

	if (fd < 0 || pwrite(fd, copy, 2 * page, 0) != (ssize_t)(2 * page))
		probe_untested("memfd_create: %s", strerror(errno));
	p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		probe_untested("mmap: %s", strerror(errno));
	probe_fill(p, 2 * page);	/* its own pages, from here on */
	probe_doing("replacing a page of a private mapping of a file");
	probe_mirrored(p, 2 * page, copy);
	probe_lose(p + page);
	/* Linux 5.14: before, the file has to be opened again by its name */
	if (madvise(copy, page, MADV_POPULATE_READ) && errno == EINVAL &&
	    why_not(p + page, page) == BEZ_OUTCOME_REFUSED_FILE)
		return 0;
	expect_good("a private mapping of a file", p, 2 * page, before);
	return 1;
}

/* 0: two free ones would be needed. */
static int huge(void)
{
	size_t len = 2ul << 20;
	unsigned char *p = mmap(NULL, 2 * len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
				21 << MAP_HUGE_SHIFT, -1, 0);
	unsigned char *copy;
	uint64_t before = replaced();

	if (p == MAP_FAILED)
		return 0;
	munmap(p + len, len);		/* given back: it replaces the other */
	copy = probe_pages(len / probe_page());
	probe_fill(p, len);
	probe_doing("replacing a huge page");
	probe_mirrored(p, len, copy);
	probe_lose_width(p, len);
	expect_good("a huge page", p, len, before);
	return 1;
}

void s2_kinds(void)
{
	size_t page = probe_page();

	probe_doing("replacing locked memory by userfaultfd");
	locked(page, 0);
	probe_doing("replacing locked memory by mremap");
	locked(page, BEZ_START_NO_UFFD);
	probe_start(BEZ_START_NO_EARLY_KILL);
	if (probe_is_real()) {
		if (!of_a_file(page))
			probe_holds_but("a private mapping of a file without "
					"a name was refused, by name: that "
					"takes Linux 5.14");
		/* it would be out of the pool for good */
		probe_holds_but("huge pages were not tried: that would cost "
				"one of 2 MiB");
	}
	/* userfaultfd(2) has no marker for a file on a disk */
	if (huge())
		probe_holds_but("private mappings of files were not tried: "
				"that takes --real");
	probe_holds_but("private mappings of files were not tried, that takes "
			"--real; nor huge pages: two have to be free "
			"(vm.nr_hugepages)");
}

/* ------------------------------------------------------------------- shared */

void s2_shared(void)
{
	size_t page = probe_page();
	int fd = memfd_create("bezoar-check", MFD_CLOEXEC);
	unsigned char *p, *copy = probe_pages(3), *seen = probe_pages(1);
	struct bez_source from = bez_source_mirror(copy);
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_shared shared = BEZ_SHARED_INIT;

	if (fd < 0 || pwrite(fd, copy, 3 * page, 0) != (ssize_t)(3 * page))
		probe_untested("memfd_create: %s", strerror(errno));
	p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		probe_untested("mmap: %s", strerror(errno));
	probe_start(BEZ_START_NO_EARLY_KILL);
	EXPECT(!probe_wrong(p, 3 * page), "the file has wrong bytes");
	shared.flags = BEZ_SHARED_EXCLUSIVE;
	shared.fd = fd;
	policy.source = &from;
	policy.shared = &shared;
	probe_region(p, 3 * page, &policy);
	/* a marker leaves the file's page good; without one it is as half-way
	 * through a repair */
	if (probe_is_real())
		probe_lose(p + page);
	else if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)page, (off_t)page))
		probe_untested("fallocate: %s", strerror(errno));
	probe_doing("replacing a page of a memfd");
	expect_good("a memfd", p, 3 * page, 0);
	p[page] = 7;
	EXPECT(pread(fd, seen, page, (off_t)page) == (ssize_t)page &&
	       seen[0] == 7, "the fresh page is not the file's");
	if (probe_is_real())
		probe_holds_but("it was tried for memory that one process "
				"uses alone");
	probe_holds_but("it was tried for memory that one process uses alone, "
			"and from the hole on: what becomes of poison before "
			"that takes --real");
}
