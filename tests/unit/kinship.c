/* SPDX-License-Identifier: MIT */
/* Fifth room: the connection to the daemon, and what goes to the file as it does
 * not take it. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../live/live.h"
#include "ladder.h"
#include "listening.h"

#define SECOND 1000000000u

static void begin(int fd)
{
	listen_there();
	open_house(fd, UINT32_MAX);
	take_in();
}

/* Records that the daemon can read; -1: and then it is at their end. */
static int received(void)
{
	unsigned char bytes[1024];
	ssize_t n;
	int count = 0;

	while ((n = recv(peer, bytes, sizeof(bytes), 0)) > 0) {
		CHECK_EQ(n, BEZ_RECORD_BYTES);
		count++;
	}
	return n ? count : -1;
}

/* ------------------------------------------------------------ who asks for it */

static const struct asked {
	const char *option, *environment, *to;
	int says;
} asked[] = {
	{ NULL, NULL, NULL, 0 },
	{ NULL, "", NULL, 0 },
	{ NULL, "/run/there", "/run/there", 0 },
	{ NULL, "@there", "@there", 0 },
	{ "", "/run/there", NULL, 0 },
	{ "/run/here", "/run/there", "/run/here", 0 },
	{ BEZ_KIN_SOCKET, NULL, BEZ_KIN_SOCKET, 0 },
	{ "run/here", NULL, NULL, -EINVAL },
	{ "/", NULL, NULL, -EINVAL },
	{ "@", NULL, NULL, -EINVAL },
	/* the environment is not the program's mistake */
	{ NULL, "run/there", NULL, 0 },
	{ NULL, "vsock:2:1", NULL, 0 },
};

static void who_asks(void)
{
	const struct bz_daemon *d = &bz_recorder.daemon;
	uint32_t before;
	size_t i;

	mm = unit_mm();
	before = unit_fds();
	for (i = 0; i < COUNT_OF(asked); i++) {
		const struct asked *a = &asked[i];
		struct bez_options o = BEZ_OPTIONS_INIT;

		if (a->environment)
			setenv("BEZOAR_SOCKET", a->environment, 1);
		else
			unsetenv("BEZOAR_SOCKET");
		o.kin_socket = a->option;
		CHECK_EQ(bz_record_open(mm, &o), a->says);
		CHECK_EQ(bz_core.has_kin, a->to != NULL);
		CHECK_EQ(d->to_bytes, a->to ? strlen(a->to) +
			 offsetof(struct sockaddr_un, sun_path) : 0);
		if (a->to)
			CHECK(!memcmp(d->to.sun_path + 1, a->to + 1,
				      strlen(a->to) - 1));
		/* nobody listens there, and that is no error */
		CHECK(unit_fds() >= before + (a->to != NULL));
		bz_record_close();
		CHECK_EQ(unit_fds(), before);
	}
}

static void too_long(void)
{
	struct bez_options o = BEZ_OPTIONS_INIT;
	char path[200];

	mm = unit_mm();
	memset(path, 'p', sizeof(path));
	path[0] = '/';
	path[sizeof(((struct sockaddr_un *)0)->sun_path)] = '\0';
	o.kin_socket = path;
	CHECK_EQ(bz_record_open(mm, &o), -ENAMETOOLONG);
	path[strlen(path) - 1] = '\0';
	CHECK_EQ(bz_record_open(mm, &o), 0);
	CHECK(bz_recorder.daemon.to_bytes);
}

/* An older header's options have no such field. */
static void old_options(void)
{
	struct bez_options o = BEZ_OPTIONS_INIT;

	listen_there();
	o.size = offsetof(struct bez_options, kin_socket);
	o.flags = BEZ_START_NO_WORKER;
	o.kin_socket = daemon_name;
	CHECK_EQ(bez_start(&o), 0);
	CHECK_EQ(bz_core.has_kin, 0);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------------------- it is there */

/* What a file costs, to know the number again, and one call; and to ask who it is, as
 * the daemon is told. It cannot wait. */
static void one_call(void)
{
	const struct bz_sink *sink = &bz_recorder.daemon.sink;
	const struct double_call *c;
	int fd = memory_file();

	begin(fd);
	CHECK(fcntl(sink->fd, F_GETFD) & FD_CLOEXEC);
	CHECK(fcntl(sink->fd, F_GETFL) & O_NONBLOCK);
	CHECK(sink->fd >= 1000 || fcntl(1000, F_GETFD) < 0);
	double_watch();
	write_one(1);
	double_rest();
	CHECK_EQ(double_traced(), 3);
	CHECK_EQ(double_trace(0)->nr, SYS_getpid);
	CHECK_EQ(double_trace(1)->nr, sink->marked ? SYS_fcntl : SYS_fstat);
	c = double_trace(2);
	CHECK_EQ(c->nr, SYS_sendto);
	CHECK_EQ(c->arg[0], sink->fd);
	CHECK_EQ(c->arg[3], MSG_DONTWAIT | MSG_NOSIGNAL);
	CHECK_EQ(received(), 1);
	CHECK_EQ(length(fd), 0);
	CHECK_EQ(mm->records_sent, 1);
	CHECK_EQ(mm->records + mm->records_said + mm->records_dropped, 0);
}

static uint32_t calls_of_a_repair(int fd, const char *to)
{
	struct bez_options o = BEZ_OPTIONS_INIT;
	size_t page = unit_page();
	unsigned char *at = live_pages(1);
	struct bez_source from = bez_source_mirror(live_pages(1));
	bez_region_t region;
	uint32_t calls = 0;
	int i;

	o.flags = BEZ_START_NO_WORKER;
	o.record_fd = fd;
	o.kin_socket = to;
	CHECK_EQ(bez_start(&o), 0);
	region = live_region(at, page, &from, "table");
	/* the first may find out more than the next has to */
	for (i = 0; i < 2; i++) {
		live_poison(at);
		double_watch();
		CHECK_EQ(bez_recover(at, page), 0);
		double_rest();
		calls = double_traced();
	}
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
	return calls;
}

static void a_repair(void)
{
	char record[BEZ_RECORD_BYTES];
	uint32_t bare, file, daemon;

	unit_need_poison();
	listen_there();
	bare = calls_of_a_repair(0, "");
	file = calls_of_a_repair(memory_file(), "");
	daemon = calls_of_a_repair(memory_file(), daemon_name);
	tap_diag("%u calls, %u with a file, %u with a daemon", bare, file,
		 daemon);
	CHECK_EQ(file, bare + 2);
	CHECK_EQ(daemon, bare + 3);
	take_in();
	CHECK_EQ(recv(peer, record, sizeof(record), 0), sizeof(record));
	CHECK_EQ(recv(peer, record, sizeof(record), 0), sizeof(record));
	CHECK_EQ(recv(peer, record, sizeof(record), 0), 0);
}

/* The daemon cannot tell it anything, so nothing piles up; it is told that. */
static void not_read(void)
{
	char digest[8] = "";
	int left = -1;

	begin(0);
	write_one(1);
	CHECK_EQ(send(peer, digest, sizeof(digest), MSG_NOSIGNAL), -1);
	CHECK_EQ(errno, EPIPE);
	CHECK_EQ(ioctl(bz_recorder.daemon.sink.fd, FIONREAD, &left), 0);
	CHECK_EQ(left, 0);
	CHECK_EQ(received(), 1);
}

/* ------------------------------------------------------- it does not take them */

/* As many as fit; the others are the file's, and nobody waits or wakes. */
static void full(void)
{
	int fd = memory_file(), i;

	begin(fd);
	double_watch();
	for (i = 0; i < 2000; i++)
		write_one((uint64_t)i + 1);
	double_rest();
	tap_diag("%llu fit", (unsigned long long)mm->records_sent);
	CHECK(mm->records_sent > 10);
	CHECK(mm->records > 10);
	CHECK_EQ(mm->records_sent + mm->records, 2000);
	CHECK_EQ(length(fd), (off_t)mm->records * BEZ_RECORD_BYTES);
	CHECK_EQ(mm->kin_wanted, 0);
	CHECK_EQ(double_count(SYS_futex, 0), 0);
	CHECK_EQ(received(), mm->records_sent);
	/* there is room again */
	write_one(2001);
	CHECK_EQ(received(), 1);
}

static const struct refused {
	int err;
	uint32_t gone;
} refused[] = {
	{ EAGAIN, 0 }, { ENOBUFS, 0 }, { ENOMEM, 0 }, { EBADF, 0 }, { EPERM, 0 },
	{ EPIPE, 1 }, { ECONNRESET, 1 }, { ECONNREFUSED, 1 }, { ENOTCONN, 1 },
};

/* Whatever the kernel says: it is in the file. */
static void refusals(void)
{
	size_t i;

	for (i = 0; i < COUNT_OF(refused); i++) {
		struct double_rule rule = { .nr = SYS_sendto,
					    .err = refused[i].err };
		int fd = memory_file();

		begin(fd);
		double_rule(&rule);
		double_watch();
		write_one(1);
		double_rest();
		CHECKF(length(fd) == BEZ_RECORD_BYTES, "%s",
		       strerror(refused[i].err));
		CHECK_EQ(mm->kin_gone, refused[i].gone);
		CHECK_EQ(mm->kin_wanted, refused[i].gone);
		CHECK_EQ(mm->records_sent, 0);
		CHECK_EQ(mm->records, 1);
		double_reset();
		bz_record_close();
		goes_away();
	}
}

/* A connection that has ended is not tried again, by who has met a loss and lives. */
static void gone(void)
{
	int fd = memory_file();

	begin(fd);
	write_left(1);
	goes_away();
	double_watch();
	write_left(2);
	CHECK_EQ(double_count(SYS_sendto, 0), 1);
	write_left(3);
	write_left(4);
	CHECK_EQ(double_count(SYS_sendto, 0), 1);
	CHECK_EQ(double_count(SYS_connect, 0), 0);
	double_rest();
	CHECK_EQ(length(fd), 3 * BEZ_RECORD_BYTES);
	CHECK_EQ(mm->records_sent, 1);
	CHECK_EQ(mm->records, 3);
}

/* One that is not there yet, comes, goes, and comes again. The worker tries once in
 * a second at most, and only if it was missed. */
static void again(void)
{
	int fd = memory_file(), number, i;
	uint32_t fds;

	listen_there();
	goes_away();
	open_house(fd, UINT32_MAX);
	number = bz_recorder.daemon.sink.fd;
	if (!bz_recorder.daemon.sink.marked)
		tap_skip("no F_SETSIG here: qemu-user?");
	fds = unit_fds();
	CHECK_EQ(bz_daemon_again(mm), 0);	/* nobody misses it */
	double_watch();
	double_stop_clock();
	double_clock(1);
	write_left(1);
	CHECK_EQ(mm->kin_wanted, 1);
	CHECK_EQ(bz_daemon_again(mm), 1);	/* in vain */
	CHECK_EQ(mm->kin_gone, 1);
	CHECK_EQ(mm->kin_wanted, 0);
	for (i = 2; i < 100; i++)
		write_left((uint64_t)i);
	CHECK_EQ(mm->kin_wanted, 0);
	CHECK_EQ(double_count(SYS_connect, 0), 1);
	double_rest();
	CHECK_EQ(length(fd), 99 * BEZ_RECORD_BYTES);
	listen_there();
	double_watch();
	double_clock(SECOND);
	write_left(100);
	CHECK_EQ(mm->kin_wanted, 1);
	CHECK_EQ(bz_daemon_again(mm), 1);
	double_clock(1);
	CHECK_EQ(mm->kin_gone, 0);
	take_in();
	for (i = 0; i < 10; i++)
		write_left(101);
	double_rest();
	CHECK_EQ(received(), 10);
	CHECK_EQ(length(fd), 100 * BEZ_RECORD_BYTES);
	/* by the same number, and nothing is left over */
	CHECK_EQ(bz_recorder.daemon.sink.fd, number);
	CHECK_EQ(unit_fds(), fds + 2);		/* the daemon's own */
	CHECK(fcntl(number, F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(send(peer, "", 0, MSG_NOSIGNAL), -1);	/* nor is it read */
}

/* The program has closed all, and opened something else under the number. */
static void not_ours(void)
{
	int fd = memory_file(), other = memory_file(), number;

	begin(fd);
	number = bz_recorder.daemon.sink.fd;
	CHECK_EQ(dup2(other, number), number);
	write_one(1);
	CHECK_EQ(length(other), 0);
	CHECK_EQ(length(fd), BEZ_RECORD_BYTES);
	/* the worker lets it alone, too */
	atomic_store(&mm->kin_gone, 1);
	atomic_store(&mm->kin_wanted, 1);
	CHECK_EQ(bz_daemon_again(mm), 1);
	CHECK_EQ(mm->kin_gone, 1);
	bz_record_close();
	CHECK(fcntl(number, F_GETFD) >= 0);
	CHECK_EQ(length(number), 0);
	CHECK_EQ(write(number, "x", 1), 1);
	CHECK_EQ(length(other), 1);
}

/* Every call that it makes may fail: no more than that one record is lost. */
static void calls_fail(void)
{
	int fd = memory_file();
	uint32_t n;

	listen_there();
	for (n = 1;; n++) {
		open_house(fd, UINT32_MAX);
		double_reset();
		double_fail(n, EIO);
		double_watch();
		write_one(1);
		double_rest();
		CHECK_EQ(mm->records + mm->records_sent + mm->records_said +
			 mm->records_dropped, 1);
		bz_record_close();
		if (!double_lies())
			break;
	}
	CHECK_EQ(n, 3);
	/* and so may those of the start */
	for (n = 1;; n++) {
		struct bez_options o = BEZ_OPTIONS_INIT;

		mm = unit_mm();
		o.kin_socket = daemon_name;
		double_reset();
		double_fail(n, EIO);
		double_watch();
		CHECK_EQ(bz_record_open(mm, &o), 0);
		double_rest();
		CHECK(bz_core.has_kin);
		bz_record_close();
		if (!double_lies())
			break;
	}
	tap_diag("%u calls at the start", n - 1);
}

static const struct tap_case cases[] = {
	{ .name = "who asks for it", .run = who_asks },
	{ .name = "a name that is too long", .run = too_long },
	{ .name = "options of an older header", .run = old_options },
	{ .name = "one call more than to a file", .run = one_call },
	{ .name = "what a repair asks of the kernel", .run = a_repair },
	{ .name = "nothing comes back", .run = not_read },
	{ .name = "full, then the file's", .run = full, .timeout_s = 20 },
	{ .name = "what the kernel may say", .run = refusals },
	{ .name = "gone, and not tried again", .run = gone },
	{ .name = "comes and goes", .run = again },
	{ .name = "a number that stands for another file", .run = not_ours },
	{ .name = "whatever fails", .run = calls_fail },
};
TAP_MAIN(cases)
