/* SPDX-License-Identifier: MIT */
/* For those who read shared memory by system calls: never a hole for data. */
#include <bezoar/shared.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "core/core.h"
#include "repair/share.h"

#define PATIENCE_NS	10000000000u
#define NAP_NS		100000u
#define MOST		((size_t)1 << 30)

int bez_shared_open(int fd)
{
	char path[32];
	long r;

	if (fcntl(fd, F_GETFD) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = bz_openat(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return r == -ENOENT ? -ENOSYS : (int)r;
}

/* Whole pages: a repairer locks those. */
static struct flock range(size_t len, uint64_t offset, short type)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t start = offset & -page;

	return (struct flock){
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)start,
		.l_len = (off_t)(((offset + len + page - 1) & -page) - start),
	};
}

/* A repairer who has not got the lock goes before. He says so far behind. */
static int try_lock(int fd, const struct flock *want)
{
	struct flock said = *want, got = *want;

	said.l_start += (off_t)BZ_SHARE_SAID;
	if (fcntl(fd, F_OFD_GETLK, &said))
		return -errno;
	if (said.l_type != F_UNLCK)
		return -EAGAIN;
	return fcntl(fd, F_OFD_SETLK, &got) ? -errno : 0;
}

static int lock(int fd, size_t len, uint64_t offset)
{
	uint64_t end = bz_after(bz_now_ns(), PATIENCE_NS);
	struct flock want = range(len, offset, F_RDLCK);
	struct timespec nap = { .tv_nsec = NAP_NS };
	int r;

	for (;;) {
		r = try_lock(fd, &want);
		if (r != -EAGAIN && r != -EACCES && r != -EINTR)
			return r;
		if (bz_now_ns() >= end)
			return -ETIMEDOUT;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
	}
}

/* How many of the @len bytes at @offset come before a hole. */
static ssize_t before_hole(int fd, size_t len, uint64_t offset)
{
	off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);

	if (hole < 0)
		return errno == ENXIO ? 0 : -errno;	/* past the end */
	if ((uint64_t)hole == offset)
		return -ENODATA;
	return (ssize_t)((uint64_t)hole - offset < len ?
			 (uint64_t)hole - offset : len);
}

static ssize_t read_locked(int fd, char *buf, size_t len, uint64_t offset)
{
	ssize_t good = before_hole(fd, len, offset), r;
	size_t done = 0;

	if (good <= 0)
		return good;
	while (done < (size_t)good) {
		r = pread(fd, buf + done, (size_t)good - done,
			  (off_t)(offset + done));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && !done)	/* EIO is what it says of poison */
			return errno == EIO ? -ENODATA : -errno;
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

ssize_t bez_shared_pread(int fd, void *buf, size_t len, uint64_t offset)
{
	struct flock done;
	struct statfs fs;
	ssize_t r;

	if (!len || len > MOST || offset > BZ_SHARE_SAID - MOST)
		return len ? -EINVAL : 0;
	if (fstatfs(fd, &fs))
		return -errno;
	if (fs.f_type != TMPFS_MAGIC)	/* others do not tell their holes */
		return -EOPNOTSUPP;
	r = lock(fd, len, offset);
	if (r)
		return r;
	r = read_locked(fd, buf, len, offset);
	done = range(len, offset, F_UNLCK);
	fcntl(fd, F_OFD_SETLK, &done);
	return r;
}
