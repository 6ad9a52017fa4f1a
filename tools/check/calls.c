/* SPDX-License-Identifier: MIT */
/* System calls and copies that meet a lost page: S9. */
#include "probe.h"
#include "told.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A file, with two good pages in it. */
static int some_file(void)
{
	int fd = memfd_create("bezoar-check", MFD_CLOEXEC);
	size_t len = 2 * probe_page();

	if (fd < 0 || pwrite(fd, probe_pages(2), len, 0) != (ssize_t)len)
		probe_untested("memfd_create: %s", strerror(errno));
	return fd;
}

static void expect_efault(const char *call, long result)
{
	EXPECT(result == -1 && errno == EFAULT, "%s said %ld (%s), and not "
	       "EFAULT", call, result,
	       result < 0 ? strerror(errno) : "no error");
}

void s9_no_signal(void)
{
	size_t page = probe_page();
	int fd = some_file();
	unsigned char *p;
	ssize_t n;

	told_begin();
	p = probe_pages(2);
	probe_lose(p + page);
	probe_doing("making a system call with a lost buffer");
	expect_efault("write(2)", pwrite(fd, p + page, 1, 0));
	n = pwrite(fd, p, 2 * page, 0);
	EXPECT(n == (ssize_t)page, "write(2) of a good page and a lost one "
	       "said %zd, and not %zu", n, page);
	expect_efault("read(2)", pread(fd, p + page, page, 0));
	expect_efault("futex(2)", syscall(SYS_futex, p + page, FUTEX_WAIT, 0,
					  NULL, NULL, 0));
	EXPECT(!told.count, "there was a signal, code %d", told.code);
	EXPECT(!probe_wrong(p, page), "the page before it has a wrong byte");
	EXPECT(told_load(p + page), "the page can be read afterwards");
	probe_holds();
}

static void expect_left(const char *call, size_t left, size_t want)
{
	EXPECT(left == want, "%s said that %zu bytes are missing, and %zu are",
	       call, left, want);
}

void s9_copy(void)
{
	size_t page = probe_page(), i;
	unsigned char *lost, *good;

	probe_start(0);
	lost = probe_pages(2);
	good = probe_pages(3);
	probe_lose(lost + page);
	probe_doing("copying from a lost page");
	memset(good, 0, 3 * page);
	expect_left("bez_copy()", bez_copy(good, lost + 5, 2 * page - 5), page);
	for (i = 0; i < 3 * page; i++)
		EXPECT(good[i] == (i < page - 5 ? lost[5 + i] : 0),
		       "byte %zu of the copy is wrong", i);
	probe_doing("copying to a lost page");
	expect_left("bez_copy()", bez_copy(lost + page - 9, good, 100), 91);
	expect_left("bez_set()", bez_set(lost + page - 9, 1, 100), 91);
	probe_holds();
}

void s9_recover(void)
{
	size_t page = probe_page();
	unsigned char *p, *copy, *seen;
	int fd = some_file();

	probe_start(BEZ_START_NO_EARLY_KILL);
	p = probe_pages(2);
	copy = probe_pages(2);
	seen = probe_pages(2);
	probe_mirrored(p, 2 * page, copy);
	probe_lose(p);
	probe_doing("making a system call with a lost buffer");
	expect_efault("write(2)", pwrite(fd, p, 2 * page, 0));
	EXPECT(!bez_recover(p, 2 * page), "bez_recover() could not help");
	EXPECT(pwrite(fd, p, 2 * page, 0) == (ssize_t)(2 * page),
	       "write(2) was short after bez_recover()");
	memset(seen, 0, 2 * page);
	EXPECT(pread(fd, seen, 2 * page, 0) == (ssize_t)(2 * page) &&
	       !probe_wrong(seen, 2 * page), "what was written is wrong");
	probe_holds();
}
