/* SPDX-License-Identifier: MIT */
#include "pass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../address.h"
#include "state.h"

#define MOST	(1 << 20)	/* bytes of the file; then it becomes ".old" */

/* ------------------------------------------------------------------- the file */

static int is_full(int file)
{
	struct stat st;

	return fstat(file, &st) || st.st_size >= MOST;
}

static int open_file(struct pass *p)
{
	char file[NAME_FILE], old[NAME_FILE];
	int tries;

	if (p->folder < 0 || state_file(file, p->name, ".records") ||
	    state_file(old, p->name, ".records.old"))
		return -1;
	for (tries = 0; tries < 2; tries++) {
		if (p->file < 0)
			p->file = openat(p->folder, file, O_WRONLY | O_APPEND |
					 O_CREAT | O_CLOEXEC | O_NOFOLLOW,
					 0600);
		if (p->file < 0 || !is_full(p->file))
			break;
		close(p->file);
		p->file = -1;
		renameat(p->folder, file, p->folder, old);
	}
	return p->file < 0 ? -1 : 0;
}

static int keep(struct pass *p, const void *bytes, size_t len, int settle)
{
	if (open_file(p) || write(p->file, bytes, len) != (ssize_t)len)
		return -1;
	return settle && fdatasync(p->file) ? -1 : 0;
}

/* ----------------------------------------------------------------- the daemon */

static int reach(struct pass *p)
{
	struct sockaddr_un to;
	socklen_t len = address_of(p->socket, &to);

	if (p->fd >= 0)
		return 0;
	if (!len)
		return -1;
	p->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       0);
	if (p->fd < 0)
		return -1;
	if (connect(p->fd, (struct sockaddr *)&to, len)) {
		close(p->fd);
		p->fd = -1;
		return -1;
	}
	/* its answers are not waited for: the file has all */
	shutdown(p->fd, SHUT_RD);
	return 0;
}

static int send_as(int fd, const void *bytes, size_t len,
		   const struct ucred *from)
{
	char control[CMSG_SPACE(sizeof(*from))] = "";
	struct iovec iov = { (void *)bytes, len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_CREDENTIALS;
	c->cmsg_len = CMSG_LEN(sizeof(*from));
	memcpy(CMSG_DATA(c), from, sizeof(*from));
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void tell_daemon(struct pass *p, const void *bytes, size_t len,
			const struct ucred *from)
{
	int tries, r;

	/* a daemon that was started anew has another socket */
	for (tries = 0; tries < 2 && !p->refused && !reach(p); tries++) {
		r = send_as(p->fd, bytes, len, from);
		p->refused = r == -EPERM;
		/* busy, or the sender is gone and reaped: the file has it */
		if (!r || r == -EAGAIN || r == -ESRCH)
			return;
		close(p->fd);
		p->fd = -1;
	}
}

int pass_on(struct pass *p, const void *bytes, size_t len, int settle,
	    const struct ucred *from)
{
	int r = keep(p, bytes, len, settle);

	tell_daemon(p, bytes, len, from);
	return r;
}

void pass_close(struct pass *p)
{
	if (p->fd >= 0)
		close(p->fd);
	if (p->file >= 0)
		close(p->file);
	p->fd = p->file = -1;
}
