/* SPDX-License-Identifier: MIT */
/*
 * Nobody dies without a word, from end to end: a service dies of a real machine check, its
 * record names page, frame and memory module, it is started again, dies of the same module
 * once more, and is latched; the report shows both.
 *
 *	next_of_kin BEZOARD BEZOAR
 *	next_of_kin serve		the service
 *
 * All is real but the module: virtual machines have none, so a line of EDAC's is put
 * behind each of the kernel's about a lost page.
 */
#define _GNU_SOURCE
#include "live.h"
#include "poison.h"
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FOLDER	"/run/kin"
#define SOCKET	FOLDER "/socket"
#define STORE	FOLDER "/records.db"
#define KMSG	FOLDER "/kmsg"
#define STATE	FOLDER "/state"
#define PAGE_OUT FOLDER "/report.html"
#define SAID	FOLDER "/said"
#define DIMM	"CPU_SrcID#0_MC#0_Chan#1_DIMM#0"
#define LATCHED	195		/* bezoar-run(1) */
#define AFTER	1000000000u	/* numbers that the kernel's log does not come to */

enum { PAGES = 4, BAD = 2 };

static const char *bezoard, *bezoar;

/* ---------------------------------------------------------------- the service */

static int serve(void)
{
	struct victim v = { .touch = TOUCH_LOAD, .begin = bez_thread_attach };
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_options options = BEZ_OPTIONS_INIT;
	bez_region_t region;
	unsigned char *at;

	options.flags = BEZ_START_NO_EARLY_KILL;
	CHECK_EQ(bez_start(&options), 0);
	at = live_pages(PAGES);
	policy.name = "accounts";
	policy.actions[0] = BEZ_ACTION_SHUTDOWN;
	CHECK_EQ(bez_region_add(at, PAGES * PAGE, &policy, &region), 0);
	v.at = at + BAD * PAGE + 99;
	victim_struck(&v, LAB_MCE_LOAD);
	return 0;				/* it has not died */
}

/* ------------------------------------------------------- the kernel, and a module */

static void put_line(int to, const char *line)
{
	size_t len = strlen(line);

	CHECK_EQ(write(to, line, len), (ssize_t)len);
}

/* Each record of the kernel's log; behind what names a frame, its module. */
static void relay(int to)
{
	char line[8192], more[512];
	uint64_t seq, usec, frame;
	const char *at;
	ssize_t n;
	int from = open("/dev/kmsg", O_RDONLY | O_CLOEXEC);

	CHECK(from >= 0);
	CHECK_EQ(lseek(from, 0, SEEK_END), 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	kill(getpid(), SIGSTOP);		/* it is read from here on */
	for (;;) {
		n = read(from, line, sizeof(line) - 1);
		if (n < 0 && errno == EPIPE)
			continue;
		CHECK(n > 0);
		line[n] = '\0';
		put_line(to, line);
		at = strstr(line, "Memory failure: 0x");
		if (!at || !strstr(at, "Sending SIGBUS to") ||
		    sscanf(line, "%*u,%" SCNu64 ",%" SCNu64, &seq, &usec) != 2 ||
		    sscanf(at + 16, "%" SCNx64, &frame) != 1)
			continue;
		snprintf(more, sizeof(more), "3,%" PRIu64 ",%" PRIu64 ",-;EDAC "
			 "MC0: 1 UE memory read error on " DIMM " (channel:1 "
			 "slot:0 page:0x%" PRIx64 " offset:0x0 grain:32 - x)\n",
			 seq + AFTER, usec, frame);
		put_line(to, more);
	}
}

static void begin_relay(void)
{
	int to, status;
	pid_t pid;

	CHECK_EQ(mkfifo(KMSG, 0600), 0);
	to = open(KMSG, O_RDWR | O_CLOEXEC);
	CHECK(to >= 0);
	/* one read(2) gives one record, like the kernel's */
	CHECK_EQ(fcntl(to, F_SETFL, O_DIRECT), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		relay(to);
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFSTOPPED(status));
	CHECK_EQ(kill(pid, SIGCONT), 0);
}

/* -------------------------------------------------------------------- programs */

/* What it says, both ways, goes to SAID. */
static pid_t start(const char *const *words)
{
	pid_t pid = fork();
	int out;

	CHECK(pid >= 0);
	if (pid)
		return pid;
	out = open(SAID, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(99);
	execv(words[0], (char *const *)words);
	_exit(98);
}

static char said[1 << 20];

static const char *text_of(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	CHECKF(fd >= 0, "%s: %s", path, strerror(errno));
	n = read(fd, said, sizeof(said) - 1);
	CHECK(n >= 0);
	said[n] = '\0';
	close(fd);
	return said;
}

/* Its exit status; its words are in said. */
static int run(const char *const *words)
{
	int status;
	pid_t pid = start(words);

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	text_of(SAID);
	CHECKF(WIFEXITED(status), "%s %s: status %#x: %s", words[0], words[1],
	       (unsigned int)status, said);
	return WEXITSTATUS(status);
}

static int is_there(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = SOCKET };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), is;

	CHECK(fd >= 0);
	is = !connect(fd, (struct sockaddr *)&to, sizeof(to));
	close(fd);
	return is;
}

static void begin_daemon(void)
{
	const char *const words[] = {
		bezoard, "--socket", SOCKET, "--store", STORE, "--kmsg", KMSG,
		NULL,
	};
	const struct timespec nap = { 0, 10000000 };
	pid_t pid = start(words);
	int status;

	while (!is_there()) {
		if (waitpid(pid, &status, WNOHANG))
			CHECKF(0, "bezoard: %s", text_of(SAID));
		nanosleep(&nap, NULL);
	}
	/* the next program has another file */
	CHECK_EQ(rename(SAID, FOLDER "/said.bezoard"), 0);
}

/* ------------------------------------------------------------------- from end to end */

static size_t times(const char *text, const char *word)
{
	size_t n = 0;

	while ((text = strstr(text, word))) {
		text += strlen(word);
		n++;
	}
	return n;
}

static void two_deaths(void)
{
	const char *const words[] = {
		bezoar, "run", "--name", "accounts", "--restarts", "5",
		"--state", STATE, "--store", STORE, "--socket", SOCKET, "--",
		"/proc/self/exe", "serve", NULL,
	};
	char self[256];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *all[sizeof(words) / sizeof(words[0])];
	int status;

	CHECK(n > 0);
	self[n] = '\0';
	memcpy(all, words, sizeof(words));
	all[13] = self;
	status = run(all);
	tap_diag("%s", said);
	CHECK_EQ(status, LATCHED);
	CHECK(strstr(said, DIMM) != NULL);
	CHECK_EQ(times(said, "next_of_kin:"), 0);
}

/* Of each death the last record is the end; both have page, frame and region. */
static void the_records(uint64_t frame[2])
{
	const char *const words[] = {
		bezoar, "log", "--json", "--outcome", "SHUTDOWN", STORE, NULL,
	};
	const char *at = said;
	int i;

	CHECK_EQ(run(words), 0);
	CHECK_EQ(times(said, "\n"), 2);
	CHECK_EQ(times(said, "\"name\":\"accounts\""), 2);
	CHECK_EQ(times(said, "\"width\":4096"), 2);
	for (i = 0; i < 2; i++) {
		const char *end = strchr(at, '\n');

		/* one of the program and one of the store, of the same page */
		at = strstr(at, "\"frame\":\"0x");
		CHECKF(at && at < end, "a record has no frame: %s", said);
		at += strlen("\"frame\":\"0x");
		CHECK_EQ(sscanf(at, "%" SCNx64, &frame[i]), 1);
		at = end + 1;
	}
	CHECK(frame[0] != frame[1]);
}

static void the_report(const uint64_t frame[2])
{
	const char *const words[] = {
		bezoar, "report", "--store", STORE, "-o", PAGE_OUT, NULL,
	};
	char text[32];
	int i;

	CHECK_EQ(run(words), 0);
	text_of(PAGE_OUT);
	CHECK(strstr(said, DIMM) != NULL);
	for (i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "0x%" PRIx64, frame[i]);
		CHECKF(strstr(said, text) != NULL, "the report has no %s", text);
	}
}

static void the_latch(void)
{
	const char *const check[] = {
		bezoar, "clear", "--state", STATE, "--check", "accounts", NULL,
	}, *const clear[] = {
		bezoar, "clear", "--state", STATE, "accounts", NULL,
	};

	CHECK_EQ(run(check), LATCHED);
	CHECK_EQ(run(clear), 0);
	CHECK_EQ(run(check), 0);
}

int main(int argc, char **argv)
{
	uint64_t frame[2];

	tap_apart();
	if (argc == 2 && !strcmp(argv[1], "serve"))
		return serve();
	if (argc != 3) {
		fprintf(stderr, "usage: next_of_kin BEZOARD BEZOAR\n");
		return 2;
	}
	bezoard = argv[1];
	bezoar = argv[2];
	/* of its own: what is left is ended by it */
	CHECK(setsid() >= 0 || errno == EPERM);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	CHECK_EQ(mkdir(FOLDER, 0700), 0);
	begin_relay();
	begin_daemon();
	two_deaths();
	the_records(frame);
	the_report(frame);
	the_latch();
	printf("died twice, of %s, and is latched\n", DIMM);
	/* the daemon, and who relays */
	signal(SIGTERM, SIG_IGN);
	return kill(0, SIGTERM) ? 1 : 0;
}
