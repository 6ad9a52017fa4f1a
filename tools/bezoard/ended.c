/* SPDX-License-Identifier: MIT */
/*
 * From Linux 6.15 on the descriptor of a process tells how it has ended, to whoever
 * holds it, once its parent has waited for it. Before, only /proc/PID/stat does, while
 * it is a zombie, to those who might trace it; others read a zero there.
 */
#include "ended.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77			/* Linux 6.5 */
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#define SYS_pidfd_send_signal 424
#endif

#define FIELD_STATE	3		/* of /proc/PID/stat; proc(5) */
#define FIELD_START	22
#define FIELD_STATUS	52

/* linux/pidfd.h of Linux 6.15; its first size. */
struct exit_info {
	uint64_t mask;
	uint64_t cgroup;
	uint32_t ids[11];
	int32_t status;
};
#define INFO_EXIT	0x8u
#define GET_INFO	_IOWR(0xff, 11, struct exit_info)

int ended_stat(pid_t pid, struct ended_stat *ret)
{
	char path[40], text[2048], *at, *open_, *word, *save;
	int fd, field;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	/* the name may hold anything, parentheses too */
	open_ = strchr(text, '(');
	at = strrchr(text, ')');
	if (!open_ || !at || at < open_)
		return -1;
	*at = '\0';
	memset(ret, 0, sizeof(*ret));
	strncpy(ret->comm, open_ + 1, sizeof(ret->comm) - 1);
	field = FIELD_STATE;
	for (word = strtok_r(at + 1, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save), field++) {
		if (field == FIELD_STATE)
			ret->is_zombie = *word == 'Z' || *word == 'X';
		else if (field == FIELD_START)
			ret->start_ticks = strtoull(word, NULL, 10);
		else if (field == FIELD_STATUS)
			ret->status = (int32_t)strtol(word, NULL, 10);
	}
	return field > FIELD_START ? 0 : -1;
}

/* By its number, which may be another's by now: not if it began when the one did
 * that had it before. */
static int by_number(pid_t pid, struct ended_stat *ret)
{
	struct ended_stat before;
	int fd;

	if (ended_stat(pid, &before))
		return -1;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -1;
	if (!ended_stat(pid, ret) && ret->start_ticks == before.start_ticks)
		return fd;
	close(fd);
	return -1;
}

int ended_hold(int connection, pid_t pid, struct ended_stat *ret)
{
	socklen_t len = sizeof(int);
	int fd = -1;

	/* where it is known and says no it has ended, and the number may be another's */
	if (getsockopt(connection, SOL_SOCKET, SO_PEERPIDFD, &fd, &len))
		return errno == ENOPROTOOPT ? by_number(pid, ret) : -1;
	if (fd < 0)
		return -1;
	/* That is the right one. Is the number still its own? Who is over by now has
	 * no name any more, but an end. */
	if (ended_stat(pid, ret) ||
	    (syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) && errno != EPERM))
		memset(ret, 0, sizeof(*ret));
	return fd;
}

static int may_trace(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	memset(data, 0, sizeof(data));
	return !syscall(SYS_capget, &head, data) &&
	       (data[0].effective >> CAP_SYS_PTRACE & 1);
}

/* 1: *@ret_status; 0: not yet; -1: this kernel does not tell that. */
static int by_descriptor(int pidfd, int32_t *ret_status)
{
	struct exit_info info = { .mask = INFO_EXIT };

	/* ESRCH: it is over, and the kernel of 6.13 or 6.14; or a later one, right at
	 * the moment in which somebody waits for it */
	if (ioctl(pidfd, GET_INFO, &info))
		return -1;
	if (!(info.mask & INFO_EXIT))
		return 0;
	*ret_status = info.status;
	return 1;
}

enum ended ended_how(int pidfd, pid_t pid, uint64_t start_ticks, uid_t uid,
		     int32_t *ret_status)
{
	int r = by_descriptor(pidfd, ret_status);
	struct ended_stat stat;

	if (r == 1)
		return ENDED_KNOWN;
	/* somebody may have waited for it since that */
	if (ended_stat(pid, &stat) || !stat.is_zombie ||
	    stat.start_ticks != start_ticks)
		return by_descriptor(pidfd, ret_status) == 1 ? ENDED_KNOWN :
							       ENDED_UNKNOWN;
	/* a zero is what everybody sees */
	if (stat.status || may_trace() || (uid && uid == geteuid())) {
		*ret_status = stat.status;
		return ENDED_KNOWN;
	}
	return r ? ENDED_UNKNOWN : ENDED_LATER;
}
