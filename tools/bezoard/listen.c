/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "../address.h"
#include "item.h"

#define WAITING 4096		/* who have not been taken in yet; the kernel has a
				 * limit of its own */

#ifdef HAVE_SYSTEMD
void manager_tell(const char *state)
{
	sd_notify(0, state);
}

/* 0: nothing was handed over. */
static int handed_over(void)
{
	int n = sd_listen_fds(1);

	if (n <= 0)
		return 0;
	if (n > 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_SEQPACKET, 1,
				       NULL, 0) <= 0) {
		say("the service manager has handed over something else than "
		    "one listening socket of the type SOCK_SEQPACKET: see "
		    "bezoard.socket");
		return -1;
	}
	return SD_LISTEN_FDS_START;
}
#else
void manager_tell(const char *state)
{
	(void)state;
}

static int handed_over(void)
{
	return 0;
}
#endif

/* A socket that nobody listens at is what a daemon has left that was killed. Of a file
 * connect(2) says the same. */
static int is_left(const struct sockaddr_un *to)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int r = connect(fd, (const struct sockaddr *)to, sizeof(*to));
	int err = errno;
	struct stat st;

	close(fd);
	return r && err == ECONNREFUSED && !lstat(to->sun_path, &st) &&
	       S_ISSOCK(st.st_mode);
}

static int at(int fd, const char *path)
{
	struct sockaddr_un to;
	socklen_t len = address_of(path, &to);

	if (!len) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (address_is_abstract(path))
		return bind(fd, (struct sockaddr *)&to, len) ||
		       listen(fd, WAITING) ? -1 : 0;
	if (bind(fd, (struct sockaddr *)&to, sizeof(to))) {
		int err = errno;

		if (err != EADDRINUSE || !is_left(&to)) {
			errno = err;
			return -1;
		}
		if (unlink(path) ||
		    bind(fd, (struct sockaddr *)&to, sizeof(to)))
			return -1;
	}
	/* who loses a page may be anybody */
	return chmod(path, 0666) || listen(fd, WAITING) ? -1 : 0;
}

/*
 * Of each packet the kernel tells who has sent it: a child may use the connection
 * of its parent. Connections have that from who listens: a packet that came between
 * accept(2) and a setsockopt(2) of theirs would be nobody's.
 */
static int tell_senders(int fd)
{
	int on = 1;

	return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
}

int listening_open(struct listening *l, const char *path)
{
	l->made = NULL;
	l->fd = handed_over();
	if (l->fd < 0)
		return -1;
	if (l->fd && (fcntl(l->fd, F_SETFL, fcntl(l->fd, F_GETFL) |
			    O_NONBLOCK) < 0 || tell_senders(l->fd))) {
		say("the socket that was handed over: %s", strerror(errno));
		return -1;
	}
	if (l->fd)
		return 0;
	l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       0);
	if (l->fd < 0 || tell_senders(l->fd) || at(l->fd, path)) {
		say("%s: %s%s", path, strerror(errno), errno == EADDRINUSE ?
		    ": another bezoard listens there, or it is no socket" : "");
		return -1;
	}
	if (!address_is_abstract(path))
		l->made = path;
	say("listening at %s", path);
	return 0;
}

void listening_close(struct listening *l)
{
	close(l->fd);
	if (l->made)
		unlink(l->made);
}
