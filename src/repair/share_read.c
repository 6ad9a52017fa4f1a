/* SPDX-License-Identifier: MIT */
/* For those who read shared memory by system calls: never a hole for data. */
#include <bezoar/shared.h>

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
	long r = bz_sys(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0);

	if (r < 0)
		return (int)r;
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

static long lock_call(int fd, int how, const struct flock *what)
{
	return bz_sys(SYS_fcntl, fd, how, (long)what, 0, 0, 0);
}

/* A repairer who has not got the lock goes before. He says so far behind. */
static long try_lock(int fd, const struct flock *want)
{
	struct flock said = *want;
	long r;

	said.l_start += (off_t)BZ_SHARE_SAID;
	r = lock_call(fd, F_OFD_GETLK, &said);
	if (!r && said.l_type != F_UNLCK)
		r = -EAGAIN;
	return r ? r : lock_call(fd, F_OFD_SETLK, want);
}

/*
 * With the lock come blocked signals: a handler on top of us that runs into a lost
 * page of the range would wait for ourselves. 0: the caller restores *@ret_mask.
 */
static long lock(int fd, size_t len, uint64_t offset, uint64_t *ret_mask)
{
	uint64_t end = bz_after(bz_now_ns(), PATIENCE_NS), all = UINT64_MAX;
	struct flock want = range(len, offset, F_RDLCK);
	_Atomic uint32_t nobody = 0;
	long r;

	for (;;) {
		bz_sigmask(SIG_BLOCK, &all, ret_mask);
		r = try_lock(fd, &want);
		if (!r)
			return 0;
		bz_sigmask(SIG_SETMASK, ret_mask, NULL);
		if (r != -EAGAIN && r != -EACCES && r != -EINTR)
			return r;
		if (bz_now_ns() >= end)
			return -ETIMEDOUT;
		bz_futex_wait(&nobody, 0, NAP_NS);
	}
}

/* How many of the @len bytes at @offset come before a hole. */
static long before_hole(int fd, size_t len, uint64_t offset)
{
	long hole = bz_sys(SYS_lseek, fd, (long)offset, SEEK_HOLE, 0, 0, 0);

	if (hole < 0)
		return hole == -ENXIO ? 0 : hole;	/* past the end */
	if ((uint64_t)hole == offset)
		return -ENODATA;
	return (uint64_t)hole - offset < len ? hole - (long)offset : (long)len;
}

static long read_locked(int fd, char *buf, size_t len, uint64_t offset)
{
	long good = before_hole(fd, len, offset), done = 0, r;

	if (good <= 0)
		return good;
	while (done < good) {
		r = bz_pread(fd, buf + done, (uint64_t)(good - done),
			     offset + (uint64_t)done);
		if (r == -EINTR)
			continue;
		if (r < 0 && !done)	/* EIO is what it says of poison */
			return r == -EIO ? -ENODATA : r;
		if (r <= 0)
			break;
		done += r;
	}
	return done;
}

ssize_t bez_shared_pread(int fd, void *buf, size_t len, uint64_t offset)
{
	struct flock done;
	struct statfs fs;
	uint64_t mask;
	long r;

	if (!len || len > MOST || offset > BZ_SHARE_SAID - MOST)
		return len ? -EINVAL : 0;
	r = bz_sys(SYS_fstatfs, fd, (long)&fs, 0, 0, 0, 0);
	if (r)
		return r;
	if (fs.f_type != TMPFS_MAGIC)	/* others do not tell their holes */
		return -EOPNOTSUPP;
	r = lock(fd, len, offset, &mask);
	if (r)
		return r;
	r = read_locked(fd, buf, len, offset);
	done = range(len, offset, F_UNLCK);
	lock_call(fd, F_OFD_SETLK, &done);
	bz_sigmask(SIG_SETMASK, &mask, NULL);
	return r;
}
