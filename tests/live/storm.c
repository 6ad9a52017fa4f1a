/* SPDX-License-Identifier: MIT */
/*
 * Everything at once, for long: 100,000 faults by eight threads, while regions
 * come and go and children are made. Every byte is checked, and at the end
 * nothing has grown: no memory, no mappings, no descriptors.
 *
 *	live_storm [CASE [FAULTS]]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define THREADS		8
#define OWN		8		/* pages that one thread may lose */
#define PAGES		(THREADS * OWN)
#define PASSING		4		/* regions that come and go */

static size_t faults_wanted = 100000;

static unsigned char *at, *copy, *passing_at, *passing_copy;
static size_t page, len;
static _Atomic int stop;
static _Atomic size_t passed, children;

static uint64_t faults(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s.faults;
}

static bez_region_t add(unsigned char *where, size_t bytes,
			const unsigned char *mirror)
{
	struct bez_source from = bez_source_mirror(mirror);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region = 0;

	policy.source = &from;
	policy.max_repeats = 1000000;
	CHECK_EQ(bez_region_add(where, bytes, &policy, &region), 0);
	return region;
}

/* Loses its own pages and reads everybody's: several fault on one page. */
static void *loses(void *arg)
{
	size_t mine = (size_t)arg * OWN, round = 0;

	CHECK_EQ(bez_thread_attach(), 0);
	while (!stop) {
		size_t n = mine + round++ % OWN, other;

		/* in one step: a child must not see the test's own hole */
		see_poison_at_once(at + n * page);
		other = (n + round * OWN) % PAGES;
		CHECK_EQ(see_wrong(at, n * page, (n + 1) * page, 0), 0);
		CHECK_EQ(see_wrong(at, other * page, (other + 1) * page, 0),
			 0);
	}
	return NULL;
}

static void *comes_and_goes(void *arg)
{
	bez_region_t region[PASSING];
	size_t i, round = 0;

	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	while (!stop) {
		for (i = 0; i < PASSING; i++)
			region[i] = add(passing_at + i * page, page,
					passing_copy + i * page);
		i = round++ % PASSING;
		see_poison_at_once(passing_at + i * page);
		CHECK_EQ(see_wrong(passing_at, i * page, (i + 1) * page, 0),
			 0);
		for (i = 0; i < PASSING; i++)
			CHECK_EQ(bez_region_remove(region[i]), 0);
		passed++;
	}
	return NULL;
}

static void *forks(void *arg)
{
	(void)arg;
	while (!stop) {
		pid_t pid = fork();
		int status = 0;

		if (!pid) {
			CHECK_EQ(live_wrong(at, len, 0), 0);
			_exit(0);
		}
		CHECK(pid > 0);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECKF(WIFEXITED(status) && !WEXITSTATUS(status),
		       "a child ended with %#x", status);
		children++;
	}
	return NULL;
}

static void storm(uint64_t wanted)
{
	uint64_t end = faults() + wanted;
	pthread_t thread[THREADS + 2];
	size_t i;

	stop = 0;
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, loses, (void *)i), 0);
	CHECK_EQ(pthread_create(&thread[THREADS], NULL, comes_and_goes, NULL),
		 0);
	CHECK_EQ(pthread_create(&thread[THREADS + 1], NULL, forks, NULL), 0);
	while (faults() < end)
		usleep(1000);
	stop = 1;
	for (i = 0; i < THREADS + 2; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

struct way {
	uint32_t flags;			/* BEZ_START_* */
	size_t share;			/* of the faults; this way is slower */
};

static void all_at_once(void)
{
	const struct way *way = tap_data();
	size_t wanted = faults_wanted / way->share;
	size_t maps, fds, i;
	unsigned long size, resident;
	struct bez_status s = { .size = sizeof(s) };
	double start;

	page = live_page();
	len = PAGES * page;
	at = live_pages(PAGES);
	copy = live_pages(PAGES);
	passing_at = live_pages(PASSING);
	passing_copy = live_pages(PASSING);
	see_install();
	see_start(way->flags);
	add(at, len, copy);
	live_poison(live_pages(1));	/* opens what it needs */
	/* each page once: as many mappings as there can be */
	for (i = 0; i < PAGES; i++)
		see_poison_at_once(at + i * page);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	/* a short one, so that stacks and arenas are there */
	storm(wanted / 50);
	maps = see_maps();
	fds = see_fds();
	size = see_kb("VmSize:");
	resident = see_kb("VmRSS:");
	start = see_seconds();
	storm(wanted);
	CHECK_EQ(bez_status(&s), 0);
	tap_diag("%llu faults, %llu replaced, %zu regions came and went, %zu "
		 "children, %.1f s", (unsigned long long)s.faults,
		 (unsigned long long)s.replaced, (size_t)passed * PASSING,
		 (size_t)children, see_seconds() - start);
	tap_diag("mappings %zu then %zu, descriptors %zu then %zu, VmSize %lu "
		 "then %lu kB, VmRSS %lu then %lu kB", maps, see_maps(), fds,
		 see_fds(), size, see_kb("VmSize:"), resident,
		 see_kb("VmRSS:"));
	CHECK_EQ(s.not_replaced, 0);
	CHECK_EQ(s.foreign, 0);
	CHECK_EQ(s.regions, 1);
	CHECK_EQ(see_fds(), fds);
	CHECK(passed && children);
	/* a thread's arena and stack more or less, but nothing that grows
	 * with the number of faults */
	CHECK(see_maps() <= maps + 32);
	CHECK(see_kb("VmRSS:") <= resident + 4096);
	CHECK(see_kb("VmSize:") <= size + 256 * 1024);
}

static const struct way by_uffd = { 0, 1 },
			by_mremap = { BEZ_START_NO_UFFD, 5 };

static const struct tap_case cases[] = {
	{ .name = "userfaultfd", .run = all_at_once, .timeout_s = 120,
	  .data = &by_uffd },
	{ .name = "mremap", .run = all_at_once, .timeout_s = 120,
	  .data = &by_mremap },
};

int main(int argc, char **argv)
{
	if (argc > 2)
		faults_wanted = strtoul(argv[2], NULL, 10);
	if (argc > 2 && !faults_wanted)
		return 2;
	return tap_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
