/* SPDX-License-Identifier: MIT */
/*
 * A page is lost and replaced thousands of times while others use it: who
 * reads it never sees a byte that is not good, by load or by system call; who
 * writes to it never loses what was written after the repair.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES		3
#define MIDDLE		1
#define SECONDS		(live_is_real() ? 1.5 : 4.0)	/* at most, and as many
						 * rounds */
#define ROUNDS		5000
#define LEAST		12
#define ALWAYS		1000000		/* max_repeats: no loop here */

struct way {
	uint32_t flags;
	int nobody;
};

static unsigned char *at, *copy;
static size_t page;
static _Atomic int stop;
static _Atomic size_t wrong, whole, refused;

static void prepare(void)
{
	const struct way *way = tap_data();
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;

	page = live_page();
	at = live_pages(PAGES);
	copy = live_pages(PAGES);
	from = bez_source_mirror(copy);
	policy.source = &from;
	policy.max_repeats = ALWAYS;
	if (way->nobody)
		CHECK_EQ(setresuid(65534, 65534, 65534), 0);
	see_install();
	see_start(way->flags);
	CHECK_EQ(bez_region_add(at, PAGES * page, &policy, &region), 0);
}

/* Without userfaultfd a watched page is refused, and the marker's maker
 * watches it for a moment: so that one is made elsewhere. */
static void lose(unsigned char *where)
{
	const struct way *way = tap_data();

	if ((way->flags & BEZ_START_NO_UFFD) || live_is_real())
		see_poison_at_once(where);
	else
		live_poison(where);
}

static uint64_t replaced(void)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED);
}

static void check_page(const unsigned char *bytes, size_t count)
{
	size_t i, bad = 0;

	for (i = 0; i < count; i++)
		bad += live_read(bytes + i) != live_byte(MIDDLE * page + i, 0);
	wrong += bad;
}

static void *by_load(void *arg)
{
	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	while (!stop) {
		check_page(at + MIDDLE * page, page);
		whole++;
	}
	return NULL;
}

/* One byte, as often as can be: a moment is long for this one. */
static void *by_one_load(void *arg)
{
	size_t offset = MIDDLE * page + page / 2, i, bad;

	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	while (!stop) {
		for (i = bad = 0; i < 10000; i++)
			bad += live_read(at + offset) != live_byte(offset, 0);
		wrong += bad;
	}
	return NULL;
}

/* Whole, short, or EFAULT; what did arrive is right. */
static void take(const unsigned char *bytes, ssize_t got)
{
	if (got < 0) {
		CHECKF(errno == EFAULT, "%s", strerror(errno));
		refused++;
		return;
	}
	check_page(bytes, (size_t)got);
	whole += (size_t)got == page;
}

static void *by_write(void *arg)
{
	unsigned char *buf = malloc(page);
	int fd[2];

	(void)arg;
	CHECK(buf && !pipe2(fd, O_NONBLOCK));
	while (!stop) {
		ssize_t got = write(fd[1], at + MIDDLE * page, page);

		if (got > 0)
			CHECK_EQ(read(fd[0], buf, page), got);
		take(buf, got);
		/* each that failed has left an empty piece in the pipe, which
		 * has room for 16 */
		if (got < 0)
			CHECK_EQ(read(fd[0], buf, page), -1);
	}
	return NULL;
}

static void *by_readv(void *arg)
{
	unsigned char *buf = malloc(page);
	struct iovec here = { buf, page }, there = { at + MIDDLE * page, page };

	(void)arg;
	CHECK(buf);
	while (!stop)
		take(buf, process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	return NULL;
}

/* @reader all the time while the page is lost again and again. Whoever comes
 * first repairs it; so there is always one more who reads. */
static void hammer(void *(*reader)(void *))
{
	pthread_t thread[2];
	double end;
	size_t round;

	prepare();
	CHECK_EQ(pthread_create(&thread[0], NULL, reader, NULL), 0);
	CHECK_EQ(pthread_create(&thread[1], NULL, by_one_load, NULL), 0);
	while (!whole)
		sched_yield();
	end = see_seconds() + SECONDS;
	for (round = 0; round < LEAST || (round < ROUNDS &&
					 see_seconds() < end); round++) {
		uint64_t before = replaced();

		lose(at + MIDDLE * page);
		while (replaced() == before)
			sched_yield();
	}
	stop = 1;
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	tap_diag("%zu rounds, %zu whole reads, %zu refused", round,
		 (size_t)whole, (size_t)refused);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	/* real poison may take more than one try, and each may be repaired */
	CHECK(live_is_real() ? replaced() >= round : replaced() == round);
}

static void loads(void)
{
	hammer(by_load);
	CHECK_EQ(refused, 0);
}

static void writes(void)
{
	hammer(by_write);
}

static void readvs(void)
{
	hammer(by_readv);
}

/* ----------------------------------------------------------------- writers */

#define WRITERS		4
#define SLOTS		8		/* counters in the page */

static pthread_barrier_t round_begins, round_ends;

static _Atomic uint64_t *counter(unsigned char *where, size_t i)
{
	return (_Atomic uint64_t *)(where + MIDDLE * page) + i;
}

static void *counts(void *arg)
{
	size_t slot = (size_t)arg % SLOTS;

	CHECK_EQ(bez_thread_attach(), 0);
	for (;;) {
		pthread_barrier_wait(&round_begins);
		if (stop)
			return NULL;
		atomic_fetch_add(counter(at, slot), 1);
		atomic_fetch_add(counter(at, SLOTS), 1);
		pthread_barrier_wait(&round_ends);
	}
}

/*
 * All fault on one page at once. The first who comes through writes to it, and
 * none of the others may put the old bytes over that.
 */
static void no_write_is_lost(void)
{
	pthread_t thread[WRITERS];
	size_t i, round;
	double end;

	prepare();
	memset(at + MIDDLE * page, 0, page);
	memset(copy + MIDDLE * page, 0, page);
	pthread_barrier_init(&round_begins, NULL, WRITERS + 1);
	pthread_barrier_init(&round_ends, NULL, WRITERS + 1);
	for (i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, counts, (void *)i),
			 0);
	end = see_seconds() + SECONDS;
	for (round = 0; round < LEAST || (round < ROUNDS &&
					 see_seconds() < end); round++) {
		memcpy(copy + MIDDLE * page, at + MIDDLE * page, page);
		lose(at + MIDDLE * page);
		pthread_barrier_wait(&round_begins);
		pthread_barrier_wait(&round_ends);
		CHECK_EQ(*counter(at, SLOTS), (round + 1) * WRITERS);
		for (i = 0; i < WRITERS; i++)
			CHECK_EQ(*counter(at, i), round + 1);
	}
	stop = 1;
	pthread_barrier_wait(&round_begins);
	for (i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	tap_diag("%zu rounds, %llu faults found it good, %llu waited", round,
		 (unsigned long long)bez_outcome_count(
			 BEZ_OUTCOME_ALREADY_GOOD),
		 (unsigned long long)bez_outcome_count(BEZ_OUTCOME_WAITED));
	/* real poison may take more than one try, and each may be repaired */
	CHECK(live_is_real() ? replaced() >= round : replaced() == round);
}

static const struct way by_uffd = { 0, 0 },
			by_mremap = { BEZ_START_NO_UFFD, 0 },
			as_nobody = { 0, 1 };

#define EACH_WAY(what, function)					\
	{ .name = what ", userfaultfd", .run = function, .data = &by_uffd }, \
	{ .name = what ", mremap", .run = function, .data = &by_mremap }, \
	{ .name = what ", as nobody", .run = function, .data = &as_nobody }

static const struct tap_case cases[] = {
	EACH_WAY("load", loads),
	EACH_WAY("write(2)", writes),
	EACH_WAY("process_vm_readv(2)", readvs),
	EACH_WAY("no write is lost", no_write_is_lost),
};
TAP_MAIN(cases)
