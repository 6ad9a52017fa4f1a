/* SPDX-License-Identifier: MIT */
/*
 * The library's own connection to bezoard: it comes and goes.
 * Nobody waits for it, and what it does not take is in the file.
 */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kin.h"
#include "live.h"
#include "table.h"

#define PAGES	8
#define ROWS	"SELECT count(*) FROM records"

static struct kin k;
static char left[96];			/* a folder for files of records */
static int file;
static long long lost;			/* by this process */
static int no_file;			/* then it waits for the daemon at its end */

static void make(void)
{
	kin_make(&k);
	snprintf(left, sizeof(left), "%s/left", k.folder);
	CHECK_EQ(mkdir(left, 0755), 0);
}

/* In a process that is to lose some; all that is to be seen of it is in the
 * store, if it is by that, or in the file. */
static void start(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	char path[128];

	snprintf(path, sizeof(path), "%s/records", left);
	file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	CHECK(file > 0);
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.record_fd = no_file ? 0 : file;
	options.record_rate = UINT32_MAX;
	options.kin_socket = k.socket;
	CHECK_EQ(bez_start(&options), 0);
	table_make(PAGES);
}

static void lose(size_t page)
{
	table_lose(page);
	lost++;
}

static struct bez_status now(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

static long long in_file(void)
{
	struct stat st;

	CHECK_EQ(fstat(file, &st), 0);
	CHECK_EQ(st.st_size % BEZ_RECORD_BYTES, 0);
	return st.st_size / BEZ_RECORD_BYTES;
}

static void a_moment(void)
{
	static const struct timespec ms = { 0, 20000000 };

	nanosleep(&ms, NULL);
}

/* Losses, until the worker has connected; nothing else makes it. */
static void until_connected(void)
{
	while (!now().kin) {
		lose((size_t)lost);
		a_moment();
	}
	CHECK_EQ(now().kin, 1);
}

static int end_of(void (*child)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		tap_apart();
		child();
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/* ------------------------------------------------------------- it is there */

static void lose_one(void)
{
	lose(5);
}

/* By a process, its child, and one of a bare clone: each as itself. */
static void taken(void)
{
	int status;
	pid_t pid;

	make();
	kin_start(&k, NULL);
	start();
	CHECK_EQ(now().kin, 1);
	lose(0);
	lose(3);
	CHECK_EQ(end_of(lose_one), 0);
	pid = _Fork();
	if (!pid) {
		tap_apart();
		lose(6);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	kin_wait(&k, ROWS, 4);
	CHECK_EQ(kin_ask(&k, "SELECT count(DISTINCT pid) FROM records"), 3);
	CHECK_EQ(kin_ask(&k, ROWS " WHERE pid = own_pid AND outcome = 1"), 4);
	CHECK_EQ(kin_count(&k, "forged"), 0);
	CHECK_EQ(in_file(), 0);
	CHECK_EQ(now().records_sent, 2);
	CHECK_EQ(now().records + now().records_said + now().records_dropped, 0);
	kin_end(&k);
}

/* A child of vfork(2) meets a loss and goes on: it is the child's. */
static void of_vfork(void)
{
	int status;
	pid_t pid;

	make();
	kin_start(&k, NULL);
	start();
	live_poison(table_at);
	pid = vfork();
	if (!pid) {
		live_read(table_at);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	lose(1);
	kin_wait(&k, ROWS, 2);
	CHECK_EQ(kin_ask(&k, "SELECT max(pid) FROM records"),
		 pid > getpid() ? pid : getpid());
	CHECK_EQ(kin_ask(&k, "SELECT count(DISTINCT pid) FROM records"), 2);
	CHECK_EQ(kin_count(&k, "forged"), 0);
	kin_end(&k);
}

static void shut_down(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *at = live_pages(1);
	bez_region_t region;

	policy.actions[0] = BEZ_ACTION_SHUTDOWN;
	policy.name = "the end";
	CHECK_EQ(bez_region_add(at, live_page(), &policy, &region), 0);
	live_poison(at);
	live_read(at);
	_exit(1);
}

static void lose_and_die(void)
{
	start();
	lose(0);
	CHECK_EQ(now().records_sent, 1);
	shut_down();
}

/* The first process of a container of its own. */
static void in_container(void)
{
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID) && unshare(CLONE_NEWUSER | CLONE_NEWPID))
		_exit(77);
	pid = fork();
	if (!pid) {
		CHECK_EQ(getpid(), 1);
		no_file = 1;
		lose_and_die();
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%#x",
	       status);
}

static void container(void)
{
	int status;

	make();
	kin_start(&k, NULL);
	status = end_of(in_container);
	if (status == 77 << 8)
		tap_skip("a pid namespace may not be made here: run as root");
	CHECK_EQ(status, 0);
	/* its end was acknowledged; the loss before that came by another way */
	CHECK(kin_ask(&k, ROWS " WHERE own_pid = 1 AND pid > 1") >= 2);
	kin_wait(&k, ROWS, 3);
	CHECK_EQ(kin_count(&k, "forged"), 0);
	kin_end(&k);
}

/* Who has another root by now does not find the daemon any more, but has it on the
 * line still; what is not acknowledged is in the file as well. */
static void in_another_root(void)
{
	start();
	live_mark_ready();
	lose(0);
	if (chroot(left) || chdir("/"))
		_exit(77);
	lose(1);
	CHECK_EQ(now().records_sent, 2);
	shut_down();
}

static void another_root(void)
{
	int status;

	make();
	kin_start(&k, "--files", left, NULL);
	status = end_of(in_another_root);
	if (status == 77 << 8)
		tap_skip("chroot(2) is root's");
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%#x",
	       status);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'again'", 2);
	CHECK_EQ(kin_ask(&k, ROWS), 4);
	kin_end(&k);
}

/* ------------------------------------------------------------ it is not there */

static void comes_later(void)
{
	make();
	start();
	CHECK_EQ(now().kin, 0);
	lose(0);
	CHECK_EQ(in_file(), 1);
	kin_start(&k, "--files", left, NULL);
	until_connected();
	lose(1);
	CHECK(now().records_sent > 0);
	CHECK_EQ((long long)now().records, in_file());
	CHECK_EQ((long long)(now().records + now().records_sent), lost);
	kin_wait(&k, ROWS, lost);
	CHECK_EQ(kin_count(&k, "again"), 0);
	kin_end(&k);
}

/* What was acknowledged to nobody may be gone with it; so all is, before. */
static void killed(void)
{
	int i;

	make();
	kin_start(&k, "--files", left, NULL);
	start();
	for (i = 0; i < 20; i++)
		lose((size_t)i);
	kin_wait(&k, ROWS, lost);
	kin_kill(&k);
	for (i = 0; i < 20; i++)
		lose((size_t)i);
	CHECK_EQ(now().kin, 0);
	CHECK_EQ(now().records_sent, 20);
	CHECK_EQ(in_file(), 20);
	kin_start(&k, "--files", left, NULL);
	until_connected();
	for (i = 0; i < 20; i++)
		lose((size_t)i);
	CHECK(now().records_sent >= 40);
	CHECK_EQ((long long)(now().records + now().records_sent), lost);
	CHECK_EQ(now().records_dropped, 0);
	kin_wait(&k, ROWS, lost);
	CHECK_EQ(kin_count(&k, "forged"), 0);
	kin_end(&k);
}

/* How long the worker has been on a processor, ns. Made by hand of its number, as
 * the libc makes it of a pthread_t: ~number << 3, a thread's (4), what the
 * scheduler counts (2). */
static uint64_t worked(void)
{
	clockid_t clock = (clockid_t)(~(unsigned int)now().worker_tid << 3 | 6);
	struct timespec ts;

	CHECK_EQ(clock_gettime(clock, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static long switches(void)
{
	char path[64], line[256];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status",
		 now().worker_tid);
	f = fopen(path, "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "voluntary_ctxt_switches: %ld", &n);
	fclose(f);
	CHECK(n >= 0);
	return n;
}

/* It has been missed, and stays away: nothing is done about that before somebody
 * misses it again. Longer than the worker waits between two tries. */
static void idle(void)
{
	static const struct timespec time = { 1, 500000000 };
	uint64_t cpu;
	long n;

	make();
	start();
	lose(0);
	do {
		cpu = worked();
		n = switches();
		a_moment();
		a_moment();
	} while (switches() != n || worked() != cpu);
	/* what it does in this time is what is measured */
	nanosleep(&time, NULL);
	CHECK_EQ(switches(), n);
	CHECK_EQ(worked(), cpu);
	kin_end(&k);
}

/* Its queue is full: the file has the rest, and nobody waits. */
static void stopped(void)
{
	int i;

	make();
	kin_start(&k, NULL);
	start();
	lose(0);
	kin_wait(&k, ROWS, 1);
	CHECK_EQ(kill(k.pid, SIGSTOP), 0);
	for (i = 0; i < 1000; i++)
		lose((size_t)i);
	CHECK_EQ(kill(k.pid, SIGCONT), 0);
	tap_diag("%llu sent, %llu written",
		 (unsigned long long)now().records_sent,
		 (unsigned long long)now().records);
	CHECK(now().records_sent > 1 && now().records > 0);
	CHECK_EQ((long long)(now().records + now().records_sent), lost);
	CHECK_EQ(in_file(), (long long)now().records);
	CHECK_EQ(now().kin, 1);
	kin_wait(&k, ROWS, (long long)now().records_sent);
	kin_end(&k);
}

/* The program has closed all that it does not know. */
static void closed(void)
{
	char text[8192] = "";
	int ends[2], i, n = 0;
	ssize_t len;

	make();
	kin_start(&k, NULL);
	CHECK_EQ(pipe(ends), 0);
	CHECK_EQ(dup2(ends[1], 2), 2);
	start();
	for (i = 0; i < PAGES; i++)
		live_poison(table_at + (size_t)i * live_page());
	CHECK_EQ(dup2(ends[0], 3), 3);
	CHECK_EQ(syscall(SYS_close_range, 4, ~0u, 0), 0);
	CHECK_EQ(live_wrong(table_at, PAGES * live_page(), 0), 0);
	CHECK_EQ(now().records_said, PAGES);
	CHECK_EQ(now().records + now().records_sent + now().records_dropped,
		 0);
	len = read(3, text, sizeof(text) - 1);
	for (i = 0; i < len; i++)
		n += text[i] == '\n';
	CHECKF(n == PAGES && strstr(text, "\"the table\""), "%s", text);
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "of a process and its children", .run = taken },
	{ .name = "of a child of vfork", .run = of_vfork },
	{ .name = "of a container, to its end", .run = container },
	{ .name = "of a process with another root", .run = another_root },
	{ .name = "it comes later", .run = comes_later },
	{ .name = "it is killed, and comes again", .run = killed },
	{ .name = "it is missed, and nobody looks for it", .run = idle },
	{ .name = "it stands still", .run = stopped },
	{ .name = "the connection is closed", .run = closed },
};
TAP_MAIN(cases)
