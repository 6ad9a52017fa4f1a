/* SPDX-License-Identifier: MIT */
/* How a process is held, and how it has ended, where the kernel says something else than
 * usual: it is another one, or it was asked at a bad moment. */
#include "ended.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static int peer_errno;			/* of SO_PEERPIDFD; 0: the kernel's own word */
static int ioctl_errno;			/* of the next one; likewise */

int __real_getsockopt(int fd, int level, int name, void *to, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int name, void *to, socklen_t *len);
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

int __wrap_getsockopt(int fd, int level, int name, void *to, socklen_t *len)
{
	if (name != SO_PEERPIDFD || !peer_errno)
		return __real_getsockopt(fd, level, name, to, len);
	errno = peer_errno;
	return -1;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (!ioctl_errno)
		return __real_ioctl(fd, request, arg);
	errno = ioctl_errno;
	ioctl_errno = 0;
	return -1;
}

/* Where the kernel knows whose connection it is and says no, the number may be
 * somebody else's by now; where it does not know that, there is only the number. */
static void by_number(void)
{
	static const int no[] = { ESRCH, EINVAL, ENODATA, EMFILE };
	struct ended_stat stat;
	int ends[2], fd;
	size_t i;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	for (i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		peer_errno = no[i];
		CHECK_EQ(ended_hold(ends[0], getpid(), &stat), -1);
	}
	peer_errno = ENOPROTOOPT;
	fd = ended_hold(ends[0], getpid(), &stat);
	CHECK(fd >= 0);
	CHECK(stat.start_ticks > 0);
}

/* It is asked right when its parent waits for it: the kernel knows no such process for
 * that moment, and then how it has ended. */
static void at_that_moment(void)
{
	struct ended_stat stat;
	int32_t status = -1;
	int go[2], fd;
	pid_t pid;
	char c;

	CHECK_EQ(pipe(go), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		if (read(go[0], &c, 1) == 1)
			raise(SIGBUS);
		_exit(99);
	}
	CHECK_EQ(ended_stat(pid, &stat), 0);
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	CHECK(fd >= 0);
	CHECK_EQ(write(go[1], "", 1), 1);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	if (ended_how(fd, pid, stat.start_ticks, getuid(), &status) ==
	    ENDED_UNKNOWN)
		tap_skip("this kernel tells nobody how it has ended: Linux 6.15 "
			 "does");
	status = -1;
	ioctl_errno = ESRCH;
	CHECK_EQ(ended_how(fd, pid, stat.start_ticks, getuid(), &status),
		 ENDED_KNOWN);
	CHECK_EQ(ioctl_errno, 0);
	CHECK_EQ(status & 0x7f, SIGBUS);
}

static const struct tap_case cases[] = {
	{ .name = "by number where there is nothing else", .run = by_number },
	{ .name = "asked right when it is waited for",
	  .run = at_that_moment },
};
TAP_MAIN(cases)
