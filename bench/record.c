/* SPDX-License-Identifier: MIT */
/*
 * What does it add to a repair that a record of it is written? The same pages
 * are lost and replaced without and with a record, in turns; the difference
 * of the two medians is one sample, against a bare write of as many bytes to the
 * same kind of descriptor. That one comes right after a repair, too: nobody
 * writes a record with the kernel's way to the file still in the caches.
 */
#define _GNU_SOURCE
#include "faults.h"
#include "questions.h"

#include <bezoar/record.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUE	96			/* records fit into a socket's queue */

struct recording {
	const char *name;
	struct bench_memory *memory;
	int fd;				/* to write to */
	int drain;			/* the other end of a pipe or socket; -1: a
					 * file */
	int listener;			/* for the library's own connections; -1:
					 * it is given fd */
	double without, with;		/* of the last round */
};

#define KIN "@bezoar-bench-record"	/* and the number of the process */

static char kin[64];

static int drained(int fd)
{
	static char bytes[65536];
	ssize_t n;

	do
		n = read(fd, bytes, sizeof(bytes));
	while (n > 0);
	return n == 0 || errno == EAGAIN ? 0 : -errno;
}

/* What was written is of no use. */
static int empty(const struct recording *r)
{
	if (r->listener >= 0)
		return 0;		/* somebody reads */
	if (r->drain < 0)
		return ftruncate(r->fd, 0) ? -errno : 0;
	return drained(r->drain);
}

/* Touch each page, and write as much as a record is. */
static int write_after_each(void *arg, double *samples, size_t n)
{
	static const char bytes[BEZ_RECORD_BYTES];
	const struct recording *r = arg;
	int err = bench_memory_poison(r->memory);

	for (size_t i = 0; err == 0 && i < n; i++) {
		uint64_t from;

		ref_load(bench_memory_at(r->memory, i) + 8);
		from = bench_now();
		if (write(r->fd, bytes, sizeof(bytes)) != sizeof(bytes))
			err = -ENODATA;
		samples[i] = bench_span(from, bench_now());
	}
	return err;
}

static int touch_each(void *arg, double *samples, size_t n)
{
	const struct recording *r = arg;

	return bench_faults_ours(r->memory, samples, n);
}

/* A round of @work over pages that are repaired, with records to @fd (0: none). */
static int repairs(struct recording *r, int fd,
		   int (*work)(void *arg, double *samples, size_t n),
		   double *samples, size_t n)
{
	struct bez_source from = bez_source_mirror(r->memory->mirror);
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_status before = { .size = sizeof(before) }, after = before;
	uint64_t taken;
	bez_region_t region;
	int err;

	if (r->listener < 0)
		options.record_fd = fd;
	options.kin_socket = r->listener >= 0 && fd ? kin : "";
	options.record_rate = UINT32_MAX;
	policy.source = &from;
	policy.max_repeats = UINT32_MAX;
	err = bez_start(&options);
	if (err < 0)
		return err;
	err = bez_region_add(r->memory->data, r->memory->len, &policy, &region);
	if (err < 0)
		return err;
	bez_status(&before);
	err = work(r, samples, n);
	bez_status(&after);
	taken = after.records + after.records_sent - before.records -
		before.records_sent;
	if (err == 0 && taken != (fd ? n : 0))
		err = -ENODATA;
	bez_region_remove(region);
	bez_stop();
	return err < 0 ? err : empty(r);
}

/* Without, with, with, without: what drifts is in neither. */
static int added(void *arg, double *samples, size_t n)
{
	struct recording *r = arg;
	double sum[2] = { 0, 0 };

	for (size_t turn = 0; turn < 4; turn++) {
		size_t with = turn == 1 || turn == 2;
		int err = repairs(r, with ? r->fd : 0, touch_each, samples, n);

		if (err < 0)
			return err;
		sum[with] += bench_quantile(samples, n, 0.5);
	}
	r->without = sum[0] / 2;
	r->with = sum[1] / 2;
	for (size_t i = 0; i < n; i++)
		samples[i] = r->with - r->without;
	return 0;
}

static int bare_write(void *arg, double *samples, size_t n)
{
	return repairs(arg, 0, write_after_each, samples, n);
}

static void compare(bool quick, struct recording *r,
		    struct bench_result *result)
{
	const struct bench_side sides[2] = {
		{ "what a record adds", added, r },
		{ "a bare write", bare_write, r },
	};
	struct bench_figures figures;

	bench_say(result, "%s: ", r->name);
	if (bench_compare(sides, 2, quick ? 5 : 21, r->memory->used, &figures,
			  result) == 0)
		bench_say(result, "A repair takes %.0f ns without, %.0f with. ",
			  r->without, r->with);
}

/* What bezoard does before it looks at what it has got: sleep until there is
 * something, and read all of it. */
static void serve(int epoll, int listener)
{
	struct epoll_event event;
	static char bytes[1024];
	ssize_t n;
	int fd;

	while (epoll_wait(epoll, &event, 1, -1) == 1) {
		if (event.data.fd == listener) {
			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
			event = (struct epoll_event){ EPOLLIN, { .fd = fd } };
			epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
			continue;
		}
		fd = event.data.fd;
		do
			n = read(fd, bytes, sizeof(bytes));
		while (n > 0);
		if (n == 0)
			close(fd);
	}
}

/* In a process of its own, that has to be woken. */
static int start_reader(const struct recording *r, pid_t *ret_reader)
{
	struct epoll_event event = { EPOLLIN, { .fd = r->listener } };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, r->listener, &event))
		return -errno;
	*ret_reader = fork();
	if (*ret_reader < 0)
		return -errno;
	if (!*ret_reader) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(r->fd);
		serve(epoll, r->listener);
		_exit(1);
	}
	close(epoll);
	return 0;
}

/* A daemon; as many records as a round has fit into one connection, however slow it
 * is. */
static int open_daemon(struct recording *r, pid_t *ret_reader)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	socklen_t len;
	int on = 1;

	snprintf(kin, sizeof(kin), KIN "-%d", getpid());
	memcpy(to.sun_path + 1, kin + 1, strlen(kin) - 1);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			  strlen(kin));
	r->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	r->fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	/* as bezoard: of each the kernel tells who has sent it */
	if (r->listener < 0 || r->fd < 0 ||
	    setsockopt(r->listener, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) ||
	    bind(r->listener, (struct sockaddr *)&to, len) ||
	    listen(r->listener, 8) ||
	    connect(r->fd, (struct sockaddr *)&to, len))
		return -errno;
	return start_reader(r, ret_reader);
}

static void to_daemon(bool quick, struct bench_result *result)
{
	struct bench_memory memory;
	struct recording r = { "To a daemon that sleeps", &memory, -1, -1, -1,
			       0, 0 };
	int err = bench_memory_open(QUEUE, 1, QUEUE, &memory);
	pid_t reader = -1;

	if (err == 0)
		err = open_daemon(&r, &reader);
	if (err < 0)
		bench_cannot(result, "making a daemon", err);
	else
		compare(quick, &r, result);
	if (reader > 0) {
		kill(reader, SIGKILL);
		waitpid(reader, NULL, 0);
	}
}

static void record(bool quick, struct bench_result *result)
{
	char name[] = "/tmp/bezoar-bench-XXXXXX";
	struct bench_memory memory;
	struct bench_result pipes = *result, daemon = *result;
	struct recording r = { "To a file", &memory, -1, -1, -1, 0, 0 };
	int ends[2], err = bench_memory_open(512, 1, 512, &memory);

	if (err < 0)
		return bench_cannot(result, "preparing the memory", err);
	r.fd = mkostemp(name, O_APPEND);
	if (r.fd < 0)
		return bench_cannot(result, "making a file", -errno);
	unlink(name);
	compare(quick, &r, result);
	/* room for a round, and never a wait */
	if (pipe2(ends, O_NONBLOCK) ||
	    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) < 0)
		return bench_cannot(result, "making a pipe", -errno);
	r = (struct recording){ "To a pipe", &memory, ends[1], ends[0], -1, 0,
				0 };
	compare(quick, &r, &pipes);
	bench_worse(result, &pipes);
	to_daemon(quick, &daemon);
	bench_worse(result, &daemon);
}

const struct bench_question bench_record = {
	"record", "ns", 1.3, false, record };
