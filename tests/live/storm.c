/* SPDX-License-Identifier: MIT */
/*
 * Everything at once, for long: 100,000 faults by eight threads, while regions
 * come and go and children are made. Every byte is checked, some of them by
 * digests as well. When it is over and stopped everything is as it was before:
 * no memory, no mappings, no descriptors, no slot of the walk table.
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

#include "inside.h"
#include "live.h"
#include "replace_see.h"

#define THREADS		8
#define OWN		8		/* pages that one thread may lose */
#define PAGES		(THREADS * OWN)
#define PASSING		4		/* regions that come and go */
#define STACK		(256 << 10)	/* so small that the libc keeps them all */

/* A slot's pages are touched when it is first used: each thread more in the
 * handler than in the short storm is 36 kB. The kernel counts in batches. */
#define MORE_KB		512
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED	1
#else
#define SANITIZED	0
#endif

static size_t faults_wanted = 100000;

static unsigned char *at, *copy, *passing_at, *passing_copy;
static uint64_t digest[PAGES], passing_digest[PASSING];
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
			const unsigned char *mirror, const uint64_t *digests)
{
	struct bez_source from = bez_source_mirror(mirror);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region = 0;

	policy.source = &from;
	policy.digests = digests;
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
					passing_copy + i * page,
					i % 2 ? &passing_digest[i] : NULL);
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
	pthread_attr_t attr;
	size_t i;

	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attr, STACK), 0);
	stop = 0;
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], &attr, loses, (void *)i), 0);
	CHECK_EQ(pthread_create(&thread[THREADS], &attr, comes_and_goes, NULL),
		 0);
	CHECK_EQ(pthread_create(&thread[THREADS + 1], &attr, forks, NULL), 0);
	while (faults() < end)
		usleep(1000);
	stop = 1;
	for (i = 0; i < THREADS + 2; i++)
		pthread_join(thread[i], NULL);
	pthread_attr_destroy(&attr);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

static void digest_all(uint64_t *to, const unsigned char *from, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++)
		to[i] = bez_digest(from + i * page, page);
}

/* From the start to the stop; all memory of it is its own. */
static struct bez_status whole(uint32_t flags, uint64_t wanted)
{
	struct bez_status s = { .size = sizeof(s) };
	bez_region_t half[2];

	at = live_pages(PAGES);
	copy = live_pages(PAGES);
	passing_at = live_pages(PASSING);
	passing_copy = live_pages(PASSING);
	digest_all(digest, copy, PAGES);
	digest_all(passing_digest, passing_copy, PASSING);
	see_start(flags);
	half[0] = add(at, len / 2, copy, NULL);
	half[1] = add(at + len / 2, len / 2, copy + len / 2,
		      digest + PAGES / 2);
	storm(wanted);
	CHECK_EQ(bez_status(&s), 0);
	CHECK_EQ(s.not_replaced, 0);
	CHECK_EQ(s.foreign, 0);
	CHECK_EQ(s.regions, 2);
	CHECK_EQ(s.threads, flags & BEZ_START_NO_WORKER ? 1 : 2);
	CHECK_EQ(inside_slots_taken(), 0);
	CHECK_EQ(bez_region_remove(half[0]), 0);
	CHECK_EQ(bez_region_remove(half[1]), 0);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(munmap(at, len) | munmap(copy, len) |
		 munmap(passing_at, PASSING * page) |
		 munmap(passing_copy, PASSING * page), 0);
	return s;
}

struct holds {
	size_t maps, fds;
	unsigned long size, resident;
};

static struct holds holds(void)
{
	struct holds h = { .fds = see_fds() };

	h.maps = see_maps();
	h.size = see_kb("VmSize:");
	h.resident = see_kb("VmRSS:");
	return h;
}

static void all_at_once(void)
{
	const uint32_t *flags = tap_data();
	/* mremap(2) reads all of smaps each time */
	size_t wanted = faults_wanted / (SANITIZED && *flags ? 5 : 1);
	struct holds before, after;
	struct bez_status s;
	double start;

	page = live_page();
	len = PAGES * page;
	see_install();
	live_poison(live_pages(1));	/* opens what it needs */
	/* a short one, so that the libc's stacks and arenas are there, and what
	 * is kept over a stop */
	whole(*flags, wanted / 20);
	before = holds();
	passed = children = 0;
	start = see_seconds();
	s = whole(*flags, wanted);
	after = holds();
	tap_diag("%llu faults, %llu replaced, %zu regions came and went, %zu "
		 "children, %.1f s", (unsigned long long)s.faults,
		 (unsigned long long)s.replaced, (size_t)passed * PASSING,
		 (size_t)children, see_seconds() - start);
	tap_diag("mappings %zu then %zu, descriptors %zu then %zu, VmSize %lu "
		 "then %lu kB, VmRSS %lu then %lu kB", before.maps, after.maps,
		 before.fds, after.fds, before.size, after.size,
		 before.resident, after.resident);
	CHECK(passed && children);
	CHECK_EQ(after.fds, before.fds);
	if (SANITIZED)
		return;			/* it has mappings of its own */
	CHECK(after.maps <= before.maps);
	CHECK(after.size <= before.size);
	CHECK(after.resident <= before.resident + MORE_KB);
}

static const struct tap_case cases[] = {
	{ .name = "userfaultfd", .run = all_at_once, .timeout_s = 120,
	  .data = &(const uint32_t){ 0 } },
	{ .name = "mremap", .run = all_at_once, .timeout_s = 240,
	  .data = &(const uint32_t){ BEZ_START_NO_UFFD } },
};

int main(int argc, char **argv)
{
	if (argc > 2)
		faults_wanted = strtoul(argv[2], NULL, 10);
	if (argc > 2 && !faults_wanted)
		return 2;
	return tap_main(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
