/* SPDX-License-Identifier: MIT */
/*
 * Children of fork(2) and shared memory: one that is made while a page is a hole
 * does not take that for data; and one that can have no fence can read none of
 * it, however little of it there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../live/live.h"
#include "ladder.h"
#include "repair/share.h"
#include "unit.h"

#define PAGES	8

static unsigned char *at, *copy;
static int file;
static size_t page;

static void begin(uint32_t flags)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	static struct bez_source from;
	bez_region_t region;

	unit_need_poison();
	page = unit_page();
	file = memfd_create("share", MFD_CLOEXEC);
	CHECK(file >= 0);
	CHECK_EQ(ftruncate(file, (off_t)(PAGES * page)), 0);
	at = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, file,
		  0);
	CHECK(at != MAP_FAILED);
	live_fill(at, PAGES * page, 0);
	copy = live_pages(PAGES);
	from = bez_source_mirror(copy);
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	shared.fd = file;
	shared.flags = flags;
	policy.shared = &shared;
	policy.source = &from;
	CHECK_EQ(bez_region_add(at, PAGES * page, &policy, &region), 0);
	unit_patience(60);
}

static int status_of(pid_t child)
{
	int status;

	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

/* --------------------------------------------------------- without a fence */

/* Bit n: the child is without page n. */
static uint32_t without(void)
{
	return *(const uint32_t *)tap_data();
}

static void no_fence(void)
{
	uint32_t i, can_read = 0;
	pid_t child;

	begin(BEZ_SHARED_FENCED);
	for (i = 0; i < PAGES; i++)
		if (without() >> i & 1)
			CHECK_EQ(madvise(at + i * page, page, MADV_DONTFORK),
				 0);
	double_kernel(DOUBLE_NO_UFFD);
	double_watch();
	child = fork();
	double_rest();
	if (!child) {
		for (i = 0; i < PAGES; i++) {
			unsigned char byte;
			struct iovec here = { &byte, 1 };
			struct iovec there = { at + i * page, 1 };

			can_read += process_vm_readv(getpid(), &here, 1, &there,
						     1, 0) == 1;
			/* what it did not inherit it has not been given */
			if ((unit_flag(at + i * page, "mr") == -1) !=
			    (without() >> i & 1))
				_exit(100);
		}
		_exit((int)can_read);
	}
	CHECK(child > 0);
	CHECK_EQ(status_of(child), 0);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
}

static const uint32_t nothing, first = 0x01, second = 0x02, last = 0x80,
		      several = 0x5a, all_but_one = 0xdf, all = 0xff;

/* ----------------------------------------- made while the page is a hole */

static pid_t born;

static int has_ended(void)
{
	siginfo_t info = { .si_pid = 0 };

	CHECK_EQ(waitid(P_PID, (id_t)born, &info,
			WEXITED | WNOHANG | WNOWAIT), 0);
	return info.si_pid == born;
}

static int waits_for_lock(void)
{
	struct flock said = {
		.l_type = F_RDLCK,
		.l_start = (off_t)(BZ_SHARE_SAID + page),
		.l_len = (off_t)page,
	};

	CHECK_EQ(fcntl(file, F_OFD_GETLK, &said), 0);
	return said.l_type != F_UNLCK;
}

/* As where a fork has been going on for too long to be waited for. Goes on when
 * the child has read the page, or waits for it. */
static void fork_now(long nr, const long arg[6])
{
	if (nr != SYS_ioctl || arg[1] != (long)UFFDIO_COPY || born)
		return;
	born = fork();
	if (!born)
		_exit(live_read(at + page) == live_byte(page, 0) &&
		      !live_wrong(at, PAGES * page, 0) ? 0 : 1);
	while (!waits_for_lock() && !has_ended())
		sched_yield();
}

static void in_the_middle(void)
{
	const uint32_t *flags = tap_data();
	struct bz_fault fault = { .cause = BEZ_CAUSE_ADRERR, .si_code = 2 };
	struct bz_result result;
	struct bz_walk *w;

	begin(*flags);
	CHECK_EQ(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)page, (off_t)page), 0);
	fault.addr = (uint64_t)at + page;
	fault.taken_ns = bz_now_ns();
	double_before(fork_now);
	w = unit_enter(atomic_load(&bz_core.mm));
	double_watch();
	bz_ladder(atomic_load(&bz_core.mm), w, &fault, &result);
	double_rest();
	bz_walk_leave(atomic_load(&bz_core.mm), w, NULL);
	CHECK(born > 0);
	CHECK_EQ(status_of(born), 0);
	/* where nobody has a lock it was quicker */
	CHECK_EQ(result.outcome, *flags == BEZ_SHARED_FENCED ?
		 BEZ_OUTCOME_REPLACED : BEZ_OUTCOME_ALREADY_GOOD);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
}

static const uint32_t fenced = BEZ_SHARED_FENCED,
		      exclusive = BEZ_SHARED_EXCLUSIVE;

#define NO_FENCE(what, of) \
	{ .name = "no fence: " what, .run = no_fence, .data = &of }

static const struct tap_case cases[] = {
	NO_FENCE("all of it", nothing),
	NO_FENCE("not the first page", first),
	NO_FENCE("not the second", second),
	NO_FENCE("not the last", last),
	NO_FENCE("several gaps", several),
	NO_FENCE("but one page", all_but_one),
	NO_FENCE("nothing at all", all),
	{ .name = "in the middle, fenced", .run = in_the_middle,
	  .data = &fenced },
	{ .name = "in the middle, exclusive", .run = in_the_middle,
	  .data = &exclusive },
};
TAP_MAIN(cases)
