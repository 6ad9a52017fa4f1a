/* SPDX-License-Identifier: MIT */
/*
 * Reading shared memory by a system call: exact counts, never a hole for data,
 * never for ever, and no lock left behind whatever fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../live/live.h"
#include "repair/share.h"
#include "unit.h"

#define PAGES	4
#define HUGE	((size_t)2 << 20)

static int file, fd;
static size_t page;
static unsigned char buf[PAGES * 65536];

static void begin(void)
{
	unsigned char all[PAGES * 4096];

	page = unit_page();
	CHECK_EQ(page, 4096);
	file = memfd_create("read", MFD_CLOEXEC);
	CHECK(file >= 0);
	live_fill(all, sizeof(all), 0);
	CHECK_EQ(pwrite(file, all, sizeof(all), 0), sizeof(all));
	fd = bez_shared_open(file);
	CHECK(fd >= 0);
}

/* What it says; and that it touched no more than it says. */
static ssize_t get(size_t len, uint64_t offset)
{
	size_t i, wrong = 0, more = 0;
	ssize_t r;

	memset(buf, 0, sizeof(buf));
	r = bez_shared_pread(fd, buf, len, offset);
	for (i = 0; i < sizeof(buf); i++)
		if (r > 0 && i < (size_t)r)
			wrong += buf[i] != live_byte(offset + i, 0);
		else
			more += buf[i] != 0;
	CHECK_EQ(wrong, 0);
	CHECK_EQ(more, 0);
	return r;
}

static int is_unlocked(void)
{
	struct flock lock = { .l_type = F_WRLCK };

	CHECK_EQ(fcntl(file, F_OFD_GETLK, &lock), 0);
	return lock.l_type == F_UNLCK;
}

static void punch(size_t first, size_t pages)
{
	CHECK_EQ(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(first * page), (off_t)(pages * page)), 0);
}

static void opening(void)
{
	char path[64];
	int other;

	begin();
	CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(write(fd, "x", 1), -1);
	/* an open file of its own */
	CHECK_EQ(lseek(file, 5, SEEK_SET), 5);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
	CHECK_EQ(bez_shared_open(-1), -EBADF);
	CHECK_EQ(bez_shared_open(999), -EBADF);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	other = open(path, O_PATH);
	CHECK(other >= 0);
	close(fd);
	fd = bez_shared_open(other);
	CHECK_EQ(get(page, 0), page);
}

static void counts(void)
{
	uint64_t offset;
	size_t len;

	begin();
	for (offset = 0; offset < PAGES * page; offset += 509)
		for (len = 1; len <= PAGES * page - offset; len += 1021)
			CHECK_EQ(get(len, offset), len);
	/* the end of the file */
	CHECK_EQ(get(page, PAGES * page - 7), 7);
	CHECK_EQ(get(page, PAGES * page), 0);
	CHECK_EQ(get(page, PAGES * page + 12345), 0);
	CHECK_EQ(ftruncate(file, (off_t)(page + 10)), 0);
	CHECK_EQ(get(2 * page, 1), page + 9);
	CHECK(is_unlocked());
}

static void holes(void)
{
	begin();
	punch(1, 2);
	CHECK_EQ(get(PAGES * page, 0), page);
	CHECK_EQ(get(PAGES * page, 100), page - 100);
	CHECK_EQ(get(page, page), -ENODATA);
	CHECK_EQ(get(1, 3 * page - 1), -ENODATA);
	CHECK_EQ(get(page, 3 * page), page);
	punch(3, 1);
	CHECK_EQ(get(page, 3 * page), -ENODATA);
	CHECK(is_unlocked());
	/* nothing was put there by it */
	CHECK_EQ(lseek(file, 0, SEEK_HOLE), page);
}

static void refused(void)
{
	char name[] = "/var/tmp/bezoar-read-XXXXXX", path[64];
	struct statfs fs;
	int other;

	begin();
	CHECK_EQ(bez_shared_pread(fd, buf, 0, 0), 0);
	CHECK_EQ(bez_shared_pread(fd, buf, ((size_t)1 << 30) + 1, 0), -EINVAL);
	CHECK_EQ(bez_shared_pread(fd, buf, 1, (uint64_t)1 << 62), -EINVAL);
	CHECK_EQ(bez_shared_pread(fd, buf, 1, UINT64_MAX), -EINVAL);
	CHECK_EQ(bez_shared_pread(-1, buf, 1, 0), -EBADF);
	CHECK_EQ(bez_shared_pread(fd, (void *)8, 1, 0), -EFAULT);
	CHECK(is_unlocked());
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	other = open(path, O_WRONLY);
	CHECK_EQ(bez_shared_pread(other, buf, 1, 0), -EBADF);
	other = mkstemp(name);
	if (other < 0 || fstatfs(other, &fs) || fs.f_type == TMPFS_MAGIC)
		tap_skip("/var/tmp is on no disk here");
	unlink(name);
	CHECK_EQ(bez_shared_pread(other, buf, 1, 0), -EOPNOTSUPP);
	other = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (other >= 0)
		CHECK_EQ(bez_shared_pread(other, buf, 1, 0), -EOPNOTSUPP);
	CHECK(is_unlocked());
}

/* pread(2) says EIO of poison. */
static void poison(void)
{
	struct double_rule at_once = { .nr = SYS_pread64, .err = EIO };
	struct double_rule shorter = { .nr = SYS_pread64, .nth = 1,
				       .err = EINTR };

	begin();
	double_rule(&at_once);
	double_watch();
	CHECK_EQ(get(page, 0), -ENODATA);
	double_reset();
	double_rule(&shorter);
	double_watch();
	CHECK_EQ(get(2 * page, 5), 2 * page);
	double_reset();
	at_once.err = ENOMEM;
	double_rule(&at_once);
	double_watch();
	CHECK_EQ(get(page, 0), -ENOMEM);
	double_reset();
	CHECK(is_unlocked());
}

static void set_lock(int on, short type, uint64_t offset, size_t len)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET,
			      .l_start = (off_t)offset, .l_len = (off_t)len };

	CHECK_EQ(fcntl(on, F_OFD_SETLK, &lock), 0);
}

/* Somebody repairs a page and does not come to an end; or waits to. */
static void waits(void)
{
	begin();
	double_clock(1000000000);
	set_lock(file, F_WRLCK, page, page);
	double_watch();
	CHECK_EQ(get(10, page + 5), -ETIMEDOUT);
	CHECK_EQ(get(2 * page, 0), -ETIMEDOUT);
	CHECK_EQ(get(page, 0), page);
	CHECK_EQ(get(page, 2 * page), page);
	set_lock(file, F_UNLCK, page, page);
	CHECK_EQ(get(2 * page, 0), 2 * page);
	set_lock(file, F_WRLCK, BZ_SHARE_SAID + page, page);
	CHECK_EQ(get(1, 2 * page - 1), -ETIMEDOUT);
	CHECK_EQ(get(page, 2 * page), page);
	set_lock(file, F_UNLCK, BZ_SHARE_SAID + page, page);
	CHECK_EQ(get(page, page), page);
	double_reset();
	CHECK(is_unlocked());
}

static _Atomic int let_go;

static void *lets_go(void *arg)
{
	(void)arg;
	while (!atomic_load(&let_go))
		sched_yield();
	set_lock(file, F_UNLCK, 0, page);
	return NULL;
}

static void goes_on(long nr, const long arg[6])
{
	if (nr == SYS_futex && arg[1])
		atomic_store(&let_go, 1);
}

/* What is let go in time is read. */
static void let_in(void)
{
	pthread_t thread;

	begin();
	set_lock(file, F_WRLCK, 0, page);
	CHECK_EQ(pthread_create(&thread, NULL, lets_go, NULL), 0);
	double_before(goes_on);
	double_watch();
	CHECK_EQ(get(page, 0), page);
	CHECK(double_count(SYS_futex, 0) > 0);
	double_reset();
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(is_unlocked());
}

/* Readers do not exclude one another. */
static void readers(void)
{
	begin();
	set_lock(file, F_RDLCK, 0, PAGES * page);
	CHECK_EQ(get(PAGES * page, 0), PAGES * page);
	set_lock(file, F_UNLCK, 0, 0);
	CHECK(is_unlocked());
}

static void each_call_fails(void)
{
	static const int errors[] = { EINVAL, EIO, ENOLCK, EINTR, EAGAIN, ENXIO };
	uint32_t n, failed = 0;
	size_t e;
	ssize_t r;

	begin();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1;; n++) {
			int unlock;

			double_reset();
			double_fail(n, errors[e]);
			double_watch();
			r = get(page, 100);
			double_rest();
			if (!double_lies())
				break;
			failed += r < 0;
			CHECK(r <= (ssize_t)page);
			/* the last but one: the signals come after it */
			unlock = double_traced() > 1 &&
				 double_trace(double_traced() - 2)->lied;
			CHECKF(is_unlocked() || unlock, "call %u says %s", n,
			       strerror(errors[e]));
			set_lock(fd, F_UNLCK, 0, 0);
		}
	double_reset();
	CHECK(failed);
}

static const struct tap_case cases[] = {
	{ .name = "opening", .run = opening },
	{ .name = "counts", .run = counts },
	{ .name = "holes", .run = holes },
	{ .name = "refused", .run = refused },
	{ .name = "poison", .run = poison },
	{ .name = "waits for a repairer", .run = waits },
	{ .name = "is let in", .run = let_in },
	{ .name = "readers", .run = readers },
	{ .name = "each call fails", .run = each_call_fails },
};
TAP_MAIN(cases)
