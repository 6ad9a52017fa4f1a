/* SPDX-License-Identifier: MIT */
/* Run an experiment in a process of its own, and believe only what it has said
 * before it ended well. */
#include "check.h"
#include "probe.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BILLION		1000000000ull
#define AFTER_KILL	10		/* seconds; then it is given up */

struct report *report;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * BILLION + (uint64_t)ts.tv_nsec;
}

/* -------------------------------------------------------------- the child's */

static NORETURN void say(enum verdict v, const char *fmt, va_list args)
{
	char why[PROBE_WHY];

	/* the first stands: it may be that of a child of the probe */
	if (report->verdict == VERDICT_NONE) {
		vsnprintf(why, sizeof(why), fmt, args);
		memcpy(report->why, why, sizeof(why));
		report->verdict = v;
	}
	_exit(0);
}

void probe_holds(void)
{
	if (report->verdict == VERDICT_NONE)
		report->verdict = VERDICT_HOLDS;
	_exit(0);
}

void probe_holds_but(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(VERDICT_HOLDS, fmt, args);
}

void probe_broken(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(VERDICT_BROKEN, fmt, args);
}

void probe_untested(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(VERDICT_UNTESTED, fmt, args);
}

void probe_doing(const char *what)
{
	report->doing = what;
}

/* With @parent, and if that is dead by now, at once. */
static void die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
}

pid_t probe_child(void (*work)(void *arg), void *arg)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		probe_untested("fork: %s", strerror(errno));
	if (pid)
		return pid;
	die_with(parent);
	work(arg);
	_exit(0);
}

int probe_ended(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return status;
}

static NORETURN void child(const struct probe *probe, pid_t parent,
			   const sigset_t *mask)
{
	/* 1, and not 0: no core to a program, either (core(5)) */
	const struct rlimit no_core = { 1, 1 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), i;

	die_with(parent);
	setpgid(0, 0);
	setrlimit(RLIMIT_CORE, &no_core);
	/* the library's last words are no news here */
	for (i = 0; i <= 2; i++)
		dup2(null, i);
	sigprocmask(SIG_SETMASK, mask, NULL);
	probe->run();
	_exit(0);
}

/* ------------------------------------------------------------- the parent's */

/* Has @pid, or anybody of its group, ended before @end? It is not reaped. */
static int ends_before(idtype_t what, pid_t pid, uint64_t end)
{
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (;;) {
		struct timespec left;
		uint64_t now = now_ns();

		info.si_pid = 0;
		if (waitid(what, (id_t)pid, &info,
			   WEXITED | WNOHANG | WNOWAIT) || info.si_pid)
			return 1;
		if (now >= end)
			return 0;
		left.tv_sec = (time_t)((end - now) / BILLION);
		left.tv_nsec = (long)((end - now) % BILLION);
		sigtimedwait(&set, NULL, &left);
	}
}

/* For a message; one that has a comma of its own. */
static const char *doing(void)
{
	static char text[PROBE_WHY / 2];

	if (!report->doing)
		return "";
	snprintf(text, sizeof(text), ", while it was %s", report->doing);
	return text;
}

static void judge(struct answer *a, int status)
{
	a->verdict = VERDICT_BROKEN;
	if (WIFSIGNALED(status))
		snprintf(a->why, sizeof(a->why),
			 "it died of signal %d (%s)%s", WTERMSIG(status),
			 strsignal(WTERMSIG(status)), doing());
	else if (WEXITSTATUS(status) || report->verdict == VERDICT_NONE)
		snprintf(a->why, sizeof(a->why),
			 "it ended with status %d and no answer%s",
			 WEXITSTATUS(status), doing());
	else {
		a->verdict = report->verdict;
		memcpy(a->why, report->why, sizeof(a->why));
	}
}

/*
 * It, and whoever is left of its children. Those are ours as soon as it is
 * dead (PR_SET_CHILD_SUBREAPER), and waited for: who is killed has his memory
 * until he is seen to have ended. Returns its status.
 */
static int end_all(pid_t pid)
{
	uint64_t end = now_ns() + AFTER_KILL * BILLION;
	int status = 0;

	kill(pid, SIGKILL);
	kill(-pid, SIGKILL);
	if (ends_before(P_PID, pid, end))
		waitpid(pid, &status, 0);
	while (ends_before(P_PGID, pid, end) &&
	       waitpid(-pid, NULL, WNOHANG) > 0)
		continue;
	return status;
}

static void watch(pid_t pid, unsigned int seconds, struct answer *a)
{
	uint64_t begin = now_ns();

	if (ends_before(P_PID, pid, begin + seconds * BILLION)) {
		a->took_ns = now_ns() - begin;
		judge(a, end_all(pid));
		return;
	}
	a->took_ns = now_ns() - begin;
	end_all(pid);
	a->verdict = VERDICT_BROKEN;
	snprintf(a->why, sizeof(a->why), "it was not done after %u s%s",
		 seconds, doing());
}

void run_probe(const struct probe *probe, const struct check_options *options,
	       const sigset_t *mask, struct answer *ret)
{
	sigset_t chld, before;
	pid_t parent = getpid(), pid;

	memset(ret, 0, sizeof(*ret));
	ret->verdict = VERDICT_UNTESTED;
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED) {
		snprintf(ret->why, sizeof(ret->why), "mmap: %s",
			 strerror(errno));
		return;
	}
	report->real = options->real;
	report->pages = probe->pages;
	/* a SIGCHLD that is ignored would reap */
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &before);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = fork();
	if (!pid)
		child(probe, parent, mask);
	if (pid < 0)
		snprintf(ret->why, sizeof(ret->why), "fork: %s",
			 strerror(errno));
	else
		watch(pid, options->seconds, ret);
	sigprocmask(SIG_SETMASK, &before, NULL);
	ret->lost = report->lost;
	memcpy(ret->frames, report->frames, sizeof(ret->frames));
	munmap(report, sizeof(*report));
}
