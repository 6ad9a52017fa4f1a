/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Shared with the case's process, which may end at any instruction. */
struct shared {
	_Atomic unsigned int checks;
	_Atomic unsigned int failed;
	_Atomic unsigned int skipped;
	_Atomic int waits;
	char reason[256];
};

static struct shared *shared;
static const struct tap_case *running;

const void *tap_data(void)
{
	return running ? running->data : NULL;
}

unsigned int tap_patience(void)
{
	const char *times = getenv("TAP_PATIENCE");
	int n = times ? atoi(times) : 1;

	return n > 0 ? (unsigned int)n : 1;
}

void tap_waits(int yes)
{
	atomic_store(&shared->waits, yes);
}

void tap_apart(void)
{
	static struct shared own;

	shared = &own;
}

void tap_diag(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	printf("# %s\n", line);
	fflush(stdout);
}

void tap_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(shared->reason, sizeof(shared->reason), fmt, ap);
	va_end(ap);
	atomic_store(&shared->skipped, 1);
	fflush(stdout);
	_exit(0);
}

static void failed(const char *file, int line, const char *what)
{
	atomic_fetch_add(&shared->failed, 1);
	tap_diag("%s:%d: failed: %s", file, line, what);
}

void tap_check(int ok, const char *file, int line, const char *what,
	       const char *fmt, ...)
{
	atomic_fetch_add(&shared->checks, 1);
	if (ok)
		return;
	failed(file, line, what);
	if (fmt) {
		char text[400];
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
		tap_diag("  %s", text);
	}
	_exit(99);
}

void tap_check_eq(long long a, long long b, const char *file, int line,
		  const char *what)
{
	tap_check(a == b, file, line, what, "%lld (%#llx) is not %lld (%#llx)",
		  a, (unsigned long long)a, b, (unsigned long long)b);
}

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* Wait for the child, at most @seconds of its own. Returns 0, or -1 if it was
 * killed. */
static int wait_for(pid_t pid, unsigned int seconds, int *status)
{
	struct timespec nap = { 0, 2000000 };
	long long before = now_ns(), now, left = seconds * 1000000000ll;

	for (;;) {
		pid_t got = waitpid(pid, status, WNOHANG);

		if (got == pid)
			return 0;
		if (got < 0 && errno != EINTR)
			return -1;
		now = now_ns();
		if (!atomic_load(&shared->waits))
			left -= now - before;
		before = now;
		if (left < 0)
			break;
		nanosleep(&nap, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, status, 0);
	return -1;
}

static int judge(const struct tap_case *c, int status, char *why, size_t size)
{
	if (atomic_load(&shared->failed)) {
		snprintf(why, size, "%u failed checks",
			 atomic_load(&shared->failed));
		return 0;
	}
	if (c->want_signal) {
		if (WIFSIGNALED(status) && WTERMSIG(status) == c->want_signal)
			return 1;
		snprintf(why, size, "wanted death by signal %d, status %#x",
			 c->want_signal, status);
		return 0;
	}
	if (WIFSIGNALED(status)) {
		snprintf(why, size, "died of signal %d", WTERMSIG(status));
		return 0;
	}
	if (WEXITSTATUS(status) != c->want_exit) {
		snprintf(why, size, "exit status %d, wanted %d",
			 WEXITSTATUS(status), c->want_exit);
		return 0;
	}
	if (!c->want_exit && !atomic_load(&shared->checks)) {
		snprintf(why, size, "checked nothing");
		return 0;
	}
	return 1;
}

/* Returns 1 passed, 0 failed, -1 skipped. */
static int run_case(const struct tap_case *c, char *why, size_t size)
{
	pid_t pid;
	int status = 0;

	memset(shared, 0, sizeof(*shared));
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		snprintf(why, size, "fork: %s", strerror(errno));
		return 0;
	}
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		running = c;
		c->run();
		fflush(stdout);
		_exit(0);
	}
	if (wait_for(pid, tap_patience() * (c->timeout_s ? c->timeout_s : 60),
		     &status)) {
		snprintf(why, size, "timed out");
		return 0;
	}
	if (atomic_load(&shared->skipped) && !atomic_load(&shared->failed)) {
		snprintf(why, size, "%s", shared->reason);
		return -1;
	}
	return judge(c, status, why, size);
}

int tap_main(const struct tap_case *cases, size_t count, int argc, char **argv)
{
	const char *filter = argc > 1 ? argv[1] : "";
	size_t i, n = 0, bad = 0, planned = 0;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		printf("Bail out! no shared page: %s\n", strerror(errno));
		return 1;
	}
	for (i = 0; i < count; i++)
		planned += !!strstr(cases[i].name, filter);
	printf("TAP version 13\n1..%zu\n", planned);
	for (i = 0; i < count; i++) {
		char why[512] = "";
		int r;

		if (!strstr(cases[i].name, filter))
			continue;
		n++;
		r = run_case(&cases[i], why, sizeof(why));
		if (!r) {
			bad++;
			printf("# %s: %s\n", cases[i].name, why);
		}
		printf("%sok %zu - %s%s%s\n", r ? "" : "not ", n, cases[i].name,
		       r < 0 ? " # SKIP " : "", r < 0 ? why : "");
		fflush(stdout);
	}
	if (!n) {
		fprintf(stderr, "no case is called like '%s'\n", filter);
		return 2;
	}
	/* TAP_EXIT=0: who reads the plan wants the verdict from there alone */
	return bad && !(getenv("TAP_EXIT") && !strcmp(getenv("TAP_EXIT"), "0"));
}
