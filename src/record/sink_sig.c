/* SPDX-License-Identifier: MIT */
#include "record/sink.h"

#include <sys/socket.h>

long bz_dup_high(int fd)
{
	long high = bz_sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, BZ_HIGH_FD, 0, 0, 0);

	if (high >= 0 || high == -EBADF)
		return high;
	return bz_sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3, 0, 0, 0);
}

uint32_t bz_sink_mark(int fd)
{
	return !bz_sys(SYS_fcntl, fd, F_SETSIG, BZ_SINK_MARK, 0, 0, 0);
}

int bz_sink_is_ours(const struct bz_sink *sink)
{
	struct bz_file_id id;

	if (sink->marked)
		return bz_sys(SYS_fcntl, sink->fd, F_GETSIG, 0, 0, 0, 0) ==
		       BZ_SINK_MARK;
	return sink->kind != BZ_SINK_NONE && !bz_file_id(sink->fd, &id) &&
	       id.dev == sink->id.dev && id.ino == sink->id.ino;
}

/*
 * A pipe that nobody reads, or a file at its limit: the kernel sends the writing
 * thread a signal besides. It is blocked here and would come later, to a program
 * that has written nothing. (One of the thread's own that was waiting before goes
 * with it: who blocks these signals wants none of them.)
 */
static void take_back(int sig)
{
	uint64_t set = bz_sigbit(sig);
	struct timespec now = { 0 };

	bz_sys(SYS_rt_sigtimedwait, (long)&set, 0, (long)&now, sizeof(set), 0,
	       0);
}

static long put(const struct bz_sink *sink, const void *bytes, uint64_t len)
{
	struct iovec all = { (void *)bytes, len };
	long r;

	switch (sink->kind) {
	case BZ_SINK_SOCKET:
		return bz_sys(SYS_sendto, sink->fd, (long)bytes, (long)len,
			      MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	case BZ_SINK_FILE:
		if (sink->marked)
			break;
		/* at its end, however it was opened: threads write at once, and
		 * a memory file does not order them. Linux 4.16 */
		r = bz_sys(SYS_pwritev2, sink->fd, (long)&all, 1, 0, 0,
			   RWF_APPEND);
		if (r != -ENOSYS && r != -EOPNOTSUPP)
			return r;
		break;
	default:
		break;
	}
	return bz_sys(SYS_write, sink->fd, (long)bytes, (long)len, 0, 0, 0);
}

int bz_sink_put(const struct bz_sink *sink, const void *bytes, uint64_t len)
{
	long r;

	if (!bz_sink_is_ours(sink))
		return -EBADF;
	r = put(sink, bytes, len);
	if (r == -EPIPE && sink->kind != BZ_SINK_SOCKET)
		take_back(SIGPIPE);
	if (r == -EFBIG)
		take_back(SIGXFSZ);
	if (r < 0)
		return (int)r;
	return (uint64_t)r == len ? 0 : -EMSGSIZE;
}

void bz_sink_settle(const struct bz_sink *sink)
{
	if (sink->kind == BZ_SINK_FILE && bz_sink_is_ours(sink))
		bz_sys(SYS_fdatasync, sink->fd, 0, 0, 0, 0, 0);
}
