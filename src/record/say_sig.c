/* SPDX-License-Identifier: MIT */
/*
 * A line on the program's own standard error, while the program lives: so what
 * has that number by now must be what had it at bez_start(), and nobody may wait
 * who would not have waited without it.
 */
#include "record/daemon.h"

#include <sys/socket.h>

#include "core/gate.h"

#define STDERR 2

/* A file that does not append may be data; so may be what does not outlive an
 * exec, as it was not inherited. */
int bz_say_may(enum bz_say_how how)
{
	long flags = bz_sys(SYS_fcntl, STDERR, F_GETFL, 0, 0, 0, 0);

	if (how == BZ_SAY_NOT || flags < 0 || (flags & O_PATH) ||
	    (flags & O_ACCMODE) == O_RDONLY ||
	    (how == BZ_SAY_APPEND && !(flags & O_APPEND)))
		return 0;
	return bz_sys(SYS_fcntl, STDERR, F_GETFD, 0, 0, 0, 0) == 0;
}

static int same(const struct bz_say *say, int fd)
{
	struct bz_file_id id;

	return !bz_file_id(fd, &id) && id.dev == say->id.dev &&
	       id.ino == say->id.ino;
}

/* What is opened there is looked at again: the program may have been quicker. */
static int say_anew(const struct bz_say *say, const char *text, uint32_t len)
{
	struct bz_sink once = { .kind = BZ_SINK_PIPE, .id = say->id };
	long fd = bz_openat("/proc/self/fd/2", O_WRONLY | O_NOCTTY | O_NONBLOCK |
			    O_CLOEXEC);
	int r;

	if (fd < 0)
		return (int)fd;
	once.fd = (int32_t)fd;
	r = bz_sink_put(&once, text, len);
	bz_close((int)fd);
	return r;
}

/* No child is made meanwhile that would have it as well, and keep who reads the pipe
 * waiting for its end; and none that is being made is waited for. */
static int say_alone(struct bz_mm *mm, struct bz_walk *w,
		     const struct bz_say *say, const char *text, uint32_t len)
{
	int held = bz_gate_hold(mm, w, 0), r;

	if (held < 0)
		return held;
	r = say_anew(say, text, len);
	bz_gate_leave(w, held);
	return r;
}

int bz_say(struct bz_mm *mm, struct bz_walk *w, const struct bz_say *say,
	   const char *text, uint32_t len)
{
	struct bz_sink there = { .fd = STDERR, .id = say->id };

	if (!bz_say_may(say->how))
		return -EBADF;
	switch (say->how) {
	case BZ_SAY_APPEND:
		there.kind = BZ_SINK_PIPE;	/* it appends by itself */
		break;
	case BZ_SAY_SEND:
		there.kind = BZ_SINK_SOCKET;
		break;
	default:
		return same(say, STDERR) ? say_alone(mm, w, say, text, len) :
					   -EBADF;
	}
	return bz_sink_put(&there, text, len);
}
