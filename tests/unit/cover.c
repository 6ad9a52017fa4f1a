/* SPDX-License-Identifier: MIT */
/*
 * Fourth room: covers, with each of the system calls failing once in each way.
 * Before the cover is there the memory is what it was, and nothing is left over.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../live/live.h"
#include "repair/repair.h"
#include "unit.h"

static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EINTR, EPERM, EBADF,
			      ENOSYS };

static unsigned char *at, scratch[65536], fresh[65536];

static struct bz_extent middle(void)
{
	return (struct bz_extent){ (uint64_t)(at + unit_page()), unit_page() };
}

static int nowhere(uint64_t start, uint64_t width)
{
	(void)start;
	(void)width;
	return 0;
}

static void begin(void)
{
#if !defined(__x86_64__)
	tap_skip("qemu-user, where this runs, has mappings of its own");
#endif
	unit_mm();
	live_fill(fresh, sizeof(fresh), 4);
	at = live_pages(3);
	CHECK_EQ(madvise(at, 3 * unit_page(), MADV_DONTDUMP), 0);
	CHECK_EQ(mprotect(at, 3 * unit_page(), PROT_READ), 0);
}

static enum bez_outcome cover(void)
{
	enum bez_outcome did;
	int shared = 5;

	double_watch();
	did = bz_cover(middle(), 0, scratch, nowhere, &shared);
	double_rest();
	CHECK(did != BEZ_OUTCOME_NONE || shared == 0);
	return did;
}

static enum bez_outcome uncover(void)
{
	enum bez_outcome did;

	double_watch();
	did = bz_uncover(middle(), 0, fresh, scratch, nowhere);
	double_rest();
	return did;
}

static int is_fresh(void)
{
	return !memcmp(at + unit_page(), fresh, unit_page());
}

static void there_and_back(void)
{
	begin();
	CHECK_EQ(cover(), BEZ_OUTCOME_NONE);
	CHECK_EQ(unit_state(at, 1), UNIT_CLOSED);
	CHECK_EQ(unit_state(at, 0), UNIT_GOOD);
	CHECK_EQ(unit_state(at, 2), UNIT_GOOD);
	CHECK_EQ(unit_flag(at + unit_page(), "dd"), 1);
	CHECK_EQ(unit_flag(at + unit_page(), "wr"), 0);
	CHECK_EQ(uncover(), BEZ_OUTCOME_NONE);
	CHECK(is_fresh());
	CHECK_EQ(unit_flag(at + unit_page(), "dd"), 1);
	CHECK_EQ(unit_flag(at + unit_page(), "wr"), 0);
	CHECK_EQ(uncover(), BEZ_OUTCOME_ALREADY_GOOD);
	CHECK(is_fresh());
	/* closed by the program as well, it is a cover all the same */
	CHECK_EQ(cover(), BEZ_OUTCOME_NONE);
	CHECK_EQ(mprotect(at + unit_page(), unit_page(), PROT_NONE), 0);
	CHECK_EQ(uncover(), BEZ_OUTCOME_NONE);
	CHECK_EQ(mprotect(at + unit_page(), unit_page(), PROT_READ), 0);
	CHECK(is_fresh());
}

static void every_call(void)
{
	int back = *(const int *)tap_data();
	enum unit_state was = back ? UNIT_CLOSED : UNIT_GOOD, is;
	uint32_t n, calls, fds, did_it = 0, refused = 0;
	uint64_t layout;
	size_t e;

	begin();
	CHECK_EQ(cover(), BEZ_OUTCOME_NONE);
	if (back) {
		CHECK_EQ(uncover(), BEZ_OUTCOME_NONE);
		CHECK_EQ(cover(), BEZ_OUTCOME_NONE);
	}
	calls = double_calls();
	CHECK(calls > 3);
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls + 8; n++) {
			enum bez_outcome did;

			double_reset();
			munmap(at, 3 * unit_page());
			begin();
			if (back)
				CHECK_EQ(cover(), BEZ_OUTCOME_NONE);
			double_reset();
			fds = unit_fds();
			layout = unit_layout();
			double_fail(n, errors[e]);
			did = back ? uncover() : cover();
			if (!double_lies())
				break;
			is = unit_state(at, 1);
			CHECK_EQ(unit_fds(), fds);
			CHECK_EQ(unit_state(at, 0), UNIT_GOOD);
			CHECK_EQ(unit_state(at, 2), UNIT_GOOD);
			if (did == BEZ_OUTCOME_NONE) {
				CHECK(is != was);
				did_it++;
				continue;
			}
			CHECKF(did >= BEZ_OUTCOME_REFUSED_KIND &&
			       did <= BEZ_OUTCOME_REFUSED_SYSTEM,
			       "call %u says %s: %s", n, strerror(errors[e]),
			       bez_outcome_name(did));
			CHECKF(is == was, "call %u says %s: %d", n,
			       strerror(errors[e]), is);
			CHECK_EQ(unit_layout(), layout);
			refused++;
		}
	CHECK(did_it && refused);
}

static void not_kept(void)
{
	begin();
	CHECK_EQ(mprotect(at, 3 * unit_page(), PROT_READ | PROT_WRITE), 0);
	CHECK_EQ(madvise(at + unit_page(), unit_page(), MADV_WIPEONFORK), 0);
	CHECK_EQ(cover(), BEZ_OUTCOME_REFUSED_ATTRS);
	CHECK_EQ(madvise(at + unit_page(), unit_page(), MADV_KEEPONFORK), 0);
	CHECK_EQ(unit_state(at, 1), UNIT_GOOD);
}

static void locked(void)
{
	begin();
	CHECK_EQ(mprotect(at, 3 * unit_page(), PROT_READ | PROT_WRITE), 0);
	/* a sanitizer has a mlock() of its own, that does nothing */
	CHECK_EQ(syscall(SYS_mlock, at + unit_page(), unit_page()), 0);
	CHECK_EQ(unit_flag(at + unit_page(), "lo"), 1);
	CHECK_EQ(cover(), BEZ_OUTCOME_NONE);
	CHECK_EQ(unit_state(at, 1), UNIT_CLOSED);
	CHECK_EQ(unit_flag(at + unit_page(), "lo"), 1);
	CHECK_EQ(uncover(), BEZ_OUTCOME_NONE);
	CHECK(is_fresh());
	CHECK_EQ(unit_flag(at + unit_page(), "lo"), 1);
}

static void hole(void)
{
	begin();
	CHECK_EQ(munmap(at + unit_page(), unit_page()), 0);
	CHECK_EQ(cover(), BEZ_OUTCOME_NONE);
	CHECK_EQ(unit_state(at, 1), UNIT_CLOSED);
	CHECK_EQ(uncover(), BEZ_OUTCOME_NONE);
	CHECK(is_fresh());
}

static enum bez_outcome uncover_wide(int base)
{
	struct bz_extent x = { (uint64_t)at, 4 * unit_page() };
	enum bez_outcome did;

	double_watch();
	did = bz_uncover(x, base, fresh, scratch, nowhere);
	double_rest();
	return did;
}

/* A kernel that cannot move a huge page finds that out when the cover is gone. */
static void huge_before_5_16(void)
{
	struct double_rule no_name = { .nr = SYS_uname, .err = ENOSYS };
	struct bz_extent x;
	uint64_t layout;
	int shared;

	begin();
	at = live_pages(4);
	x = (struct bz_extent){ (uint64_t)at, 4 * unit_page() };
	CHECK_EQ(bz_cover(x, 0, scratch, nowhere, &shared),
		 BEZ_OUTCOME_NONE);
	layout = unit_layout();
	/* no such page is that small; but it is tried */
	if (live_linux(5, 16))
		CHECK_EQ(uncover_wide(0), BEZ_OUTCOME_REFUSED_HUGE);
	double_kernel(DOUBLE_5_10 & ~DOUBLE_NO_POPULATE);
	CHECK_EQ(uncover_wide(0), BEZ_OUTCOME_REFUSED_KIND);
	CHECK_EQ(double_count(SYS_mmap, 0), 0);
	CHECK_EQ(double_count(SYS_mremap, 0), 0);
	double_reset();
	double_rule(&no_name);
	CHECK_EQ(uncover_wide(0), BEZ_OUTCOME_REFUSED_KIND);
	CHECK_EQ(double_count(SYS_mmap, 0), 0);
	CHECK_EQ(unit_layout(), layout);
	CHECK_EQ(unit_state(at, 0), UNIT_CLOSED);
	/* base pages can be moved */
	CHECK_EQ(uncover_wide(1), BEZ_OUTCOME_NONE);
	CHECK(!memcmp(at, fresh, 4 * unit_page()));
}

/* Where a move took the cover away and put nothing there: not good. */
static void cover_gone(void)
{
	begin();
	CHECK(mmap(at + unit_page(), unit_page(), PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	      at + unit_page());
	CHECK_EQ(uncover(), BEZ_OUTCOME_REFUSED_KIND);
	CHECK_EQ(double_count(SYS_mremap, 0), 0);
	CHECK_EQ(unit_state(at, 1), UNIT_CLOSED);
}

static const int there, back = 1;

static const struct tap_case cases[] = {
	{ .name = "closed, and open again, with its attributes",
	  .run = there_and_back },
	{ .name = "each call fails, closing", .run = every_call,
	  .data = &there },
	{ .name = "each call fails, opening", .run = every_call,
	  .data = &back },
	{ .name = "what a cover cannot have is refused", .run = not_kept },
	{ .name = "what is locked stays locked", .run = locked },
	{ .name = "where nothing is mapped", .run = hole },
	{ .name = "a huge page before 5.16", .run = huge_before_5_16 },
	{ .name = "a cover that went", .run = cover_gone },
};

TAP_MAIN(cases)
