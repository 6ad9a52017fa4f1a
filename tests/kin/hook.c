/* SPDX-License-Identifier: MIT */
/* The administrator's command: once for each record, one at a time, never for ever,
 * and with nothing of the daemon's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kin.h"

static struct kin k;
static char out[128], command[1024];

/* @limit: of one command, in seconds. */
static void begin(const char *limit, const char *what)
{
	kin_make(&k);
	snprintf(out, sizeof(out), "%s/out", k.folder);
	snprintf(command, sizeof(command), what, out, out, out, out);
	CHECK_EQ(setenv("BEZOAR_TEST_SECRET", "1", 1), 0);
	kin_start(&k, "--delay", "1", "--exec-limit", limit, "--exec",
		  command, NULL);
}

static struct bez_record sent;		/* the last */

static void send_again(void)
{
	int fd = kin_connect(&k);

	CHECK_EQ(kin_send(fd, &sent, sizeof(sent)), 0);
	kin_acks(fd, 1);
	close(fd);
}

static void send_some(uint64_t from, uint64_t to)
{
	int fd = kin_connect(&k);

	for (; from <= to; from++) {
		sent = kin_record(from);
		CHECK_EQ(kin_send(fd, &sent, sizeof(sent)), 0);
		kin_acks(fd, 1);
	}
	close(fd);
}

/* Wait until so many lines are in the file; the last. */
static const char *lines(int want)
{
	static char text[65536], last[65536];
	int n;

	do {
		FILE *f = fopen(out, "r");

		n = 0;
		while (f && fgets(text, sizeof(text), f))
			if (strchr(text, '\n')) {
				strcpy(last, text);
				n++;
			}
		if (f)
			fclose(f);
		poll(NULL, 0, 5);
	} while (n < want);
	CHECK_EQ(n, want);
	return last;
}

/* What it reads is what bezoar log shows. */
static void each(void)
{
	char line[4096];
	FILE *f;

	begin("60", "cat >>%s");
	send_some(1, 3);
	lines(3);
	send_again();
	send_some(4, 4);
	snprintf(command, sizeof(command), "%s log --json %s", BEZOAR, k.store);
	snprintf(line, sizeof(line), "%s", lines(4));
	f = popen(command, "r");
	CHECK(f);
	strcpy(command, line);
	while (fgets(line, sizeof(line), f))
		;
	CHECK_EQ(pclose(f), 0);
	CHECKF(!strcmp(line, command), "%sis not\n%s", command, line);
	kin_end(&k);
}

static void clean(void)
{
	char text[4096];

	/* without a pipe, which the shell has open itself for a moment */
	begin("60", "open=$(env); for n in 3 4 5 6 7 8 9 11 12 13 14 15; do "
	      "[ ! -e /proc/$$/fd/$n ] || open=\"$open open:$n\"; done; "
	      "echo $open. >>%s");
	send_some(1, 1);
	snprintf(text, sizeof(text), "%s", lines(1));
	CHECKF(!strstr(text, "SECRET"), "%s", text);
	CHECKF(strstr(text, "PATH=/usr/local/sbin:"), "%s", text);
	CHECKF(!strstr(text, "open:") && strstr(text, ".\n"), "%s", text);
	kin_end(&k);
}

/* Nobody waits for it, it is not run twice at once, and what is too much is
 * counted. */
static void many(void)
{
	char gate[128];
	int n;

	kin_make(&k);
	snprintf(out, sizeof(out), "%s/out", k.folder);
	snprintf(gate, sizeof(gate), "%s/gate", k.folder);
	CHECK_EQ(mkfifo(gate, 0600), 0);
	snprintf(command, sizeof(command), "mkdir %s.one || echo TWICE >>%s; "
		 "cat %s; echo done >>%s; rmdir %s.one", out, out, gate, out,
		 out);
	kin_start(&k, "--delay", "1", "--exec", command, NULL);
	send_some(1, 100);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'hook dropped'",
		 100 - 65);
	/* one is let through at a time, when it has come */
	for (n = 1; n <= 65; n++) {
		int way = open(gate, O_WRONLY);

		CHECK(way >= 0);
		close(way);
		lines(n);
	}
	CHECK(!strcmp(lines(65), "done\n"));
	kin_end(&k);
}

/* The process whose number is in @path has ended, be it that nobody has waited. */
static int is_over(const char *path)
{
	char name[64], line[256] = "";
	int pid = 0;
	FILE *f = fopen(path, "r");

	if (!f)
		return 0;
	CHECK_EQ(fscanf(f, "%d", &pid), 1);
	fclose(f);
	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	f = fopen(name, "r");
	if (!f)
		return 1;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	return !line[0] || strstr(line, ") Z ") || strstr(line, ") X ");
}

/* One that never ends is ended, with all that it has started, and the next is run. */
static void endless(void)
{
	char pid[160];

	begin("3", "read line; case $line in *'\"id\":1,'*) sleep 1000 & echo $! "
	      ">%s.pid; wait;; *) echo next >>%s;; esac");
	snprintf(pid, sizeof(pid), "%s.pid", out);
	send_some(1, 2);
	CHECK(!strcmp(lines(1), "next\n"));
	kin_will_say(&k, "took more than 3 seconds");
	while (!is_over(pid))
		poll(NULL, 0, 5);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'hook failed'", 1);
	kin_end(&k);
}

/* What it leaves behind ends with it, which is before the next one is run. */
static void leaves(void)
{
	char pid[160];
	int n;

	begin("60", "read line; case $line in *'\"id\":1,'*) sleep 1000 & echo $! "
	      ">%s.pid;; *) echo next >>%s;; esac");
	snprintf(pid, sizeof(pid), "%s.pid", out);
	send_some(1, 2);
	lines(1);
	/* it was killed by then, and may take a moment for that */
	for (n = 0; n < 200 && !is_over(pid); n++)
		poll(NULL, 0, 5 * (int)tap_patience());
	CHECK(is_over(pid));
	kin_end(&k);
}

/* One user has a hundred: of another the first is the next, and is said. */
static void in_turns(void)
{
	char gate[128];
	pid_t pid;
	int way, status;

	if (getuid())
		tap_skip("two users are wanted: run as root");
	kin_make(&k);
	CHECK_EQ(chmod(k.folder, 0755), 0);
	snprintf(out, sizeof(out), "%s/out", k.folder);
	snprintf(gate, sizeof(gate), "%s/gate", k.folder);
	CHECK_EQ(mkfifo(gate, 0600), 0);
	snprintf(command, sizeof(command), "read it; cat %s; echo \"$it\" >>%s",
		 gate, out);
	kin_start(&k, "--delay", "1", "--exec", command, NULL);
	send_some(1, 100);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'hook dropped'",
		 100 - 65);
	pid = fork();
	if (!pid) {
		tap_apart();
		if (setuid(65534))
			_exit(1);
		send_some(4711, 4711);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	/* the one that runs, and perhaps one of before */
	for (status = 1; status <= 3; status++) {
		way = open(gate, O_WRONLY);
		CHECK(way >= 0);
		close(way);
		if (strstr(lines(status), "\"id\":4711,"))
			break;
	}
	CHECK(status <= 3);
	/* that it was lost is said before the command is run */
	CHECK(kin_has_said(&k, "has lost memory at 0x1267000"));
	kin_end(&k);
}

/* Who has started the daemon did not want to know of children: the daemon does. */
static void ignored(void)
{
	begin("60", "cat >>%s; exit 3");
	kin_stop(&k);
	signal(SIGCHLD, SIG_IGN);
	kin_start(&k, "--delay", "1", "--exec", command, NULL);
	signal(SIGCHLD, SIG_DFL);
	send_some(1, 3);
	lines(3);
	kin_stop(&k);
	CHECK_EQ(kin_count(&k, "hook failed"), 3);
	kin_end(&k);
}

static void fails(void)
{
	begin("60", "echo x >>%s; exit 3");
	send_some(1, 1);
	kin_will_say(&k, "it has ended with status 3");
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'hook failed'", 1);
	lines(1);
	kin_end(&k);
}

/* A death is told of, too; and the daemon ends while one runs. */
static void death(void)
{
	pid_t pid;
	int status;

	begin("60", "case $(cat) in *'\"death\":1,'*'\"exit\":135,'*) echo it >>%s; "
	      "sleep 1000;; esac");
	pid = fork();
	if (!pid) {
		tap_apart();
		CHECK(kin_connect(&k) >= 0);
		_exit(135);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(!strcmp(lines(1), "it\n"));
	kin_stop(&k);
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "for each record once, as bezoar log shows it",
	  .run = each },
	{ .name = "nothing of the daemon's is left", .run = clean },
	{ .name = "one at a time, a bounded number", .run = many },
	{ .name = "one that does not end", .run = endless },
	{ .name = "what it leaves behind", .run = leaves },
	{ .name = "users in turn", .run = in_turns },
	{ .name = "children that were ignored", .run = ignored },
	{ .name = "one that fails", .run = fails },
	{ .name = "for a death", .run = death },
};
TAP_MAIN(cases)
