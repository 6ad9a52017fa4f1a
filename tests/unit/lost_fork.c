/* SPDX-License-Identifier: MIT */
/*
 * What is lost, in a child of fork(2). Of some memory it does not inherit what keeps
 * that closed; of some it gets another; and another thread may have opened it, and
 * not come to say so. What the child has in its inventory is closed there, and what
 * is not is open.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../live/live.h"
#include "bezoar/shared.h"
#include "region/lost.h"
#include "unit.h"

#define PAGES	3
#define LOST	1

static unsigned char *at;

static unsigned char *lost_page(void)
{
	return at + LOST * unit_page();
}

static void begin(const struct bez_shared *shared)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.shared = shared;
	CHECK_EQ(bez_region_add(at, PAGES * unit_page(), &policy, &region), 0);
	unit_patience(100);
}

static void lose(const struct bez_shared *shared)
{
	/* before somebody else watches it */
	live_poison(lost_page());
	begin(shared);
	CHECK_EQ(bez_recover(lost_page(), 1), -EFAULT);
	CHECK_EQ(bez_lost_in(at, PAGES * unit_page()), 1);
}

static void is_lost(void)
{
	CHECK_EQ(bez_lost_in(at, PAGES * unit_page()), 1);
	CHECK_EQ(unit_state(at, LOST), UNIT_CLOSED);
}

static void is_cleared(void)
{
	is_lost();
	CHECK_EQ(bez_lost_clear(at, PAGES * unit_page()), 0);
	CHECK_EQ(bez_lost_in(at, PAGES * unit_page()), 0);
	CHECK_EQ(unit_state(at, LOST), UNIT_WRONG);
	CHECK_EQ(live_read(lost_page()), 0);
}

static void is_open(void)
{
	CHECK_EQ(bez_lost_in(at, PAGES * unit_page()), 0);
	CHECK_EQ(unit_state(at, LOST), UNIT_GOOD);
}

static void ordinary(void)
{
	unit_need_poison();
	at = live_pages(PAGES);
	lose(NULL);
	live_in_child(is_lost);
	live_in_child(is_cleared);
	is_lost();
}

/* The child was to find zeros, and does. */
static void is_wiped(void)
{
	CHECK_EQ(bez_lost_in(at, PAGES * unit_page()), 0);
	CHECK_EQ(live_read(lost_page()), 0);
}

static void wiped(void)
{
	unit_need_poison();
	if (live_is_real())
		tap_skip("real poison is made by a child, which has none of this "
			 "memory");
	at = live_pages(PAGES);
	CHECK_EQ(madvise(at, PAGES * unit_page(), MADV_WIPEONFORK), 0);
	lose(NULL);
	live_in_child(is_wiped);
	is_lost();
}

static struct bez_shared in_file(void)
{
	struct bez_shared said = BEZ_SHARED_INIT;
	int file = memfd_create("lost", MFD_CLOEXEC);

	unit_need_poison();
	CHECK(file >= 0);
	CHECK_EQ(ftruncate(file, (off_t)(PAGES * unit_page())), 0);
	at = mmap(NULL, PAGES * unit_page(), PROT_READ | PROT_WRITE, MAP_SHARED,
		  file, 0);
	CHECK(at != MAP_FAILED);
	live_fill(at, PAGES * unit_page(), 0);
	said.fd = file;
	said.flags = BEZ_SHARED_EXCLUSIVE;
	return said;
}

/* The child's page tables are filled from the file, whatever the parent's had. */
static void shared(void)
{
	struct bez_shared said = in_file();

	lose(&said);
	live_in_child(is_lost);
	is_lost();
}

/* A hole of a file can be filled by others: so a cover keeps it closed. */
static void hole(void)
{
	struct bez_shared said = in_file();

	begin(&said);
	CHECK_EQ(fallocate(said.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)unit_page(), (off_t)unit_page()), 0);
	double_kernel(*(const uint32_t *)tap_data());
	double_watch();
	CHECK_EQ(bez_recover(lost_page(), 1), -EFAULT);
	is_lost();
	live_in_child(is_lost);
	live_in_child(is_cleared);
	CHECK_EQ(pwrite(said.fd, "new", 3, (off_t)unit_page()), 3);
	is_lost();
	CHECK_EQ(bez_lost_clear(at, PAGES * unit_page()), 0);
	double_rest();
	CHECK_EQ(bez_lost_in(at, PAGES * unit_page()), 0);
	CHECK_EQ(live_read(lost_page()), 'n');
}

static const uint32_t newest, v5_10 = DOUBLE_5_10;

/* Another thread has put memory in the place of a cover, and is about to take the
 * loss out of the inventory; this one forks, and does not wait for it any more. */
static void opened(void)
{
	struct bz_lost_at slot;

	unit_need_poison();
	at = live_pages(PAGES);
	lose(NULL);
	CHECK(bz_lost_find((uint64_t)lost_page(), &slot));
	bz_lost_set_cover(&slot, BZ_COVERED);
	CHECK(mmap(lost_page(), unit_page(), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	      lost_page());
	live_fill(at, PAGES * unit_page(), 0);
	live_in_child(is_open);
}

static const struct tap_case cases[] = {
	{ .name = "private memory", .run = ordinary },
	{ .name = "memory that a child finds empty", .run = wiped },
	{ .name = "shared memory", .run = shared },
	{ .name = "a hole", .run = hole, .data = &newest },
	{ .name = "a hole, before 5.14", .run = hole, .data = &v5_10 },
	{ .name = "opened by another thread", .run = opened },
};

TAP_MAIN(cases)
