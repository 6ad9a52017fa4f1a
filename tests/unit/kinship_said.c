/* SPDX-License-Identifier: MIT */
/* Fifth room: what neither the daemon nor a file takes is said on standard error,
 * if that is what it was, and does not have to be waited for. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "listening.h"

/* A pipe in the place of standard error. What is at the other end. */
static int hear(void)
{
	int ends[2];

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	CHECK_EQ(dup2(ends[1], 2), 2);
	close(ends[1]);
	CHECK_EQ(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	return ends[0];
}

static ssize_t lines(int fd)
{
	char text[65536];
	ssize_t n = read(fd, text, sizeof(text)), i, count = 0;

	for (i = 0; i < n; i++)
		count += text[i] == '\n';
	return count;
}

static void said(void)
{
	struct rlimit none = { 0, 0 };
	int fd = 0, to = hear();
	sigset_t all;

	/* there is none, or it is full */
	if (tap_data()) {
		fd = memory_file();
		CHECK_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
		sigfillset(&all);
		CHECK_EQ(sigprocmask(SIG_BLOCK, &all, NULL), 0);
	}
	listen_there();
	goes_away();
	open_house(fd, UINT32_MAX);
	write_one(1);
	write_one(2);
	CHECK(!fd || !length(fd));
	CHECK_EQ(lines(to), 2);
	CHECK_EQ(mm->records_said, 2);
	CHECK_EQ(mm->records + mm->records_sent + mm->records_dropped, 0);
	/* the program's own is as it was */
	CHECK(!(fcntl(2, F_GETFL) & O_NONBLOCK));
}

/* No more of these than of records. */
static void said_rate(void)
{
	int to = hear(), i;

	listen_there();
	goes_away();
	open_house(0, 10);
	double_watch();
	double_stop_clock();
	for (i = 0; i < 25; i++)
		write_one((uint64_t)i);
	CHECK_EQ(lines(to), 10);
	CHECK_EQ(mm->records_said, 10);
	CHECK_EQ(mm->records_dropped, 15);
}

/* A pipe that is full is not waited for, and nothing is kept open. */
static void said_full(void)
{
	static const char page[4096];
	int to = hear();
	uint32_t fds;

	CHECK(fcntl(2, F_SETPIPE_SZ, 4096) > 0);
	CHECK_EQ(write(2, page, 4096), 4096);
	listen_there();
	goes_away();
	fds = unit_fds();
	open_house(0, UINT32_MAX);
	unit_patience(20);
	write_one(1);
	CHECK_EQ(mm->records_dropped, 1);
	bz_record_close();
	CHECK_EQ(unit_fds(), fds);
	close(to);
}

/* What has the number now is something else; or it was nothing from the start. */
static void said_nowhere(void)
{
	int to = hear(), other = memory_file();

	if (tap_data())
		close(2);
	listen_there();
	goes_away();
	open_house(0, UINT32_MAX);
	CHECK_EQ(dup2(other, 2), 2);
	write_one(1);
	CHECK_EQ(length(other), 0);
	CHECK_EQ(mm->records_dropped, 1);
	close(to);
}

/* One that only grows, of the program's. Not what it was any more: not said. */
static void said_file(void)
{
	int other = memory_file();

	CHECK_EQ(fcntl(other, F_SETFL, O_APPEND), 0);
	CHECK_EQ(dup2(other, 2), 2);
	listen_there();
	goes_away();
	open_house(0, UINT32_MAX);
	CHECK_EQ(dprintf(2, "one\n"), 4);
	write_one(1);
	CHECK_EQ(dprintf(2, "two\n"), 4);
	CHECK_EQ(lseek(other, 0, SEEK_SET), 0);
	CHECK_EQ(lines(other), 3);
	CHECK_EQ(mm->records_said, 1);
	CHECK_EQ(fcntl(2, F_SETFL, 0), 0);
	write_one(2);
	CHECK_EQ(mm->records_dropped, 1);
}

static int data_file(void)
{
	return memory_file();
}

static int log_file(void)
{
	int fd = memory_file();

	CHECK_EQ(fcntl(fd, F_SETFL, O_APPEND), 0);
	return fd;
}

/* What the program says to itself. */
static int read_end(void)
{
	int ends[2];

	CHECK_EQ(pipe(ends), 0);
	return ends[0];
}

static int nothing(void)
{
	return open("/dev/null", O_WRONLY);
}

/* As an accepted connection is; inetd's programs have one there. */
static int stranger(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

/* Opened by the program, where nothing was. */
static int own_pipe(void)
{
	int ends[2];

	CHECK_EQ(pipe(ends), 0);
	return ends[1];
}

static const struct place {
	int (*make)(void);
	int flags;			/* of dup3(2) */
	int asked;			/* by the environment only */
} data_there = { data_file, 0, 0 }, log_there = { log_file, 0, 1 },
  reads_there = { read_end, 0, 0 }, null_there = { nothing, 0, 0 },
  stranger_there = { stranger, 0, 0 }, own_there = { own_pipe, O_CLOEXEC, 0 };

/* What has the number of standard error at the start, and is none. */
static void said_not(void)
{
	const struct place *p = tap_data();
	struct bez_options o = BEZ_OPTIONS_INIT;
	int fd = p->make();

	CHECK(fd >= 0);
	close(2);
	CHECK_EQ(dup3(fd, 2, p->flags), 2);
	listen_there();
	goes_away();
	mm = unit_mm();
	atomic_store(&mm->walk[0].owner, 0x51525354);
	setenv("BEZOAR_SOCKET", daemon_name, 1);
	if (!p->asked)
		o.kin_socket = daemon_name;
	CHECK_EQ(bz_record_open(mm, &o), 0);
	CHECK(bz_core.has_kin);
	write_one(1);
	CHECK_EQ(mm->records_said, 0);
	CHECK_EQ(mm->records_dropped, 1);
	CHECK_EQ(bz_recorder.say.how, BZ_SAY_NOT);
}

/* A disk is no place for lines, and is not opened to be looked at. */
static void said_to_no_disk(void)
{
	struct stat st = { .st_mode = S_IFBLK | 0600 };

	CHECK_EQ(bz_sink_kind(2, &st), BZ_SINK_NONE);
}

/* The pipe's other end has the number by now. */
static void said_to_no_reader(void)
{
	int to = hear();

	listen_there();
	goes_away();
	open_house(0, UINT32_MAX);
	CHECK_EQ(dup2(to, 2), 2);
	write_one(1);
	CHECK_EQ(mm->records_said, 0);
	CHECK_EQ(mm->records_dropped, 1);
}

static void said_socket(void)
{
	char text[512] = "";
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	CHECK_EQ(dup2(pair[0], 2), 2);
	listen_there();
	goes_away();
	open_house(0, UINT32_MAX);
	write_one(1);
	CHECK(recv(pair[1], text, sizeof(text) - 1, MSG_DONTWAIT) > 100);
	CHECKF(!strncmp(text, "bezoar: default", 15), "%s", text);
	CHECK_EQ(mm->records_said, 1);
}

static int openings, kept_out;

static void while_open(long nr, const long arg[6])
{
	(void)arg;
	openings += nr == SYS_write;
	kept_out += nr == SYS_write && atomic_load(&mm->walk[0].placing);
}

/* Forks are kept out while the pipe is open once more; in one, nothing is said. */
static void said_alone(void)
{
	int to = hear();

	listen_there();
	goes_away();
	open_house(0, UINT32_MAX);
	double_before(while_open);
	double_watch();
	write_one(1);
	CHECK_EQ(openings, 1);
	CHECK_EQ(kept_out, 1);
	CHECK_EQ(atomic_load(&mm->walk[0].placing), 0);
	/* another thread forks */
	atomic_store(&mm->gate, 1);
	write_one(2);
	CHECK_EQ(openings, 1);
	CHECK_EQ(atomic_load(&mm->walk[0].placing), 0);
	/* a page is being placed by who met this one */
	atomic_store(&mm->gate, 0);
	atomic_store(&mm->walk[0].placing, 1);
	write_one(3);
	double_rest();
	CHECK_EQ(atomic_load(&mm->walk[0].placing), 1);
	CHECK_EQ(lines(to), 2);
	CHECK_EQ(mm->records_dropped, 1);
}

/* Who wants a line of each has it, and no second one. */
static void said_already(void)
{
	struct bez_options o = BEZ_OPTIONS_INIT;
	int to = hear(), text = memory_file();

	listen_there();
	goes_away();
	mm = unit_mm();
	atomic_store(&mm->walk[0].owner, 0x51525354);
	o.record_text_fd = text;
	o.kin_socket = daemon_name;
	CHECK_EQ(bz_record_open(mm, &o), 0);
	write_one(1);
	CHECK_EQ(lines(to), 0);
	CHECK(length(text) > 100);
	CHECK_EQ(mm->records_dropped, 1);
}

static const struct tap_case cases[] = {
	{ .name = "no file: said", .run = said },
	{ .name = "a file without room: said", .run = said, .data = "" },
	{ .name = "said no more often than written", .run = said_rate },
	{ .name = "said to a full pipe", .run = said_full },
	{ .name = "said to nobody: standard error is another now",
	  .run = said_nowhere },
	{ .name = "said to nobody: there was no standard error",
	  .run = said_nowhere, .data = "" },
	{ .name = "said in a file", .run = said_file },
	{ .name = "said to a socket", .run = said_socket },
	{ .name = "not said into data", .run = said_not, .data = &data_there },
	{ .name = "not said into a log that nobody offered", .run = said_not,
	  .data = &log_there },
	{ .name = "not said where it is read", .run = said_not,
	  .data = &reads_there },
	{ .name = "not said to /dev/null", .run = said_not,
	  .data = &null_there },
	{ .name = "not said to a stranger", .run = said_not,
	  .data = &stranger_there },
	{ .name = "not said into what was not inherited", .run = said_not,
	  .data = &own_there },
	{ .name = "not said to a disk", .run = said_to_no_disk },
	{ .name = "not said to the pipe's reader", .run = said_to_no_reader },
	{ .name = "said, and no child hears it", .run = said_alone },
	{ .name = "said already", .run = said_already },
};
TAP_MAIN(cases)
