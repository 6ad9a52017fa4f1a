/* SPDX-License-Identifier: MIT */
/*
 * A connection: receive once, do all that has come whole, send once. Nothing is
 * received as long as something waits to be sent.
 *
 * Values do not go from the store to the socket: a writev(2) that meets a lost page
 * is short, when the client has been promised so many bytes. They are copied to the
 * buffer here, in a scope, and the answer begins to exist when all of it is there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto.h"
#include "serve.h"

#define RECEIVE_LEAST	4096u

struct conn {
	struct conn *next;		/* of its thread, see serve.c */
	int fd, epoll;
	struct buffer in, out;
	struct proto proto;
	int closing;
	int sending;			/* waits for room in the socket */
};

struct conn *conn_new(int fd, int epoll)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c) {
		c->fd = fd;
		c->epoll = epoll;
	}
	return c;
}

int conn_fd(const struct conn *c)
{
	return c->fd;
}

void conn_free(struct conn *c)
{
	close(c->fd);
	buffer_free(&c->in);
	buffer_free(&c->out);
	free(c);
}

/* 1: something came; 0: not now; -1: it is over. */
static int receive(struct conn *c)
{
	size_t least = c->proto.more > RECEIVE_LEAST ? c->proto.more :
		       RECEIVE_LEAST;
	char *at;
	ssize_t n;

	buffer_tidy(&c->in);
	at = buffer_room(&c->in, least);
	if (!at)
		return -1;
	n = recv(c->fd, at, c->in.size - c->in.end, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	c->in.end += (size_t)n;
	return n ? 1 : -1;
}

/* Tell epoll what is waited for, if that is another thing now. */
static int wait_for(struct conn *c, int sending)
{
	struct epoll_event e = { .events = sending ? EPOLLOUT : EPOLLIN,
				 .data.ptr = c };

	if (c->sending == sending)
		return 0;
	c->sending = sending;
	return epoll_ctl(c->epoll, EPOLL_CTL_MOD, c->fd, &e);
}

/* 1: all is sent; 0: it waits; -1: it is over. */
static int send_out(struct conn *c)
{
	while (buffer_waits(&c->out)) {
		ssize_t n = send(c->fd, c->out.at + c->out.begin,
				 buffer_waits(&c->out),
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR)
			return -1;
		if (n > 0)
			c->out.begin += (size_t)n;
	}
	buffer_tidy(&c->out);
	return 1;
}

static int work(struct conn *c)
{
	enum proto_next next;
	int r;

	if (!c->sending) {
		r = receive(c);
		if (r <= 0)
			return r;
	}
	do {
		r = send_out(c);
		if (r < 0 || (r && c->closing))
			return -1;
		if (!r)
			return wait_for(c, 1);
		next = proto_run(&c->proto, &c->in, &c->out);
		c->closing = next == PROTO_CLOSE;
	} while (next != PROTO_RECEIVE || buffer_waits(&c->out));
	buffer_tidy(&c->in);
	return wait_for(c, 0);
}

int conn_ready(struct conn *c)
{
	int r = work(c);

	if (r < 0)
		conn_free(c);
	return r;
}
