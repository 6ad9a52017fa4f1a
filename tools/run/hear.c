/* SPDX-License-Identifier: MIT */
#include "hear.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../tool.h"
#include "child.h"
#include "evidence.h"
#include "tree.h"

#define TURN		1024		/* packets; the kernel holds fewer */

static int watch(const struct hear *h, int fd, uint32_t number)
{
	struct epoll_event event = {
		.events = EPOLLIN, .data.u32 = HEAR_EVENT + number,
	};

	return epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &event);
}

int hear_open(struct hear *h, int epoll, struct pass *pass)
{
	int i, on = 1, r;

	h->epoll = epoll;
	h->pass = pass;
	for (i = 0; i < HEAR_CONNS; i++)
		h->conn[i] = -1;
	h->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	hear_forget(h);
	h->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC |
			     SOCK_NONBLOCK, 0);
	if (h->listener < 0 || setsockopt(h->listener, SOL_SOCKET, SO_PASSCRED,
					  &on, sizeof(on)))
		r = -errno;
	else
		r = place_make(&h->place, h->listener);
	if (!r && watch(h, h->listener, HEAR_CONNS))
		r = -errno;
	if (r)
		hear_close(h);
	return r;
}

static void drop(struct hear *h, uint32_t i)
{
	close(h->conn[i]);
	h->conn[i] = -1;
}

void hear_close(struct hear *h)
{
	uint32_t i;

	if (h->listener < 0)
		return;
	for (i = 0; i < HEAR_CONNS; i++)
		if (h->conn[i] >= 0)
			drop(h, i);
	close(h->listener);
	h->listener = -1;
	place_leave(&h->place);
}

void hear_forget(struct hear *h)
{
	memset(h->heard, 0, sizeof(h->heard));
}

/* ------------------------------------------------------------------ who comes */

static void full(struct hear *h)
{
	if (!h->said_full++)
		tool_say("too many connections for records: who comes now is "
			 "turned away, and its records are not known here");
}

/* This user, who could do all of it by himself; and who has become another one, but
 * comes of us. */
static int is_heard(int fd, const struct ucred *peer)
{
	return peer->uid == geteuid() || tree_has(fd, peer->pid);
}

static void come(struct hear *h, int fd)
{
	struct ucred peer = { 0, (uid_t)-1, (gid_t)-1 };
	socklen_t len = sizeof(peer);
	uint32_t i;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ||
	    !is_heard(fd, &peer)) {
		close(fd);
		return;
	}
	for (i = 0; i < HEAR_CONNS && h->conn[i] >= 0; i++)
		continue;
	if (i == HEAR_CONNS)
		full(h);
	if (i == HEAR_CONNS || watch(h, fd, i)) {
		close(fd);
		return;
	}
	h->conn[i] = fd;
	h->who[i] = (struct sender){ .pid = peer.pid, .uid = peer.uid };
	judge_know(&h->who[i]);
}

/* No descriptor is left: who waits would be told of for ever. */
static void turn_away(struct hear *h)
{
	full(h);
	if (h->spare >= 0)
		close(h->spare);
	h->spare = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
	if (h->spare >= 0)
		close(h->spare);
	h->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void hear_come(struct hear *h)
{
	int fd, n;

	for (n = 0; n < TURN && h->listener >= 0; n++) {
		fd = accept4(h->listener, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			come(h, fd);
		else if (errno == EMFILE || errno == ENFILE)
			turn_away(h);
		else if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/* -------------------------------------------------------------- what they say */

static struct heard *place(struct hear *h, pid_t pid)
{
	struct heard *oldest = &h->heard[0];
	int i;

	for (i = 0; i < HEAR_MOST; i++) {
		if (h->heard[i].pid == pid)
			return &h->heard[i];
		if (h->heard[i].turn < oldest->turn)
			oldest = &h->heard[i];
	}
	return oldest;
}

static void note(struct hear *h, pid_t pid, const struct bez_record *r)
{
	struct heard *heard;

	if (!evidence_is_last(r))
		return;
	heard = place(h, pid);
	heard->pid = pid;
	heard->start_ticks = child_start_ticks(pid);
	heard->turn = ++h->turns;
	heard->last = *r;
}

static int sender_of(struct msghdr *msg, struct ucred *who)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	if (!c || c->cmsg_level != SOL_SOCKET ||
	    c->cmsg_type != SCM_CREDENTIALS)
		return 0;
	memcpy(who, CMSG_DATA(c), sizeof(*who));
	return 1;
}

/* It is kept before the sender is told so. */
static void take(struct hear *h, uint32_t i, const struct ucred *who,
		 const unsigned char *bytes, size_t len, int cut)
{
	struct sender *sender = &h->who[i];
	struct bez_record record;
	struct item item;
	enum count what;
	int last = 0;

	sender->pid = who->pid;
	sender->uid = who->uid;
	if (!judge(bytes, len, cut, sender, &item, &what))
		return;
	/* what it is in a namespace of its own nobody can say once it is gone: of
	 * this user it is, and who it is here the kernel has told */
	if (item.kind == ITEM_FORGED && sender->own_of == sender->pid)
		return;
	if (item.kind != ITEM_STRANGE) {
		memcpy(&record, bytes, sizeof(record));
		last = evidence_is_last(&record);
		note(h, who->pid, &record);
	}
	/* where it cannot be kept, what is known here of an end is all there is: who
	 * ends is not to wait for more */
	if (!pass_on(h->pass, bytes, len, last, who) || last)
		send(h->conn[i], bytes + len - ITEM_DIGEST, ITEM_DIGEST,
		     MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void read_all(struct hear *h, uint32_t i)
{
	unsigned char bytes[BEZ_RECORD_MOST];
	char control[CMSG_SPACE(sizeof(struct ucred))];
	struct ucred who;
	ssize_t len;
	int n;

	for (n = 0; n < TURN; n++) {
		struct iovec iov = { bytes, sizeof(bytes) };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};

		len = recvmsg(h->conn[i], &msg, MSG_CMSG_CLOEXEC);
		if (len < 0 && errno == EAGAIN)
			return;
		/* it has ended without reading its answers; what it has sent is
		 * behind that */
		if (len < 0 && (errno == EINTR || errno == ECONNRESET))
			continue;
		if (len < 0 || !sender_of(&msg, &who)) {
			drop(h, i);
			return;
		}
		take(h, i, &who, bytes, (size_t)len,
		     !!(msg.msg_flags & MSG_TRUNC));
	}
}

void hear_turn(struct hear *h, uint32_t event)
{
	uint32_t i = event - HEAR_EVENT;

	if (i == HEAR_CONNS)
		hear_come(h);
	else if (h->conn[i] >= 0)
		read_all(h, i);
}

void hear_all(struct hear *h)
{
	uint32_t i;

	if (h->listener < 0)
		return;
	hear_come(h);
	for (i = 0; i < HEAR_CONNS; i++)
		if (h->conn[i] >= 0)
			read_all(h, i);
}

const struct bez_record *hear_last(const struct hear *h, pid_t pid)
{
	int i;

	for (i = 0; i < HEAR_MOST; i++)
		if (h->heard[i].pid == pid)
			return &h->heard[i].last;
	return NULL;
}

int hear_is_recent(const struct bez_record *r)
{
	struct timespec now;
	uint64_t now_ns;

	clock_gettime(CLOCK_BOOTTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return r->boot_ns >= now_ns || now_ns - r->boot_ns < HEAR_JUST_NS;
}

const struct bez_record *hear_last_ended(const struct hear *h)
{
	const struct heard *last = NULL;
	int i;

	for (i = 0; i < HEAR_MOST; i++) {
		const struct heard *this = &h->heard[i];

		if (this->pid && hear_is_recent(&this->last) &&
		    child_is_gone(this->pid, this->start_ticks) &&
		    (!last || this->turn > last->turn))
			last = this;
	}
	return last ? &last->last : NULL;
}
