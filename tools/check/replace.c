/* SPDX-License-Identifier: MIT */
/* Replaced, and the instruction goes on: S2.1, S2.2, S2.3. */
#include "probe.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t unaligned_u64 __attribute__((aligned(1)));

static void expect_replaced(uint64_t pages)
{
	uint64_t n = bez_outcome_count(BEZ_OUTCOME_REPLACED);

	EXPECT(n == pages, "%llu pages were replaced, and not %llu",
	       (unsigned long long)n, (unsigned long long)pages);
}

/* A load, and a store that straddles the edge of a lost page. */
static void resumes_with(uint32_t flags)
{
	size_t page = probe_page();
	unsigned char *p = probe_pages(4), *copy = probe_pages(4);
	uint64_t before, word;
	bez_region_t region;

	probe_start(flags | BEZ_START_NO_EARLY_KILL);
	before = bez_outcome_count(BEZ_OUTCOME_REPLACED);
	region = probe_mirrored(p, 4 * page, copy);
	probe_lose(p + page);
	probe_lose(p + 2 * page);
	EXPECT(((volatile unsigned char *)p)[page + 3] == probe_byte(page + 3),
	       "a load of a lost page gave a wrong byte");
	expect_replaced(before + 1);
	memcpy(&word, copy + 2 * page - 4, sizeof(word));
	/* one instruction, and the second page is lost */
	__asm__ volatile("" : : : "memory");
	*(volatile unaligned_u64 *)(void *)(p + 2 * page - 4) = word;
	expect_replaced(before + 2);
	EXPECT(!probe_wrong(p, 4 * page), "there are wrong bytes afterwards");
	EXPECT(!bez_region_remove(region) && !bez_stop(),
	       "bezoar does not stop");
}

void s2_resumes(void)
{
	probe_doing("replacing a page by userfaultfd");
	resumes_with(0);
	probe_doing("replacing a page by mremap");
	resumes_with(BEZ_START_NO_UFFD);
	probe_holds();
}

/* --------------------------------------------------------- no byte is wrong */

static unsigned char *hammered;
static _Atomic int done;
static _Atomic uint64_t wrong_bytes, rounds_read, rounds_written;

static void *reads(void *arg)
{
	while (!done) {
		wrong_bytes += probe_wrong(hammered, probe_page());
		rounds_read++;
	}
	return arg;
}

/* A system call may be short, or fail, and must not hand on wrong bytes. */
static void *writes(void *arg)
{
	size_t page = probe_page();
	int fd = memfd_create("bezoar-check", MFD_CLOEXEC);
	unsigned char *seen = arg;

	if (fd < 0)
		probe_untested("memfd_create: %s", strerror(errno));
	while (!done) {
		ssize_t n = pwrite(fd, hammered, page, 0);

		if (n <= 0 || pread(fd, seen, (size_t)n, 0) != n)
			continue;	/* and no round */
		wrong_bytes += probe_wrong(seen, (size_t)n);
		rounds_written++;
	}
	return arg;
}

static int is_over(time_t end)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec >= end;
}

/* That each has gone round again shows that none is stuck. */
static void all_go_round(void)
{
	uint64_t r = rounds_read, w = rounds_written;

	while (rounds_read < r + 3 || rounds_written < w + 2)
		sched_yield();
}

void s2_no_wrong_byte(void)
{
	/* as many as are enough; where there is time, more that cost nothing */
	unsigned int least = 8, most = probe_is_real() ? least : 200, i;
	struct timespec begin;
	pthread_t thread[3];

	probe_start(BEZ_START_NO_EARLY_KILL);
	hammered = probe_pages(1);
	probe_mirrored(hammered, probe_page(), probe_pages(1));
	pthread_create(&thread[0], NULL, reads, NULL);
	pthread_create(&thread[1], NULL, reads, NULL);
	pthread_create(&thread[2], NULL, writes, probe_pages(1));
	probe_doing("losing a page that others read all the time");
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (i = 0; i < most && !wrong_bytes; i++) {
		uint64_t before = bez_outcome_count(BEZ_OUTCOME_REPLACED);

		all_go_round();
		probe_lose(hammered);
		while (bez_outcome_count(BEZ_OUTCOME_REPLACED) == before &&
		       !wrong_bytes)
			sched_yield();
		if (i >= least && is_over(begin.tv_sec + 2))
			break;
	}
	all_go_round();
	done = 1;
	for (i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	EXPECT(!wrong_bytes, "%llu wrong bytes were read",
	       (unsigned long long)wrong_bytes);
	probe_holds();
}

/* --------------------------------------------------------------- attributes */

struct mapping {
	unsigned long start, end;
	char access[8], flags[256];
};

/* Of the mapping that has @at, in the kernel's own words. */
static struct mapping mapping_of(const unsigned char *at)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	struct mapping m, found;
	char line[512];

	memset(&m, 0, sizeof(m));
	memset(&found, 0, sizeof(found));
	while (f && !found.end && fgets(line, sizeof(line), f)) {
		sscanf(line, "%lx-%lx %7s ", &m.start, &m.end, m.access);
		if (sscanf(line, "VmFlags: %255[^\n]", m.flags) == 1 &&
		    m.start <= (uintptr_t)at && (uintptr_t)at < m.end)
			found = m;
	}
	if (f)
		fclose(f);
	if (!found.end)
		probe_untested("/proc/self/smaps does not say it");
	return found;
}

/* By mremap the mapping is cut, and may stay so. */
static void keeps_attributes(uint32_t flags)
{
	size_t page = probe_page();
	unsigned char *p = probe_pages(4);
	struct mapping before, after;
	bez_region_t region;

	probe_start(flags | BEZ_START_NO_EARLY_KILL);
	madvise(p, 4 * page, MADV_DONTDUMP);
	madvise(p, 4 * page, MADV_RANDOM);
	region = probe_mirrored(p, 4 * page, probe_pages(4));
	before = mapping_of(p);
	probe_lose(p + page);
	probe_lose(p + 2 * page);
	mprotect(p, 4 * page, PROT_READ);
	EXPECT(!probe_wrong(p, 4 * page), "there are wrong bytes");
	after = mapping_of(p + page);
	EXPECT(!strcmp(after.access, "r--p"), "it can be read only, and was "
	       "replaced as %s", after.access);
	mprotect(p, 4 * page, PROT_READ | PROT_WRITE);
	after = mapping_of(p + page);
	EXPECT(!strcmp(before.access, after.access) &&
	       !strcmp(before.flags, after.flags),
	       "the mapping was \"%s\", and is \"%s\"", before.flags,
	       after.flags);
	EXPECT(flags || (before.start == after.start &&
			 before.end == after.end),
	       "the mapping was cut in pieces");
	EXPECT(!bez_region_remove(region) && !bez_stop(),
	       "bezoar does not stop");
}

void s2_attributes(void)
{
	probe_doing("replacing pages by userfaultfd");
	keeps_attributes(0);
	probe_doing("replacing pages by mremap");
	keeps_attributes(BEZ_START_NO_UFFD);
	probe_holds();
}
