/* SPDX-License-Identifier: MIT */
/* Connections, and the threads that serve them. */
#ifndef KV_SERVE_H
#define KV_SERVE_H

#include <stdint.h>

struct serve_info {
	unsigned int threads;
	uint64_t started;		/* seconds since 1970 */
	_Atomic uint64_t connections;	/* now */
	_Atomic uint64_t total;
};

extern struct serve_info serve_info;

/* Start @threads. 0, or a negative errno. */
int serve_start(unsigned int threads);

/* Serve a socket, which is the threads' from here on; closed if that fails. */
int serve_add(int fd);

/* End the threads, and with them the connections. */
void serve_stop(void);

/* conn.c: a connection of the epoll set @epoll. */
struct conn;

struct conn *conn_new(int fd, int epoll);
/* Something can be received or sent. -1: it is over, and freed. */
int conn_ready(struct conn *c);
int conn_fd(const struct conn *c);
void conn_free(struct conn *c);

#endif
