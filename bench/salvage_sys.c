/* SPDX-License-Identifier: MIT */
/* The door to the kernel, with one bad page behind it; see salvage.h. */
#define _GNU_SOURCE
#include "salvage.h"

#include "sys/sys.h"

#include <unistd.h>

static int bad_fd = -1;
static size_t bad;

void salvage_bad(int fd, size_t offset)
{
	bad_fd = fd;
	bad = offset;
}

static long kernel(long nr, long a, long b, long c, long d, long e, long f)
{
	long r = syscall(nr, a, b, c, d, e, f);

	return r == -1 ? -errno : r;
}

long salvage_pread(int fd, void *buf, size_t len, size_t offset)
{
	if (fd == bad_fd && offset <= bad && bad < offset + len) {
		if (offset == bad)
			return -EIO;
		len = bad - offset;
	}
	return kernel(SYS_pread64, fd, (long)buf, (long)len, (long)offset, 0,
		      0);
}

long bz_sys(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == SYS_pread64)
		return salvage_pread((int)a, (void *)b, (size_t)c, (size_t)d);
	return kernel(nr, a, b, c, d, e, f);
}

uint64_t bz_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
