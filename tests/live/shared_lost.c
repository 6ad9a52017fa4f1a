/* SPDX-License-Identifier: MIT */
/*
 * What is lost of shared memory stays lost for this process: also when the file
 * has it again, and in children.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huge.h"
#include "live.h"
#include "lost.h"
#include "replace_see.h"

#define LOST	3
#define TIMES	100

/* What a case is about. */
struct as {
	uint32_t flags;			/* of struct bez_shared */
	int huge;
};

static unsigned char *at;
static size_t page, pages;		/* of the file's */
static int fd;
static bez_region_t region;

static void begin(uint32_t policy_flags)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	const struct as *as = tap_data();

	page = as->huge ? HUGE_PAGE : live_page();
	pages = as->huge ? 4 : 6;
	/* and those to put in their place */
	if (as->huge)
		huge_need(pages + 2);
	fd = memfd_create("lost", MFD_CLOEXEC | (as->huge ? MFD_HUGETLB : 0));
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)(pages * page)), 0);
	at = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		  0);
	CHECK(at != MAP_FAILED);
	live_fill(at, pages * page, 0);
	see_install();
	see_start(0);
	shared.flags = as->flags;
	shared.fd = fd;
	policy.flags = policy_flags;
	policy.shared = &shared;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, pages * page, &policy, &region), 0);
	lost_begin(fd, at, page);
}

/* 1: in the catch, with the extent and the address. */
static int touch_as(size_t offset, int store)
{
	unsigned char *addr = at + LOST * page + offset;

	BEZ_TRY {
		if (store)
			*(volatile unsigned char *)addr = 1;
		else
			live_read(addr);
	} BEZ_CATCH(what) {
		return what->addr == at + LOST * page && what->width == page &&
		       what->touched == addr;
	}
	return 0;
}

static int touch(size_t offset)
{
	return touch_as(offset, offset % 2);
}

static int by_call(size_t offset)
{
	int ends[2], r;

	if (pipe(ends))
		return 0;
	r = write(ends[1], at + LOST * page + offset, 1) == -1 &&
	    errno == EFAULT;
	close(ends[0]);
	close(ends[1]);
	return r;
}

/* NULL: each had the answer. */
static void *touches_here(void *arg)
{
	unsigned char byte;
	size_t i;

	bez_thread_attach();
	for (i = 0; i < TIMES; i++) {
		size_t offset = i * 8191 % page;

		if (!touch_as(offset, 0) || !touch_as(offset, 1) ||
		    !by_call(offset) ||
		    bez_copy(&byte, at + LOST * page + offset, 1) != 1)
			return at;
	}
	return arg;
}

static int all_touches(void)
{
	pthread_t t;
	void *r = at;

	return !touches_here(NULL) &&
	       !pthread_create(&t, NULL, touches_here, NULL) &&
	       !pthread_join(t, &r) && !r;
}

static void touches(void)
{
	CHECK(all_touches());
}

/* Poison of who is alone: to clear it is to fill the file again. */
static void poison(void)
{
	begin(0);
	lost_notice(LOST * page);
	CHECK(touch(0));
	/* for who asked the file again a marker is gone */
	lost_mark(LOST * page);
	CHECK(all_touches());
	CHECK_EQ(see_event(at + LOST * page).why, BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ(bez_lost_clear(at, pages * page), 0);
	CHECK_EQ(live_read(at + LOST * page), 0);
	live_fill(at, pages * page, 0);
	CHECK_EQ(live_wrong(at, pages * page, 0), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* It is the file's again: what is written there others have. */
static void is_shared(void)
{
	unsigned char byte = 0;

	at[LOST * page + 9] = 0x5a;
	CHECK_EQ(pread(fd, &byte, 1, (off_t)(LOST * page + 9)), 1);
	CHECK_EQ(byte, 0x5a);
	CHECK_EQ(live_wrong(at, LOST * page, 0), 0);
	CHECK_EQ(see_wrong(at, (LOST + 1) * page, pages * page, 0), 0);
}

/* And behind its fence, as its neighbours are: a hole is no zeros. */
static void is_fenced(void)
{
	unsigned char byte;
	size_t i;

	for (i = 0; i < pages; i++) {
		CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE |
				   FALLOC_FL_KEEP_SIZE, (off_t)(i * page),
				   (off_t)page), 0);
		CHECKF(bez_copy(&byte, at + i * page, 1) == 1,
		       "page %zu is read", i);
	}
}

/* Behind the fence another process may fill it, with a source that it has. What
 * that has put there is good, and stays. */
static void poison_filled(void)
{
	begin(0);
	lost_notice(LOST * page);
	CHECK(all_touches());
	live_in_child(touches);
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(LOST * page), (off_t)page), 0);
	memset((void *)lost->bad, 0, sizeof(lost->bad));
	CHECK_EQ(pwrite(fd, "good", 4, (off_t)(LOST * page)), 4);
	CHECK(all_touches());
	live_in_child(touches);
	CHECK_EQ(bez_lost_clear(at, pages * page), 0);
	CHECK(!memcmp(at + LOST * page, "good", 5));
	is_shared();
	is_fenced();
}

/* From under a cover no huge page comes back where it cannot be moved. */
static void need_moves(void)
{
	if (page != live_page())
		live_need_linux(5, 16, "a move of huge pages");
}

/* A hole behind the fence, that somebody else fills. */
static void filled(void)
{
	unsigned char *other;

	begin(0);
	need_moves();
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(LOST * page), (off_t)page), 0);
	CHECK(touch(0));
	other = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		     (off_t)(LOST * page));
	CHECK(other != MAP_FAILED);
	live_fill(other, page, 9);
	CHECK(all_touches());
	live_in_child(touches);
	CHECK_EQ(bez_lost_clear(at, pages * page), 0);
	CHECK_EQ(live_wrong(at + LOST * page, page, 9), 0);
	is_shared();
	is_fenced();
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* A hole that is one still is filled through the fence. */
static void still_a_hole(void)
{
	unsigned char byte;

	begin(0);
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(LOST * page), (off_t)page), 0);
	CHECK(touch(0));
	/* its neighbour, too: the kernel merges what is moved side by side */
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)((LOST + 1) * page), (off_t)page), 0);
	CHECK_EQ(bez_copy(&byte, at + (LOST + 1) * page, 1), 1);
	CHECK_EQ(bez_lost_clear(at, pages * page), 0);
	CHECK_EQ(live_read(at + LOST * page), 0);
	live_fill(at, pages * page, 0);
	is_shared();
	is_fenced();
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

static void clears(void)
{
	CHECK_EQ(bez_lost_clear(at, pages * page), 0);
	CHECK_EQ(live_read(at + LOST * page), 0);
	at[LOST * page] = 0x77;
}

/* A child that has lost it with its parent has the file again by itself. */
static void clear_in_child(void)
{
	unsigned char byte = 0;

	begin(0);
	lost_notice(LOST * page);
	CHECK(touch(0));
	live_in_child(clears);
	CHECK(all_touches());
	CHECK_EQ(pread(fd, &byte, 1, (off_t)(LOST * page)), 1);
	CHECK_EQ(byte, 0x77);
}

/* A file that ends before it has no room for it. */
static void cut(void)
{
	uint32_t detach = BEZ_POLICY_DETACH;

	begin(0);
	CHECK_EQ(ftruncate(fd, (off_t)(LOST * page)), 0);
	CHECK(touch(0));
	CHECK_EQ(bez_lost_clear(at + LOST * page, page), -EOPNOTSUPP);
	CHECK(all_touches());
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
	begin(detach);
	CHECK_EQ(ftruncate(fd, (off_t)(LOST * page)), 0);
	CHECK(bez_copy(&detach, at + LOST * page, 1));
	CHECK_EQ(bez_lost_clear(at + LOST * page, page), 0);
	CHECK_EQ(live_read(at + LOST * page), 0);
	at[LOST * page] = 7;
	CHECK_EQ(live_read(at + LOST * page), 7);
}

/* ---------------------------------------------------------------- with bytes */

#define NEW	5		/* seed of what the owner has */

static _Atomic uint32_t stop, wrong, caught, good;

/* Lost, or new: never zeros, and not what was there before. */
static void *reads(void *arg)
{
	const unsigned char *addr = at + LOST * page + (uintptr_t)arg;
	unsigned char byte;

	bez_thread_attach();
	while (!atomic_load(&stop)) {
		if (bez_copy(&byte, addr, 1)) {
			atomic_fetch_add(&caught, 1);
			continue;
		}
		if (byte != live_byte((uintptr_t)arg, NEW))
			atomic_fetch_add(&wrong, 1);
		atomic_fetch_add(&good, 1);
	}
	return NULL;
}

/* Another process, which has not lost it: what was there, or new. */
static pid_t other_reads(void)
{
	const volatile unsigned char *addr = at + LOST * page + 11;
	pid_t pid = fork();
	unsigned char byte;

	CHECK(pid >= 0);
	if (pid)
		return pid;
	do {
		if (bez_copy(&byte, (const void *)addr, 1))
			_exit(live_is_real() ? 0 : 3);
	} while (byte == live_byte(LOST * page + 11, 0));
	_exit(byte == live_byte(11, NEW) ? 0 : 4);
}

static void fill(void)
{
	unsigned char *from;
	pthread_t thread[2];
	int status = 0;
	uintptr_t i;
	pid_t pid = 0;

	begin(0);
	from = live_pages(pages * page / live_page());
	live_fill(from + LOST * page, page, NEW);
	if (((const struct as *)tap_data())->flags == BEZ_SHARED_FENCED) {
		need_moves();
		pid = other_reads();
	}
	lost_notice(LOST * page);
	CHECK(touch(0));
	for (i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, reads,
					(void *)(i * 77)), 0);
	while (caught < 100)
		sched_yield();
	CHECK_EQ(bez_lost_fill(at, pages * page, from), 0);
	while (good < 100)
		sched_yield();
	atomic_store(&stop, 1);
	for (i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(live_wrong(at + LOST * page, page, NEW), 0);
	if (pid)
		while (waitpid(pid, &status, 0) < 0)
			CHECK_EQ(errno, EINTR);
	CHECKF(!status, "the other process: %#x", status);
	is_shared();
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* What another has put there meanwhile is not what the owner has. */
static void fill_over(void)
{
	unsigned char *from;
	pthread_t thread;

	begin(0);
	from = live_pages(pages * page / live_page());
	live_fill(from + LOST * page, page, NEW);
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(LOST * page), (off_t)page), 0);
	CHECK(touch(0));
	CHECK_EQ(pwrite(fd, "other", 5, (off_t)(LOST * page)), 5);
	CHECK_EQ(pthread_create(&thread, NULL, reads, NULL), 0);
	while (caught < 100)
		sched_yield();
	CHECK_EQ(bez_lost_fill(at, pages * page, from), 0);
	while (good < 100)
		sched_yield();
	atomic_store(&stop, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(live_wrong(at + LOST * page, page, NEW), 0);
	is_shared();
	is_fenced();
}

/* Before 5.16 a huge page cannot be moved over its cover, and stays lost. */
static void no_move(void)
{
	unsigned char *from;

	begin(0);
	need_moves();
	from = live_pages(pages * page / live_page());
	live_fill(from + LOST * page, page, NEW);
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(LOST * page), (off_t)page), 0);
	CHECK(touch(0));
	lost->no_name = 1;
	CHECK_EQ(bez_lost_fill(at, pages * page, from), -EOPNOTSUPP);
	CHECK(all_touches());
	live_in_child(touches);
	lost->no_name = 0;
	CHECK_EQ(bez_lost_fill(at, pages * page, from), 0);
	CHECK_EQ(live_wrong(at + LOST * page, page, NEW), 0);
	is_shared();
	is_fenced();
}

static const struct as exclusive = { BEZ_SHARED_EXCLUSIVE, 0 },
	fenced = { BEZ_SHARED_FENCED, 0 },
	exclusive_huge = { BEZ_SHARED_EXCLUSIVE, 1 },
	fenced_huge = { BEZ_SHARED_FENCED, 1 };

static const struct tap_case cases[] = {
	{ .name = "poison, exclusive", .run = poison, .data = &exclusive },
	{ .name = "poison that others fill, fenced", .run = poison_filled,
	  .data = &fenced },
	{ .name = "a hole that others fill, exclusive", .run = filled,
	  .data = &exclusive },
	{ .name = "a hole that others fill, fenced", .run = filled,
	  .data = &fenced },
	{ .name = "a hole that nobody fills, exclusive", .run = still_a_hole,
	  .data = &exclusive },
	{ .name = "a hole that nobody fills, fenced", .run = still_a_hole,
	  .data = &fenced },
	{ .name = "cleared by a child, fenced", .run = clear_in_child,
	  .data = &fenced },
	{ .name = "a file that was cut, fenced", .run = cut, .data = &fenced },
	{ .name = "filled, exclusive", .run = fill, .data = &exclusive },
	{ .name = "filled, fenced", .run = fill, .data = &fenced },
	{ .name = "filled over what others put there, fenced", .run = fill_over,
	  .data = &fenced },
	{ .name = "a huge hole that others fill, exclusive", .run = filled,
	  .data = &exclusive_huge },
	{ .name = "a huge hole that others fill, fenced", .run = filled,
	  .data = &fenced_huge },
	{ .name = "huge, filled, exclusive", .run = fill,
	  .data = &exclusive_huge },
	{ .name = "huge, filled, fenced", .run = fill, .data = &fenced_huge },
	{ .name = "huge, and cannot be moved, exclusive", .run = no_move,
	  .data = &exclusive_huge },
	{ .name = "huge, and cannot be moved, fenced", .run = no_move,
	  .data = &fenced_huge },
};

TAP_MAIN(cases)
