/* SPDX-License-Identifier: MIT */
/*
 * Processes that a program makes by fork(2), as servers do: the daemon knows each of
 * them by a connection of its own, and so how it ends.
 */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/core.h"
#include "kin.h"
#include "live.h"
#include "table.h"

#define DEATHS "SELECT count(*) FROM deaths"
#define ROWS "SELECT count(*) FROM records"
#define LOUD "HAS DIED OF SIGBUS WITHOUT A WORD"

static struct kin k;

static void start_with(const char *socket)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = BEZ_START_NO_EARLY_KILL;
	options.kin_socket = socket;
	CHECK_EQ(bez_start(&options), 0);
}

static void start(void)
{
	start_with(k.socket);
	table_make(2);
}

static int is_known(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return (int)s.kin;
}

static int born[2], go[2];

static void until_it_goes(void)
{
	char c;

	CHECK_EQ(write(born[1], "", 1), 1);
	CHECK_EQ(read(go[0], &c, 1), 1);
}

/* As a program that knows nothing of lost pages: no record comes of it. */
static void dies(void)
{
	unsigned char *at = live_pages(1);

	until_it_goes();
	signal(SIGBUS, SIG_DFL);
	live_poison(at);
	live_read(at);
	_exit(99);
}

static void loses(void)
{
	table_lose(0);
	CHECK_EQ(is_known(), 1);
	_exit(0);
}

static void leaves(void)
{
	_exit(0);
}

static pid_t worker(void (*what)(void))
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid)
		return pid;
	tap_apart();
	what();
	_exit(98);
}

static void make(void)
{
	kin_make(&k);
	CHECK_EQ(pipe2(born, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(go, O_CLOEXEC), 0);
}

/* The daemon has let in all who have connected up to now: who comes last is answered. */
static void all_are_in(void)
{
	struct bez_record r = kin_record(1);
	int fd = kin_connect(&k);

	r.version = 2;
	kin_close_record(&r);
	CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
	kin_acks(fd, 1);
	close(fd);
}

/* @n that were born, and known. */
static void goes(int n)
{
	char c;
	int i;

	for (i = 0; i < n; i++)
		CHECK_EQ(read(born[0], &c, 1), 1);
	all_are_in();
	for (i = 0; i < n; i++)
		CHECK_EQ(write(go[1], "", 1), 1);
}

static int end_of(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status & ~0x80;
}

/* Another program, which dies of what it does itself. */
static void becomes(void)
{
	until_it_goes();
	execl("/bin/sh", "sh", "-c", "kill -BUS $$", (char *)NULL);
}

/* The daemon says and keeps that @pid has died so. How it has older kernels tell only
 * until it is waited for. */
static void without_a_word(pid_t pid)
{
	char sql[200], said[64];

	goes(1);
	snprintf(sql, sizeof(sql), DEATHS " WHERE pid = %d AND told = 0 AND "
		 "(status & ~128) = %d", pid, SIGBUS);
	kin_wait(&k, sql, 1);
	snprintf(said, sizeof(said), "process %d ", pid);
	kin_will_say(&k, LOUD);
	CHECK(kin_has_said(&k, said));
	CHECK_EQ(end_of(pid), SIGBUS);
}

/* ------------------------------------------------------------------ their ends */

static void of_a_worker(void)
{
	pid_t pid;

	make();
	kin_start(&k, NULL);
	start();
	pid = worker(dies);
	without_a_word(pid);
	CHECK_EQ(kin_ask(&k, DEATHS), 1);
	/* nothing of that is its parent's */
	table_lose(1);
	kin_wait(&k, ROWS, 1);
	CHECK_EQ(kin_count(&k, "connections closed"), 0);
	kin_end(&k);
}

/* It waits for its own when the daemon has seen that. */
static void forks_and_tells(void)
{
	pid_t pid = worker(dies);
	int status;
	char c;

	CHECK_EQ(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 },
			WEXITED | WNOWAIT), 0);
	CHECK_EQ(read(go[0], &c, 1), 1);
	status = end_of(pid);
	_exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS ? 0 : 97);
}

static void of_its_worker(void)
{
	pid_t pid;

	make();
	kin_start(&k, NULL);
	start();
	pid = worker(forks_and_tells);
	goes(1);
	kin_wait(&k, DEATHS " WHERE told = 0 AND (status & ~128) = 7", 1);
	CHECK_EQ(write(go[1], "", 1), 1);
	CHECK_EQ(end_of(pid), 0);
	kin_end(&k);
}

/* What it is called is what it was called at its end. */
static void of_another_program(void)
{
	make();
	kin_start(&k, NULL);
	start();
	without_a_word(worker(becomes));
	CHECK(kin_has_said(&k, "\"sh\" of user"));
	kin_end(&k);
}

/* Many come and go, and nothing is said of any; then one dies. */
static void of_many(void)
{
	enum { MANY = 100 };
	pid_t pids[MANY], pid;
	int i;

	make();
	kin_start(&k, NULL);
	start();
	for (i = 0; i < MANY; i++)
		pids[i] = worker(i % 2 ? leaves : loses);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(end_of(pids[i]), 0);
	pid = worker(dies);
	without_a_word(pid);
	CHECK_EQ(kin_ask(&k, DEATHS), 1);
	kin_wait(&k, ROWS, MANY / 2);
	CHECK_EQ(kin_ask(&k, "SELECT count(DISTINCT pid) FROM records"),
		 MANY / 2);
	CHECK_EQ(kin_count(&k, "forged"), 0);
	kin_end(&k);
}

static void waits_and_loses(void)
{
	until_it_goes();
	loses();
}

/* More than there are places: what is closed for others is no way of any record. */
static void of_too_many(void)
{
	enum { MANY = 8 };
	pid_t pids[MANY];
	int i;

	make();
	kin_start(&k, "--clients", "4", NULL);
	start();
	for (i = 0; i < MANY; i++)
		pids[i] = worker(waits_and_loses);
	goes(MANY);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(end_of(pids[i]), 0);
	table_lose(1);
	kin_wait(&k, ROWS, MANY + 1);
	CHECK_EQ(kin_ask(&k, "SELECT count(DISTINCT pid) FROM records"),
		 MANY + 1);
	CHECK(kin_count(&k, "connections closed") >= MANY - 3);
	kin_end(&k);
}

/* ------------------------------------------------------------ where it is not so */

/* The daemon came when nobody missed it: who is born now knows of it. */
static void born_later(void)
{
	pid_t pid;

	make();
	start();
	CHECK_EQ(is_known(), 0);
	kin_start(&k, NULL);
	pid = worker(loses);
	CHECK_EQ(end_of(pid), 0);
	kin_wait(&k, ROWS, 1);
	pid = worker(dies);
	without_a_word(pid);
	kin_end(&k);
}

/* It starts the library itself, and names a daemon that is not there. */
static void starts_anew(void)
{
	CHECK_EQ(is_known(), 1);
	CHECK_EQ(bez_stop(), 0);
	start_with("/proc/nobody/listens");
	_exit(is_known() ? 92 : 0);
}

static void another_daemon(void)
{
	make();
	kin_start(&k, NULL);
	start_with(k.socket);
	CHECK_EQ(end_of(worker(starts_anew)), 0);
	kin_end(&k);
}

static void in_another_root(void)
{
	start();
	live_mark_ready();
	if (chroot(k.folder) || chdir("/"))
		_exit(77);
	_exit(end_of(worker(loses)) ? 96 : 0);
}

/* Who does not find the daemon speaks by its parent's connection. */
static void another_root(void)
{
	int status;

	make();
	kin_start(&k, NULL);
	status = end_of(worker(in_another_root));
	if (status == 77 << 8)
		tap_skip("chroot(2) is root's");
	CHECK_EQ(status, 0);
	kin_wait(&k, ROWS, 1);
	kin_end(&k);
}

/* Is something of ours connected at @fd? */
static int is_connected(int fd)
{
	struct sockaddr_un at;
	socklen_t len = sizeof(at);

	return !getpeername(fd, (struct sockaddr *)&at, &len);
}

/* The last descriptor that is. */
static int last_connected(void)
{
	int fd, last = 0;

	for (fd = 3; fd < 2000; fd++)
		if (is_connected(fd))
			last = fd;
	return last;
}

static int theirs;

static void has_theirs(void)
{
	_exit(!is_connected(theirs) && fcntl(theirs, F_GETFD) >= 0 ? 0 : 95);
}

/* It has closed its own, and opened something else there, before it forks. */
static void closes_and_forks(void)
{
	theirs = last_connected();
	CHECK_EQ(dup2(0, theirs), theirs);
	_exit(end_of(worker(has_theirs)) ? 94 : 0);
}

static void number_of_others(void)
{
	int first;

	make();
	kin_start(&k, NULL);
	start();
	first = last_connected();
	CHECK(first > 3);
	CHECK_EQ(end_of(worker(closes_and_forks)), 0);
	theirs = first;
	CHECK_EQ(dup2(0, theirs), theirs);
	CHECK_EQ(end_of(worker(has_theirs)), 0);
	kin_end(&k);
}

/* Who may not ask for a socket any more, and would be killed for it, asks for none. */
static void no_more_sockets(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]), .filter = filter,
	};

	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
	_exit(end_of(worker(loses)) ? 93 : 0);
}

/* One that has a filter from the start, as in a container, and gets another. */
static void in_a_container(void)
{
	struct sock_filter all[] = {
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 1, .filter = all };

	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
	if (!bz_status_number("/proc/thread-self/status", "\nSeccomp_filters:"))
		_exit(77);
	start();
	CHECK_EQ(end_of(worker(loses)), 0);
	no_more_sockets();
}

static void sandbox(void)
{
	int status;

	make();
	kin_start(&k, NULL);
	status = end_of(worker(in_a_container));
	if (status == 77 << 8)
		tap_skip("this kernel does not count filters: Linux 5.9 does");
	CHECK_EQ(status, 0);
	kin_wait(&k, ROWS, 2);
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "a worker's death", .run = of_a_worker },
	{ .name = "a worker's worker's", .run = of_its_worker },
	{ .name = "one that becomes another program",
	  .run = of_another_program },
	{ .name = "many that come and go", .run = of_many },
	{ .name = "more than there are places", .run = of_too_many },
	{ .name = "born when the daemon has come", .run = born_later },
	{ .name = "that start anew", .run = another_daemon },
	{ .name = "that see another root", .run = another_root },
	{ .name = "whose number is something else", .run = number_of_others },
	{ .name = "in a sandbox", .run = sandbox },
};
TAP_MAIN(cases)
