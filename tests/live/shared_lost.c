/* SPDX-License-Identifier: MIT */
/*
 * What is lost of shared memory stays lost for this process: also when the file
 * has it again, and in children.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "lost.h"
#include "replace_see.h"

#define PAGES	6
#define LOST	3
#define TIMES	50

static unsigned char *at;
static size_t page;
static int fd;
static bez_region_t region;

static void begin(uint32_t policy_flags)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;

	page = live_page();
	fd = memfd_create("lost", MFD_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)(PAGES * page)), 0);
	at = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		  0);
	CHECK(at != MAP_FAILED);
	live_fill(at, PAGES * page, 0);
	see_install();
	see_start(0);
	shared.flags = *(const uint32_t *)tap_data();
	shared.fd = fd;
	policy.flags = policy_flags;
	policy.shared = &shared;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, PAGES * page, &policy, &region), 0);
	lost_begin(fd, at, page);
}

/* 1: in the catch, with the extent and the address. */
static int touch(size_t offset)
{
	unsigned char *addr = at + LOST * page + offset;

	BEZ_TRY {
		if (offset % 2)
			*(volatile unsigned char *)addr = 1;
		else
			live_read(addr);
	} BEZ_CATCH(what) {
		return what->addr == at + LOST * page && what->width == page &&
		       what->touched == addr;
	}
	return 0;
}

static int all_touches(void)
{
	unsigned char byte;
	size_t i;

	for (i = 0; i < TIMES; i++)
		if (!touch(i) || bez_copy(&byte, at + LOST * page + i, 1) != 1)
			return 0;
	return 1;
}

static void check_child(void)
{
	int status = 0;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		tap_apart();
		CHECK(all_touches());
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	CHECKF(WIFEXITED(status) && !WEXITSTATUS(status),
	       "the child ended with %#x", status);
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
	CHECK_EQ(bez_lost_clear(at, PAGES * page), 0);
	CHECK_EQ(live_read(at + LOST * page), 0);
	live_fill(at, PAGES * page, 0);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* Behind the fence another process may fill it, with a source that it has. */
static void poison_filled(void)
{
	begin(BEZ_POLICY_DETACH);
	lost_notice(LOST * page);
	CHECK(all_touches());
	check_child();
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(LOST * page), (off_t)page), 0);
	CHECK_EQ(pwrite(fd, "good", 4, (off_t)(LOST * page)), 4);
	CHECK(all_touches());
	check_child();
	CHECK_EQ(bez_lost_clear(at, PAGES * page), 0);
	CHECK_EQ(live_read(at + LOST * page), 0);
}

/* A hole behind the fence, that somebody else fills. */
static void filled(void)
{
	unsigned char *other;

	live_need_linux(5, 14, "telling a hole from poison");
	begin(BEZ_POLICY_DETACH);
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(LOST * page), (off_t)page), 0);
	CHECK(touch(0));
	other = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		     (off_t)(LOST * page));
	CHECK(other != MAP_FAILED);
	live_fill(other, page, 9);
	CHECK(all_touches());
	check_child();
	CHECK_EQ(bez_lost_clear(at, PAGES * page), 0);
	CHECK_EQ(live_read(at + LOST * page), 0);
	/* it is this process's own now */
	at[LOST * page] = 7;
	CHECK_EQ(live_wrong(other, page, 9), 0);
	CHECK_EQ(live_wrong(at, LOST * page, 0), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* Who did not say that it may be detached has to map it anew. */
static void not_detached(void)
{
	begin(0);
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(LOST * page), (off_t)page), 0);
	CHECK(touch(0));
	CHECK_EQ(bez_lost_clear(at, PAGES * page), -EOPNOTSUPP);
	CHECK(all_touches());
}

static const uint32_t exclusive = BEZ_SHARED_EXCLUSIVE,
		      fenced = BEZ_SHARED_FENCED;

static const struct tap_case cases[] = {
	{ .name = "poison, exclusive", .run = poison, .data = &exclusive },
	{ .name = "poison that others fill, fenced", .run = poison_filled,
	  .data = &fenced },
	{ .name = "a hole that others fill, exclusive", .run = filled,
	  .data = &exclusive },
	{ .name = "a hole that others fill, fenced", .run = filled,
	  .data = &fenced },
	{ .name = "not without consent", .run = not_detached,
	  .data = &fenced },
};

TAP_MAIN(cases)
