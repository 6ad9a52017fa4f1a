/* SPDX-License-Identifier: MIT */
/*
 * Each kind of private memory while others are at it: who reads it all the time
 * sees no byte that is not good, above all none that only the file has; and what
 * the program puts there while a slow source runs, stays.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "huge.h"
#include "kinds_help.h"
#include "live.h"
#include "replace_see.h"
#include "uapi.h"

#define SECONDS		(live_is_real() ? 1.5 : 3.0)
#define ROUNDS		3000
#define LEAST		12
#define NEWER		5		/* the program's; seed of live_fill() */

static const struct variant {
	const struct kinds_kind *kind;
	uint32_t start;			/* BEZ_START_* */
	int locked;
} *variant(void)
{
	return tap_data();
}

static struct kinds_memory m;
static _Atomic int stop;
static _Atomic size_t wrong, whole;

static int lock_it(void *at, size_t len)
{
	return mlock(at, len);
}

static void begin(const struct bez_source *from)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	if (variant()->kind->huge)
		huge_need(16);
	kinds_can_be_lost(variant()->kind);
	kinds_make(variant()->kind, &m);
	if (variant()->locked)
		CHECK_EQ(mlock(m.at, m.len), 0);
	policy.source = from;
	policy.max_repeats = 5000;
	see_install();
	see_start(variant()->start);
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), 0);
}

/* One byte of each page, those of the lost extent only. */
static void *reads(void *arg)
{
	const unsigned char *good = kinds_bytes(0);
	size_t step = live_page(), i, bad;

	CHECK_EQ(bez_thread_attach(), 0);
	while (!stop) {
		for (i = m.width + (size_t)arg, bad = 0; i < 2 * m.width;
		     i += step)
			bad += live_read(m.at + i) != good[i];
		wrong += bad;
		whole++;
	}
	return NULL;
}

/* One byte of it, as often as can be: a moment is long for this one. */
static void *reads_one(void *arg)
{
	const unsigned char *where = m.at + m.width + (size_t)arg;
	unsigned char good = kinds_bytes(0)[m.width + (size_t)arg];
	size_t i, bad;

	CHECK_EQ(bez_thread_attach(), 0);
	while (!stop) {
		for (i = bad = 0; i < 10000; i++)
			bad += live_read(where) != good;
		wrong += bad;
	}
	return NULL;
}

static uint64_t replaced(void)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED);
}

static void hammered(void)
{
	struct bez_source from = bez_source_mirror(kinds_bytes(0));
	pthread_t thread[2];
	size_t round;
	double end;

	begin(&from);
	CHECK_EQ(pthread_create(&thread[0], NULL, reads, (void *)11), 0);
	CHECK_EQ(pthread_create(&thread[1], NULL, reads_one, (void *)77), 0);
	while (!whole)
		sched_yield();
	end = see_seconds() + SECONDS;
	for (round = 0; round < LEAST || (round < ROUNDS &&
					 see_seconds() < end); round++) {
		uint64_t before = replaced();

		kinds_lose_at_once(&m, m.width,
				   variant()->locked ? lock_it : NULL);
		while (replaced() == before)
			sched_yield();
	}
	stop = 1;
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	tap_diag("%zu rounds, %zu times read", round, (size_t)whole);
	CHECK_EQ(wrong, 0);
	CHECK(!kinds_wrong(&m, 0, m.len));
	CHECK_EQ(replaced(), round);
	kinds_unlink(&m);
}

/* ------------------------------------------------------- written meanwhile */

static _Atomic int asked, answer;

static int slow(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)arg;
	asked = 1;
	while (!answer)
		sched_yield();
	memcpy(dst, kinds_bytes(0) + offset, bytes);
	return 0;
}

static void *touch(void *arg)
{
	size_t offset = m.width + 9;

	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(live_read(m.at + offset), kinds_bytes(NEWER)[offset]);
	return NULL;
}

static void written_anew(void)
{
	struct bez_source from = bez_source_callback(slow, NULL);
	pthread_t thread;

	if (live_is_real() && variant()->kind->make && !variant()->kind->cow)
		tap_skip("the file's own page is bad, and discarding the "
			 "mapping's does not help");
	if (variant()->locked)
		live_need_linux(5, 18, "discarding of locked memory");
	begin(&from);
	kinds_bytes(NEWER);
	kinds_lose(&m, m.width);
	CHECK_EQ(pthread_create(&thread, NULL, touch, NULL), 0);
	while (!asked)
		sched_yield();
	if (!live_linux(5, 18) && !variant()->locked)
		CHECK_EQ(madvise(m.at + m.width, m.width, MADV_DONTNEED), 0);
	else
		CHECK_EQ(madvise(m.at + m.width, m.width,
				 MADV_DONTNEED_LOCKED), 0);
	memcpy(m.at + m.width, kinds_bytes(NEWER) + m.width, m.width);
	answer = 1;
	pthread_join(thread, NULL);
	CHECK(!memcmp(m.at + m.width, kinds_bytes(NEWER) + m.width, m.width));
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_ALREADY_GOOD), 1);
	CHECK_EQ(replaced(), 0);
	kinds_unlink(&m);
}

#define V(kind, start, locked) \
	(&(const struct variant){ &kinds_##kind, start, locked })

#define ONE(what, function, kind, locked)				\
	{ .name = what ", userfaultfd", .run = function,		\
	  .data = V(kind, 0, locked), .timeout_s = 120 }
#define TWO(what, function, kind, locked)				\
	ONE(what, function, kind, locked),				\
	{ .name = what ", mremap", .run = function,			\
	  .data = V(kind, BEZ_START_NO_UFFD, locked), .timeout_s = 120 }

static const struct tap_case cases[] = {
	TWO("hammered, locked", hammered, anon, 1),
	ONE("hammered, memfd, clean", hammered, memfd, 0),
	ONE("hammered, memfd, copied", hammered, memfd_cow, 0),
	ONE("hammered, memfd, copied and locked", hammered, memfd_cow, 1),
	TWO("hammered, tmpfs, copied", hammered, tmpfs_cow, 0),
	TWO("hammered, hugetlb", hammered, huge, 0),
	ONE("hammered, hugetlb memfd, clean", hammered, huge_memfd, 0),
	ONE("hammered, hugetlb memfd, copied", hammered, huge_memfd_cow, 0),
	TWO("written anew, locked", written_anew, anon, 1),
	TWO("written anew, memfd, clean", written_anew, memfd, 0),
	TWO("written anew, memfd, copied", written_anew, memfd_cow, 0),
	TWO("written anew, tmpfs, copied", written_anew, tmpfs_cow, 0),
	TWO("written anew, hugetlb", written_anew, huge, 0),
	TWO("written anew, hugetlb memfd", written_anew, huge_memfd_cow, 0),
	TWO("written anew, disk", written_anew, disk_cow, 0),
};
TAP_MAIN(cases)
