/* SPDX-License-Identifier: MIT */
#include "record/sink.h"

#include <stdio.h>

#include "core/core.h"

#define HIGH_FD 1000

static long dup_high(int fd)
{
	long high = bz_sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, HIGH_FD, 0, 0, 0);

	if (high >= 0 || high == -EBADF)
		return high;
	return bz_sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3, 0, 0, 0);
}

/* A description of its own, whose mode is ours to set. */
static long open_again(int fd, long flags)
{
	char path[32];
	long r;

	if (flags & O_NONBLOCK)
		return dup_high(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = bz_openat(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return r == -ENOENT ? -ENOSYS : r;	/* it is open: no /proc */
}

int bz_sink_keep(int fd, enum bz_sink_kind kind, struct bz_sink *ret_sink)
{
	long high = fd < HIGH_FD ? dup_high(fd) : fd, r;

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
	return 0;
}

static enum bz_sink_kind kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return BZ_SINK_FILE;
	case S_IFIFO:
	case S_IFCHR:
		return BZ_SINK_PIPE;
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
	struct stat st;

	*ret_sink = (struct bz_sink){ .kind = BZ_SINK_NONE, .fd = -1 };
	if (!fd)
		return 0;
	flags = bz_sys(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0);
	if (flags < 0 || bz_sys(SYS_fstat, fd, (long)&st, 0, 0, 0, 0) ||
	    (flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH))
		return -EBADF;
	kind = bz_sink_is_event(fd) ? BZ_SINK_EVENT : kind_of(st.st_mode);
	if (kind == BZ_SINK_NONE)
		return -EINVAL;
	own = kind == BZ_SINK_PIPE ? open_again(fd, flags) : dup_high(fd);
	return own < 0 ? (int)own : bz_sink_keep((int)own, kind, ret_sink);
}

void bz_sink_close(struct bz_sink *sink)
{
	if (bz_sink_is_ours(sink))
		bz_close(sink->fd);
	*sink = (struct bz_sink){ .kind = BZ_SINK_NONE, .fd = -1 };
}
