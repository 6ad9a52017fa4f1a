/* SPDX-License-Identifier: MIT */
/*
 * Each system call of saving a range and of bringing it back fails once: then the
 * call says so, or what it has done is right. What is read and found bad has
 * changed nothing.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bezoar/bezoar.h>

#include "double.h"
#include "live.h"

#define PAGES	140			/* several chunks */
#define OTHER	9

static unsigned char *at, *to;
static size_t page, len;
static int fd;

static void region(unsigned char *where)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(where, len, &policy, &r), 0);
}

static void begin(void)
{
	page = live_page();
	len = PAGES * page;
	at = live_pages(PAGES);
	to = live_pages(PAGES);
	live_start(BEZ_START_NO_EARLY_KILL);
	region(at);
	region(to);
	CHECK_EQ(bez_lost_add(at + 5 * page, 2 * page), 0);
	CHECK_EQ(bez_lost_add(at + 100 * page, page), 0);
	fd = memfd_create("around", MFD_CLOEXEC);
	CHECK(fd >= 0);
}

static int back(uint32_t flags)
{
	struct bez_holes holes = { NULL, 0, 0, 0 };
	int r;

	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	r = bez_read_back(fd, to, len, flags, &holes);
	CHECK(r || holes.count == 2);
	return r;
}

/* Is @to what was saved? 0, or the page that is not, from 1. */
static size_t wrong(void)
{
	size_t i, k;

	for (i = 0; i < PAGES; i++) {
		if (i == 5 || i == 6 || i == 100)
			continue;
		for (k = i * page; k < (i + 1) * page; k++)
			if (to[k] != live_byte(k, 0))
				return i + 1;
	}
	return 0;
}

static void each_of_saving(void)
{
	uint32_t n, calls, said = 0;
	int r;

	begin();
	double_watch();
	CHECK_EQ(bez_write_around(fd, at, len, NULL), 0);
	calls = double_calls();
	double_rest();
	CHECK(calls > 10);
	for (n = 1; n <= calls; n++) {
		double_reset();
		CHECK_EQ(ftruncate(fd, 0), 0);
		CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
		double_watch();
		double_fail(n, EIO);
		r = bez_write_around(fd, at, len, NULL);
		double_rest();
		CHECKF(double_lies() == 1, "call %u of %u", n, calls);
		CHECKF(r <= 0, "%d", r);
		said += r < 0;
		live_fill(to, len, OTHER);
		CHECKF(back(0) == (r ? -EBADMSG : 0), "call %u: %d", n, r);
		CHECKF(r ? !live_wrong(to, len, OTHER) : !wrong(),
		       "call %u: %d", n, r);
	}
	tap_diag("%u calls, %u errors", calls, said);
	CHECK(said > 3);
}

static void each_of_reading(void)
{
	uint32_t n, calls, said = 0;
	int r;

	begin();
	CHECK_EQ(bez_write_around(fd, at, len, NULL), 0);
	double_watch();
	CHECK_EQ(back(0), 0);
	calls = double_calls();
	double_rest();
	for (n = 1; n <= calls; n++) {
		double_reset();
		live_fill(to, len, OTHER);
		double_watch();
		double_fail(n, EIO);
		r = back(0);
		double_rest();
		CHECKF(double_lies() == 1, "call %u of %u", n, calls);
		said += r < 0;
		CHECKF(r || !wrong(), "call %u", n);
	}
	tap_diag("%u calls, %u errors", calls, said);
	CHECK(said > 3);
}

/* Interrupted each second time, and a descriptor that is full. */
static void again(void)
{
	static const int errs[] = { EINTR, EAGAIN };
	size_t i;

	begin();
	for (i = 0; i < 2; i++) {
		struct double_rule w = { .nr = SYS_write, .err = errs[i] };
		struct double_rule r = { .nr = SYS_pread64, .err = errs[i] };

		double_reset();
		CHECK_EQ(ftruncate(fd, 0), 0);
		CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
		w.nth = 1;
		double_rule(&w);
		w.nth = 3;
		double_rule(&w);
		r.nth = 2;
		double_rule(&r);
		double_watch();
		CHECK_EQ(bez_write_around(fd, at, len, NULL), 0);
		live_fill(to, len, OTHER);
		CHECK_EQ(back(0), 0);
		double_rest();
		CHECK_EQ(double_lies(), 3);
		CHECK_EQ(wrong(), 0);
	}
}

static int looked;

/* Before the second reading of a byte that the first has found right. */
static void change(long nr, const long arg[6])
{
	(void)arg;
	/* trailer's head and rest, chunks of the first reading: 1, then 2 + ... */
	if (nr == SYS_pread64 && ++looked == 8)
		CHECK_EQ(pwrite(fd, "!", 1, (off_t)len - 1), 1);
}

static void changed(void)
{
	begin();
	CHECK_EQ(bez_write_around(fd, at, len, NULL), 0);
	double_before(change);
	double_watch();
	CHECK_EQ(back(0), -ESTALE);
	double_rest();
	CHECK(looked > 8);
}

static const struct tap_case cases[] = {
	{ .name = "each call of saving", .run = each_of_saving },
	{ .name = "each call of reading", .run = each_of_reading },
	{ .name = "interrupted, and full", .run = again },
	{ .name = "a file that changes", .run = changed },
};
TAP_MAIN(cases)
