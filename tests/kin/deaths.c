/* SPDX-License-Identifier: MIT */
/* Who has connected and dies of a lost page is known, and whether it has said so. The
 * pages are really lost, as far as this kernel can, and so are the processes. */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <linux/capability.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kin.h"
#include "live.h"

#define DEATHS "SELECT count(*) FROM deaths"
#define LOUD "HAS DIED OF SIGBUS WITHOUT A WORD"

static struct kin k;

/* Loses a page, and does not survive that. */
static void dies(void)
{
	unsigned char *at = live_pages(1);

	live_poison(at);
	live_read(at);
	_exit(99);
}

/* Until the daemon knows this process: it acknowledges what is no record of this
 * version, and none therefore. */
static void let_in(int fd)
{
	unsigned char bytes[BEZ_RECORD_BYTES];
	struct bez_record r = kin_record(1);

	r.version = 2;
	kin_close_record(&r);
	memcpy(bytes, &r, sizeof(r));
	CHECK_EQ(kin_send(fd, bytes, sizeof(bytes)), 0);
	kin_acks(fd, 1);
}

/* A process that is connected, and then does this. */
static pid_t connected(void (*then)(void))
{
	pid_t pid = fork();
	int fd;

	CHECK(pid >= 0);
	if (pid)
		return pid;
	tap_apart();
	fd = kin_connect(&k);
	let_in(fd);
	then();
	_exit(0);
}

static void wait_for(pid_t pid, int want)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF((status & ~0x80) == want, "%#x", status);
}

/* There is a row: @told, by the last record of that process. */
static void row(pid_t pid, int status, int told)
{
	char sql[400];

	snprintf(sql, sizeof(sql), DEATHS " WHERE pid = %d AND (status & ~128) "
		 "= %d AND told = %s AND uid = %d AND start_ticks > 0 AND "
		 "length(boot_id) = 16 AND length(comm) > 0", pid, status, told ?
		 "(SELECT max(number) FROM records r WHERE r.pid = deaths.pid)" :
		 "0", (int)getuid());
	kin_wait(&k, sql, 1);
}

static void untold(void)
{
	char said[128];
	pid_t pid;

	kin_make(&k);
	kin_start(&k, NULL);
	pid = connected(dies);
	wait_for(pid, SIGBUS);
	row(pid, SIGBUS, 0);
	snprintf(said, sizeof(said), "process %d ", pid);
	kin_will_say(&k, LOUD);
	CHECK(kin_has_said(&k, said));
	CHECK_EQ(kin_count(&k, "deaths without a word"), 1);
	kin_end(&k);
}

/* As long as nobody has waited for it, too: root sees how it has ended. */
static void zombie(void)
{
	pid_t pid;

	if (getuid())
		tap_skip("how a zombie has ended is to be seen: run as root");
	kin_make(&k);
	kin_start(&k, NULL);
	pid = connected(dies);
	row(pid, SIGBUS, 0);
	wait_for(pid, SIGBUS);
	kin_end(&k);
}

/* The daemon is asked to end while it still waits for a word. */
static void last_moment(void)
{
	pid_t pid;

	kin_make(&k);
	kin_start(&k, "--delay", "60000", NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		tap_apart();
		CHECK(kin_connect(&k) >= 0);
		dies();
	}
	wait_for(pid, SIGBUS);
	/* what comes later is counted later: by then it has seen the end */
	CHECK_EQ(kin_send(kin_connect(&k), "x", 1), 0);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'short'", 1);
	CHECK_EQ(kin_ask(&k, DEATHS), 0);
	kin_stop(&k);
	CHECK_EQ(kin_ask(&k, DEATHS " WHERE told = 0"), 1);
	kin_end(&k);
}

/* Who may not see that is told when its parent has waited. */
static void unprivileged(void)
{
	struct utsname name;
	int major, minor;
	pid_t pid;

	CHECK_EQ(uname(&name), 0);
	CHECK_EQ(sscanf(name.release, "%d.%d", &major, &minor), 2);
	if (major < 6 || (major == 6 && minor < 15))
		tap_skip("Linux %d.%d tells nobody else", major, minor);
	if (prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE))
		tap_skip("CAP_SYS_PTRACE is to be dropped: run as root");
	kin_make(&k);
	kin_start(&k, NULL);
	pid = connected(dies);
	/* it is dead, and not waited for */
	CHECK_EQ(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 },
			WEXITED | WNOWAIT), 0);
	CHECK_EQ(kin_ask(&k, DEATHS), 0);
	wait_for(pid, SIGBUS);
	row(pid, SIGBUS, 0);
	kin_end(&k);
}

static void as_shells(void)
{
	_exit(128 + SIGBUS);
}

static void disconnects(void)
{
	int fd;

	for (fd = 3; fd < 64; fd++)
		close(fd);
	dies();
}

static void others(void)
{
	pid_t pid;

	kin_make(&k);
	kin_start(&k, NULL);
	pid = connected(as_shells);
	wait_for(pid, (128 + SIGBUS) << 8 & ~0x80);
	kin_wait(&k, DEATHS " WHERE told = 0 AND status = 135 << 8", 1);
	pid = connected(disconnects);
	wait_for(pid, SIGBUS);
	row(pid, SIGBUS, 0);
	kin_end(&k);
}

static void kills_itself(void)
{
	raise(SIGKILL);
}

static void waits(void)
{
	for (;;)
		pause();
}

static void nothing(void)
{
}

/* These have died of something else: of none of them anything is said, and then of
 * one that comes last. */
static void unrelated(void)
{
	pid_t pid;

	kin_make(&k);
	kin_start(&k, NULL);
	wait_for(connected(kills_itself), SIGKILL);
	wait_for(connected(nothing), 0);
	pid = connected(dies);
	wait_for(pid, SIGBUS);
	row(pid, SIGBUS, 0);
	CHECK_EQ(kin_ask(&k, DEATHS), 1);
	kin_end(&k);
}

/* ------------------------------------------------------------ with the library */

static void with_library(enum bez_action action)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source zero = bez_source_zero();
	unsigned char *at = live_pages(1);
	bez_region_t region;

	options.flags = BEZ_START_NO_EARLY_KILL;
	options.record_fd = options.kin_fd = kin_connect(&k);
	CHECK_EQ(bez_start(&options), 0);
	policy.actions[0] = action;
	policy.source = &zero;
	CHECK_EQ(bez_region_add(at, live_page(), &policy, &region), 0);
	live_poison(at);
	live_read(at);
}

static void shuts_down(void)
{
	with_library(BEZ_ACTION_SHUTDOWN);
}

static void by_default(void)
{
	with_library(BEZ_ACTION_DEFAULT);
}

static void replaces(void)
{
	with_library(BEZ_ACTION_REPLACE);
	_exit(0);
}

static void told(void)
{
	pid_t pid;

	kin_make(&k);
	kin_start(&k, "--delay", "200", NULL);
	pid = connected(shuts_down);
	wait_for(pid, SIGBUS);
	row(pid, SIGBUS, 1);
	pid = connected(by_default);
	wait_for(pid, SIGBUS);
	row(pid, SIGBUS, 1);
	CHECK_EQ(kin_count(&k, "deaths without a word"), 0);
	CHECK_EQ(kin_count(&k, "deaths"), 2);
	CHECK(!kin_has_said(&k, LOUD));
	kin_end(&k);
}

/* One that was helped, and ends as it likes. */
static void helped(void)
{
	pid_t pid;

	kin_make(&k);
	kin_start(&k, NULL);
	pid = connected(replaces);
	wait_for(pid, 0);
	kin_wait(&k, "SELECT count(*) FROM records", 1);
	pid = connected(dies);
	wait_for(pid, SIGBUS);
	row(pid, SIGBUS, 0);
	CHECK_EQ(kin_ask(&k, DEATHS), 1);
	kin_end(&k);
}

/* Many die at once while somebody holds the store: the daemon does not wait for it
 * for each. */
static void locked(void)
{
	enum { MANY = 20 };
	struct timespec began, now;
	struct bez_record r;
	pid_t pids[MANY];
	sqlite3 *db;
	int i;

	kin_make(&k);
	kin_start(&k, NULL);
	for (i = 0; i < MANY; i++)
		pids[i] = connected(waits);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'other version'", MANY);
	CHECK_EQ(sqlite3_open(k.store, &db), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), 0);
	r = kin_record(1);
	CHECK_EQ(kin_send(kin_connect(&k), &r, sizeof(r)), 0);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(kill(pids[i], SIGBUS), 0);
	for (i = 0; i < MANY; i++)
		wait_for(pids[i], SIGBUS);
	kin_will_say(&k, "tried again each second");
	clock_gettime(CLOCK_MONOTONIC, &began);
	kin_stop(&k);
	clock_gettime(CLOCK_MONOTONIC, &now);
	CHECKF(now.tv_sec - began.tv_sec < 10, "%d s",
	       (int)(now.tv_sec - began.tv_sec));
	CHECK_EQ(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), 0);
	sqlite3_close(db);
	kin_end(&k);
}

/* A process that the daemon knows has died. Its last word is behind much else on the
 * connection @fd, or on its own (-1), and the daemon stands still. */
static pid_t dies_behind(int fd)
{
	int go[2], status, own;
	pid_t pid;
	char c;

	CHECK_EQ(pipe(go), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		tap_apart();
		own = kin_connect(&k);
		let_in(own);
		CHECK_EQ(kill(k.pid, SIGSTOP), 0);
		CHECK_EQ(read(go[0], &c, 1), 1);
		kin_send_last_word(fd < 0 ? own : fd, 100);
		raise(SIGBUS);
	}
	/* it reads nothing of it before all of it is there */
	CHECK_EQ(waitpid(k.pid, &status, WUNTRACED), k.pid);
	CHECK_EQ(write(go[1], "", 1), 1);
	wait_for(pid, SIGBUS);
	return pid;
}

/* Its last word is behind much else, and it is judged late, as the store was locked when
 * its end was seen: all of it is read before. */
static void behind(void)
{
	static const struct timespec longer = { 2, 100000000 };
	sqlite3 *db;
	pid_t pid;

	kin_make(&k);
	kin_start(&k, "--delay", "0", NULL);
	pid = dies_behind(-1);
	CHECK_EQ(sqlite3_open(k.store, &db), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), 0);
	CHECK_EQ(kill(k.pid, SIGCONT), 0);
	while (!kin_waits_in(k.pid, SYS_clock_nanosleep))
		;
	CHECK_EQ(kill(k.pid, SIGSTOP), 0);
	/* than an end waits for words that have no end */
	nanosleep(&longer, NULL);
	CHECK_EQ(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), 0);
	sqlite3_close(db);
	CHECK_EQ(kill(k.pid, SIGCONT), 0);
	kin_wait(&k, DEATHS, 1);
	CHECK_EQ(kin_ask(&k, DEATHS " WHERE told > 0"), 1);
	row(pid, SIGBUS, 1);
	CHECK(!kin_has_said(&k, LOUD));
	kin_end(&k);
}

/* A worker's, behind much else that its parent has sent by the same connection; the
 * daemon knows the worker by another. */
static void of_a_worker(void)
{
	pid_t pid;
	int fd;

	kin_make(&k);
	kin_start(&k, "--delay", "0", NULL);
	fd = kin_connect(&k);
	let_in(fd);
	pid = dies_behind(fd);
	CHECK_EQ(kill(k.pid, SIGCONT), 0);
	kin_wait(&k, DEATHS, 1);
	row(pid, SIGBUS, 1);
	CHECK(!kin_has_said(&k, LOUD));
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "a death without a word", .run = untold },
	{ .name = "of a process that nobody has waited for", .run = zombie },
	{ .name = "when the daemon ends", .run = last_moment },
	{ .name = "seen by who may not look at others", .run = unprivileged },
	{ .name = "a shell's status, and who has disconnected",
	  .run = others },
	{ .name = "who dies of something else", .run = unrelated },
	{ .name = "a death that was told of", .run = told },
	{ .name = "many at once, and a store that is locked", .run = locked },
	{ .name = "a last word behind others", .run = behind },
	{ .name = "a worker's, behind its parent's", .run = of_a_worker },
	{ .name = "who was helped and ends well", .run = helped },
};
TAP_MAIN(cases)
