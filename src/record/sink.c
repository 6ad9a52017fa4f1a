/* SPDX-License-Identifier: MIT */
#include "record/sink.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include "core/core.h"

/* A description of its own, whose mode is ours to set. */
static long open_again(int fd, int flags)
{
	char path[32];
	long r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = bz_openat(path, O_WRONLY | O_NOCTTY | O_CLOEXEC | flags);
	return r == -ENOENT ? -ENOSYS : r;	/* it is open: no /proc */
}

/* Unless it is told not to. */
static int waits(enum bz_sink_kind kind)
{
	return kind == BZ_SINK_PIPE || kind == BZ_SINK_TERMINAL;
}

/* The program's own, where there is no other way: a socket, or one that may be
 * written to and not be opened. */
static long take(int fd, enum bz_sink_kind kind, long flags, uint32_t *marked)
{
	long r = -EBADF;

	*marked = 0;
	if (kind == BZ_SINK_FILE)
		r = open_again(fd, O_APPEND);
	else if (waits(kind))
		r = open_again(fd, O_NONBLOCK);
	if (r >= 0) {
		*marked = bz_sink_mark((int)r);
		return r;
	}
	if (waits(kind) && !(flags & O_NONBLOCK))
		return r;
	return bz_dup_high(fd);
}

int bz_sink_keep(int fd, enum bz_sink_kind kind, struct bz_sink *ret_sink)
{
	long high = fd < BZ_HIGH_FD ? bz_dup_high(fd) : fd, r;

	if (high < 0)
		high = fd;		/* then it stays */
	else if (high != fd)
		bz_close(fd);
	r = bz_file_id((int)high, &ret_sink->id);
	if (r) {
		bz_close((int)high);
		return (int)r;
	}
	ret_sink->fd = (int32_t)high;
	ret_sink->kind = kind;
	ret_sink->marked = 0;
	return 0;
}

#define MEMORY_DEVICES 1			/* null, full, kmsg and so on */

/*
 * The master of a pseudo-terminal can not be opened anew: that makes another one,
 * at whose end nobody is. Many a device is like that, so they are no sinks; who
 * reads from a master can as well read from a pipe.
 */
static enum bz_sink_kind kind_of_device(int fd, dev_t device)
{
	struct termios now;
	uint32_t number;

	if (major(device) == MEMORY_DEVICES)
		return BZ_SINK_PIPE;
	if (bz_sys(SYS_ioctl, fd, TCGETS, (long)&now, 0, 0, 0) ||
	    !bz_sys(SYS_ioctl, fd, TIOCGPTN, (long)&number, 0, 0, 0))
		return BZ_SINK_NONE;
	return BZ_SINK_TERMINAL;
}

enum bz_sink_kind bz_sink_kind(int fd, const struct stat *st)
{
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return BZ_SINK_FILE;
	case S_IFIFO:
		return BZ_SINK_PIPE;
	case S_IFCHR:
		return kind_of_device(fd, st->st_rdev);
	case S_IFSOCK:
		return BZ_SINK_SOCKET;
	default:
		return BZ_SINK_NONE;
	}
}

int bz_sink_open(int fd, struct bz_sink *ret_sink)
{
	enum bz_sink_kind kind;
	long flags, own;
	uint32_t marked;
	struct stat st;
	int r;

	*ret_sink = (struct bz_sink){ .kind = BZ_SINK_NONE, .fd = -1 };
	if (!fd)
		return 0;
	flags = bz_sys(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0);
	if (flags < 0 || bz_sys(SYS_fstat, fd, (long)&st, 0, 0, 0, 0) ||
	    (flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH))
		return -EBADF;
	kind = bz_sink_is_event(fd) ? BZ_SINK_EVENT : bz_sink_kind(fd, &st);
	if (kind == BZ_SINK_NONE)
		return -EINVAL;
	own = take(fd, kind, flags, &marked);
	if (own < 0)
		return (int)own;
	r = bz_sink_keep((int)own, kind, ret_sink);
	if (!r)
		ret_sink->marked = marked;
	return r;
}

void bz_sink_close(struct bz_sink *sink)
{
	if (bz_sink_is_ours(sink))
		bz_close(sink->fd);
	*sink = (struct bz_sink){ .kind = BZ_SINK_NONE, .fd = -1 };
}
