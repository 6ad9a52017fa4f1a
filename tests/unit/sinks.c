/* SPDX-License-Identifier: MIT */
/* Fifth room: what becomes of records where they are written to. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include "writing.h"

/* ---------------------------------------------------------------- the sinks */

static void sinks(void)
{
	int pipes[2], pair[2], fd;
	struct bz_sink sink;
	char name[] = "/tmp/bezoar-sink-XXXXXX";

	CHECK_EQ(bz_sink_open(0, &sink), 0);
	CHECK_EQ(sink.kind, BZ_SINK_NONE);
	CHECK_EQ(bz_sink_open(-1, &sink), -EBADF);
	CHECK_EQ(bz_sink_open(999, &sink), -EBADF);
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	fd = mkstemp(name);
	CHECK(fd >= 0);
	CHECK_EQ(bz_sink_open(pipes[0], &sink), -EBADF);	/* to read from */
	CHECK_EQ(bz_sink_open(open(name, O_RDONLY), &sink), -EBADF);
	CHECK_EQ(bz_sink_open(open(name, O_PATH), &sink), -EBADF);
	CHECK_EQ(bz_sink_open(open("/tmp", O_RDONLY), &sink), -EBADF);
	unlink(name);

	CHECK_EQ(bz_sink_open(fd, &sink), 0);
	CHECK_EQ(sink.kind, BZ_SINK_FILE);
	CHECK(fcntl(sink.fd, F_GETFD) & FD_CLOEXEC);
	CHECK(sink.fd >= 1000 || fcntl(1000, F_GETFD) < 0);
	bz_sink_close(&sink);
	CHECK_EQ(bz_sink_open(pair[0], &sink), 0);
	CHECK_EQ(sink.kind, BZ_SINK_SOCKET);
	CHECK(!(fcntl(sink.fd, F_GETFL) & O_NONBLOCK));
	/* that of the program has no mark of ours */
	CHECK_EQ(fcntl(pair[0], F_GETSIG), 0);
	bz_sink_close(&sink);
	CHECK_EQ(bz_sink_open(pipes[1], &sink), 0);
	CHECK_EQ(sink.kind, BZ_SINK_PIPE);
	/* ours does not wait, and the program's still does */
	CHECK(fcntl(sink.fd, F_GETFL) & O_NONBLOCK);
	CHECK_EQ(fcntl(pipes[1], F_GETSIG), 0);
	CHECK(!(fcntl(pipes[1], F_GETFL) & O_NONBLOCK));
	bz_sink_close(&sink);
	CHECK_EQ(fcntl(sink.fd, F_GETFD), -1);
}

/* All signals are blocked, as in the handler. */
static void block_all(void)
{
	sigset_t all;

	sigfillset(&all);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &all, NULL), 0);
}

static int pending(int sig)
{
	sigset_t set;

	CHECK_EQ(sigpending(&set), 0);
	return sigismember(&set, sig);
}

static int opens(int record, int text, int kin)
{
	struct bez_options o = BEZ_OPTIONS_INIT;
	int r;

	o.record_fd = record;
	o.record_text_fd = text;
	o.kin_fd = kin;
	r = bz_record_open(mm, &o);
	if (!r)
		bz_record_close();
	return r;
}

/* Of a terminal only the text, of its master nothing: that one, opened anew, is
 * another. */
static void terminals(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave, null, before;

	if (master < 0 || grantpt(master) || unlockpt(master))
		tap_skip("no pseudo-terminals here: %s", strerror(errno));
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	CHECK(slave > 0);
	null = open("/dev/null", O_WRONLY);
	CHECK(null > 0);
	mm = unit_mm();
	before = (int)unit_fds();
	CHECK_EQ(opens(master, 0, 0), -EINVAL);
	CHECK_EQ(opens(0, master, 0), -EINVAL);
	CHECK_EQ(opens(0, 0, master), -EINVAL);
	CHECK_EQ(opens(slave, 0, 0), -EINVAL);
	CHECK_EQ(opens(0, 0, slave), -EINVAL);
	CHECK_EQ(opens(open("/dev/ptmx", O_RDWR | O_NOCTTY), 0, 0), -EINVAL);
	before++;
	CHECK_EQ(opens(0, slave, 0), 0);
	CHECK_EQ(opens(null, null, null), 0);
	CHECK_EQ(unit_fds(), before);
}

/* The line comes through, and one that is held up is not waited for, by ours. */
static void terminal_held(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	char text[512] = "";

	if (master < 0 || grantpt(master) || unlockpt(master))
		tap_skip("no pseudo-terminals here: %s", strerror(errno));
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	CHECK(slave > 0);
	open_to(0, slave, UINT32_MAX);
	block_all();
	write_one(1);
	CHECK(read(master, text, sizeof(text) - 1) > 100);
	CHECK(strchr(text, '\n'));
	CHECK(!(fcntl(slave, F_GETFL) & O_NONBLOCK));
	CHECK_EQ(tcflow(slave, TCOOFF), 0);
	write_one(2);
	CHECK_EQ(fcntl(master, F_SETFL, O_NONBLOCK), 0);
	CHECK_EQ(read(master, text, sizeof(text)), -1);
	close(master);			/* hung up */
	write_one(3);
	CHECK(!pending(SIGHUP));
}

/* A pipe that is full, one that nobody reads: counted, and no signal is left. */
static void pipe_end(void)
{
	struct bez_record r;
	char page[4096] = "";
	int pipes[2];

	CHECK_EQ(pipe(pipes), 0);
	CHECK(fcntl(pipes[1], F_SETPIPE_SZ, 4096) > 0);
	open_to(pipes[1], 0, UINT32_MAX);
	block_all();
	write_one(1);
	CHECK_EQ(mm->records, 1);
	CHECK_EQ(write(pipes[1], page, 4096 - sizeof(r)), 4096 - sizeof(r));
	write_one(2);				/* returns at once */
	CHECK_EQ(mm->records, 1);
	CHECK_EQ(mm->records_dropped, 1);
	CHECK_EQ(read(pipes[0], &r, sizeof(r)), sizeof(r));
	CHECK_EQ(read(pipes[0], page, 4096), 4096 - sizeof(r));
	write_one(3);
	CHECK_EQ(mm->records, 2);
	CHECK_EQ(read(pipes[0], &r, sizeof(r)), sizeof(r));
	CHECK_EQ(r.id, 3);
	CHECK_EQ(r.dropped, 1);
}

static void no_reader(void)
{
	int pipes[2];

	CHECK_EQ(pipe(pipes), 0);
	open_to(pipes[1], 0, UINT32_MAX);
	block_all();
	close(pipes[0]);
	write_one(1);
	CHECK_EQ(mm->records_dropped, 1);
	CHECK(!pending(SIGPIPE));
}

/* A file at its limit. */
static void file_limit(void)
{
	struct rlimit limit = { 1000, 1000 };
	int fd = memory_file();

	open_to(fd, 0, UINT32_MAX);
	block_all();
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
	write_one(1);
	write_one(2);
	CHECK_EQ(mm->records, 2);
	write_one(3);				/* a part of it */
	write_one(4);				/* nothing */
	CHECK_EQ(mm->records, 2);
	CHECK_EQ(mm->records_dropped, 2);
	CHECK(!pending(SIGXFSZ));
	CHECK_EQ(length(fd), 1000);
}

static void socket_full(void)
{
	int pair[2], i;
	char bytes[1024];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	open_to(pair[0], 0, UINT32_MAX);
	block_all();
	for (i = 0; i < 100000 && !mm->records_dropped; i++)
		write_one((uint64_t)i);
	CHECK(mm->records_dropped);
	CHECK(mm->records >= 1);
	/* each a datagram of its own */
	CHECK_EQ(recv(pair[1], bytes, sizeof(bytes), 0), BEZ_RECORD_BYTES);
	close(pair[1]);
	write_one(0);
	CHECK(!pending(SIGPIPE));
}

/* qemu-user knows neither F_SETSIG nor pwritev2(2). */
static int can_mark(int fd)
{
	int own = dup(fd), r = fcntl(own, F_SETSIG, 64);

	/* it was the test's as well */
	fcntl(own, F_SETSIG, 0);
	close(own);
	return !r;
}

static void need_append(int fd)
{
	struct iovec none = { NULL, 0 };

	if (syscall(SYS_pwritev2, fd, &none, 1, -1, -1, RWF_APPEND))
		tap_skip("no pwritev2(2) here (Linux 4.16): %s",
			 strerror(errno));
}

/* What may be written to and not be opened anew: then it is the program's own
 * description, which does not append. */
static void not_again(void)
{
	static const struct double_rule rule = { .nr = SYS_openat, .nth = 1,
						 .err = EACCES };

	double_rule(&rule);
	double_watch();
}

/* The description is the program's, and so is the place where it reads. */
static void own_offset(void)
{
	int fd = memory_file();

	need_append(fd);
	not_again();
	CHECK_EQ(write(fd, "0123456789", 10), 10);
	CHECK_EQ(lseek(fd, 3, SEEK_SET), 3);
	open_to(fd, 0, UINT32_MAX);
	write_one(1);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 3);
	write_one(2);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 3);
	CHECK_EQ(length(fd), 10 + 2 * BEZ_RECORD_BYTES);
}

/* The program has closed all, and opened something else under the number. */
static void not_ours(void)
{
	int fd = memory_file(), other = memory_file(), high;

	if (tap_data())
		not_again();
	open_to(fd, 0, UINT32_MAX);
	high = bz_recorder.sink.fd;
	CHECK_EQ(bz_recorder.sink.marked, can_mark(fd) && !tap_data());
	write_one(1);
	CHECK_EQ(dup2(other, high), high);
	write_one(2);
	CHECK_EQ(length(other), 0);
	CHECK_EQ(mm->records_dropped, 1);
	CHECK_EQ(length(fd), BEZ_RECORD_BYTES);
	bz_record_close();
	/* nor is it ours to close */
	CHECK(fcntl(high, F_GETFD) >= 0);
}

#define WRITERS	4
#define EACH	4000
#define LIMIT	8000

static void *writer(void *arg)
{
	uint64_t i;

	for (i = 0; i < EACH; i++)
		bz_record_write(mm, &mm->walk[(uintptr_t)arg], &fault, 4096,
				&hit, &result, i);
	return NULL;
}

/* Four threads: never more than the limit, each whole, none lost. */
static void race(void)
{
	pthread_t t[WRITERS];
	struct bez_record r;
	uintptr_t i;
	off_t end;
	int fd = memory_file();

	if (tap_data()) {
		need_append(fd);
		not_again();
	}
	open_to(fd, 0, LIMIT);
	CHECK_EQ(bz_recorder.sink.marked, can_mark(fd) && !tap_data());
	double_rest();
	double_stop_clock();
	for (i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, writer, (void *)i), 0);
	for (i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
	end = length(fd);
	CHECK_EQ(end, LIMIT * BEZ_RECORD_BYTES);
	CHECK_EQ(mm->records, LIMIT);
	CHECK_EQ(mm->records_dropped, WRITERS * EACH - LIMIT);
	while ((end -= BEZ_RECORD_BYTES) >= 0) {
		CHECK_EQ(pread(fd, &r, sizeof(r), end), sizeof(r));
		CHECK_EQ(r.digest, bez_digest(&r, 376));
	}
}

static const struct tap_case cases[] = {
	{ .name = "what can be written to", .run = sinks },
	{ .name = "terminals, and their masters", .run = terminals },
	{ .name = "a terminal that is held up", .run = terminal_held,
	  .timeout_s = 20 },
	{ .name = "a full pipe is not waited for", .run = pipe_end },
	{ .name = "a pipe that nobody reads", .run = no_reader },
	{ .name = "a file at its limit", .run = file_limit },
	{ .name = "a full socket", .run = socket_full },
	{ .name = "a number that stands for another file", .run = not_ours },
	{ .name = "a number that stands for another file, the program's own",
	  .run = not_ours, .data = "" },
	{ .name = "the program's own file, and its place in it",
	  .run = own_offset },
	{ .name = "threads", .run = race },
	{ .name = "threads, the program's own file", .run = race, .data = "" },
};
TAP_MAIN(cases)
