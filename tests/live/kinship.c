/* SPDX-License-Identifier: MIT */
/*
 * Records by way of a daemon's socket. The daemon is this process, which takes them
 * and, where it is for the end of another, says that it has them; bezoard itself is
 * tested in tests/kin/.
 */
#define _GNU_SOURCE
#include <bezoar/record.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

#define PAGES	8
#define THREADS	4
#define ENOUGH	50			/* records, by each way */

static char name[64];
static int listener, file;
static unsigned char *at, *copy;

static void listen_there(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	socklen_t len;

	snprintf(name, sizeof(name), "@bezoar-live-kinship-%d", getpid());
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			  strlen(name));
	memcpy(to.sun_path + 1, name + 1, strlen(name) - 1);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK(listener >= 0);
	CHECK_EQ(bind(listener, (struct sockaddr *)&to, len), 0);
	CHECK_EQ(listen(listener, 8), 0);
	file = memfd_create("records", MFD_CLOEXEC);
	CHECK(file > 0);
}

static void start(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	/* a notice leaves records of its own */
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.record_fd = file;
	options.record_rate = UINT32_MAX;
	options.kin_socket = name;
	CHECK_EQ(bez_start(&options), 0);
}

static void prepare(size_t pages)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;

	at = live_pages(pages);
	copy = live_pages(pages);
	from = bez_source_mirror(copy);
	policy.name = "the table";
	policy.source = &from;
	policy.max_repeats = UINT32_MAX;
	CHECK_EQ(bez_region_add(at, pages * live_page(), &policy, &region), 0);
}

static struct bez_status now(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

static void receive(int fd, uint32_t outcome, struct bez_record *ret)
{
	CHECK_EQ(recv(fd, ret, sizeof(*ret), 0), sizeof(*ret));
	CHECK_EQ(ret->digest, bez_digest(ret, sizeof(*ret) - 8));
	CHECK_EQ(ret->outcome, outcome);
}

static long long in_file(void)
{
	struct stat st;

	CHECK_EQ(fstat(file, &st), 0);
	return st.st_size / BEZ_RECORD_BYTES;
}

static void replaced(void)
{
	struct bez_record r;
	size_t i;
	int fd;

	listen_there();
	start();
	prepare(PAGES);
	fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0);
	CHECK_EQ(now().kin, 1);
	for (i = 0; i < PAGES; i++) {
		live_poison(at + i * live_page());
		CHECK_EQ(live_read(at + i * live_page()),
			 live_byte(i * live_page(), 0));
		receive(fd, BEZ_OUTCOME_REPLACED, &r);
		CHECK_EQ(r.id, i + 1);
		CHECK_EQ(r.addr & -live_page(),
			 (uint64_t)(at + i * live_page()));
	}
	CHECK_EQ(now().records_sent, PAGES);
	CHECK_EQ(in_file(), 0);
}

static _Atomic int enough;
static _Atomic long long lost;

/* Each loses a page of its own, again and again. */
static void *loses(void *arg)
{
	size_t mine = (size_t)(uintptr_t)arg;
	unsigned char *page = at + mine * live_page();

	CHECK_EQ(bez_thread_attach(), 0);
	while (!enough) {
		live_poison(page);
		CHECK_EQ(live_read(page), live_byte(mine * live_page(), 0));
		lost++;
	}
	return NULL;
}

/* By several threads, to a daemon that goes in the middle of it: every record goes
 * somewhere, whole. */
static void goes(void)
{
	struct bez_record r;
	pthread_t t[THREADS];
	long long sent = 0, i;
	int fd;

	listen_there();
	start();
	prepare(THREADS);
	fd = accept(listener, NULL, NULL);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, loses, (void *)i), 0);
	while (sent < ENOUGH) {
		receive(fd, BEZ_OUTCOME_REPLACED, &r);
		sent++;
	}
	close(listener);
	close(fd);
	while (now().kin || in_file() < ENOUGH)
		continue;
	enough = 1;
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CHECK((long long)now().records_sent >= sent);
	CHECK_EQ((long long)(now().records_sent + now().records), lost);
	CHECK_EQ(now().records_dropped + now().records_said, 0);
	CHECK_EQ(in_file(), (long long)now().records);
	for (i = 0; i < in_file(); i++) {
		CHECK_EQ(pread(file, &r, sizeof(r), i * BEZ_RECORD_BYTES),
			 sizeof(r));
		CHECK_EQ(r.digest, bez_digest(&r, sizeof(r) - 8));
	}
}

static pid_t dies(uint64_t shutdown_ns, int fd)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	pid_t pid = fork();

	if (pid)
		return pid;
	/* one that does not end goes with us */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	tap_apart();
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.record_fd = fd;
	options.shutdown_ns = shutdown_ns;
	options.kin_socket = name;
	CHECK_EQ(bez_start(&options), 0);
	policy.actions[0] = BEZ_ACTION_SHUTDOWN;
	at = live_pages(1);
	CHECK_EQ(bez_region_add(at, live_page(), &policy, &region), 0);
	live_poison(at);
	live_read(at);
	_exit(1);
}

static void died_of_it(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%#x",
	       status);
}

/* It sleeps: it waits for an answer. */
static int sleeps(pid_t pid)
{
	char path[64], text[256] = "", *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	CHECK(n > 0);
	end = strrchr(text, ')');
	CHECK(end && end[2] != 'Z');
	return end[2] == 'S';
}

/* The end waits until the daemon says that it has both: there is no file that could
 * have them. */
static void end_is_kept(void)
{
	struct bez_record first, last;
	int usual, fd, status;
	pid_t pid;

	listen_there();
	pid = dies(60000000000u, 0);
	usual = accept(listener, NULL, NULL);
	fd = accept(listener, NULL, NULL);
	CHECK(usual >= 0 && fd >= 0);
	receive(fd, BEZ_OUTCOME_SHUTDOWN_BEGUN, &first);
	CHECK_EQ(send(fd, &first.digest, 8, 0), 8);
	receive(fd, BEZ_OUTCOME_SHUTDOWN, &last);
	while (!sleeps(pid))
		CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
	CHECK_EQ(send(fd, &last.digest, 8, MSG_NOSIGNAL), 8);
	died_of_it(pid);
}

static void end_is_written(void)
{
	listen_there();
	died_of_it(dies(100000000, file));
	CHECK_EQ(in_file(), 2);
}

static const struct tap_case cases[] = {
	{ .name = "what is replaced", .run = replaced },
	{ .name = "by threads, while it goes", .run = goes },
	{ .name = "the end, acknowledged", .run = end_is_kept },
	{ .name = "the end, without an answer", .run = end_is_written },
};
TAP_MAIN(cases)
