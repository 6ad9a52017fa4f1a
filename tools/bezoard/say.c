/* SPDX-License-Identifier: MIT */
/*
 * Standard error, which may be read by nobody: a pipe that is full, a journal that
 * hangs, a terminal that was stopped. This process has others to serve, so what does
 * not fit now is not said, and counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "item.h"

/* O_NONBLOCK is of what is opened, which this one shares with who has started it; so
 * pipes and terminals are opened once more. Of files it means nothing. */
static int own(void)
{
	static int fd = -1;
	struct stat st;

	if (fd >= 0)
		return fd;
	fd = 2;
	if (!fstat(2, &st) && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC |
			  O_NOCTTY);
	if (fd < 0)
		fd = 2;
	return fd;
}

static int put(const char *line, size_t len)
{
	struct pollfd room = { .fd = own(), .events = POLLOUT };
	ssize_t n = send(2, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno == ENOTSOCK) {
		/* where it could not be opened again this is all that can be asked */
		if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT))
			return -1;
		n = write(room.fd, line, len);
	}
	return n < 0 ? -1 : 0;
}

void say(const char *fmt, ...)
{
	static const char begin[] = "bezoard: ";
	char line[1100];
	size_t len = sizeof(begin) - 1;
	va_list args;
	int n;

	memcpy(line, begin, len);
	va_start(args, fmt);
	n = vsnprintf(line + len, 1024, fmt, args);
	va_end(args);
	len += n < 0 ? 0 : n < 1024 ? (size_t)n : 1023;
	line[len++] = '\n';
	if (put(line, len))
		unsaid++;
}
