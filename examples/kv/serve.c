/* SPDX-License-Identifier: MIT */
/* Threads, each with an epoll set, to which connections are dealt in turn. */
#define _GNU_SOURCE
#include "serve.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS	64

struct thread {
	pthread_t id;
	int epoll;
};

struct serve_info serve_info;
static struct thread *threads;
static int stop_fd = -1;		/* readable: end */

static void *serve(void *arg)
{
	struct thread *t = arg;
	struct epoll_event e[EVENTS];
	int i, n;

	/* an alternate stack, so that a page of this one may be lost */
	if (bez_thread_attach())
		abort();
	for (;;) {
		n = epoll_wait(t->epoll, e, EVENTS, -1);
		for (i = 0; i < n; i++) {
			if (!e[i].data.ptr)
				return NULL;
			if (conn_ready(e[i].data.ptr))
				serve_info.connections--;
		}
	}
}

static int start(struct thread *t)
{
	struct epoll_event e = { .events = EPOLLIN };

	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll < 0 ||
	    epoll_ctl(t->epoll, EPOLL_CTL_ADD, stop_fd, &e))
		return -errno;
	return -pthread_create(&t->id, NULL, serve, t);
}

int serve_start(unsigned int count)
{
	int r = 0;

	threads = calloc(count, sizeof(*threads));
	stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!threads || stop_fd < 0)
		return -errno;
	serve_info.started = (uint64_t)time(NULL);
	while (!r && serve_info.threads < count) {
		r = start(&threads[serve_info.threads]);
		if (!r)
			serve_info.threads++;
	}
	return r;
}

int serve_add(int fd)
{
	struct thread *t = &threads[serve_info.total % serve_info.threads];
	struct conn *c = conn_new(fd, t->epoll);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	serve_info.connections++;
	serve_info.total++;
	/* its thread may have ended it before this returns */
	if (!epoll_ctl(t->epoll, EPOLL_CTL_ADD, fd, &e))
		return 0;
	serve_info.connections--;
	conn_free(c);
	return -errno;
}

void serve_stop(void)
{
	uint64_t one = 1;
	unsigned int i;

	if (write(stop_fd, &one, sizeof(one)) != sizeof(one))
		abort();
	for (i = 0; i < serve_info.threads; i++) {
		pthread_join(threads[i].id, NULL);
		close(threads[i].epoll);
	}
	close(stop_fd);
	free(threads);
}
