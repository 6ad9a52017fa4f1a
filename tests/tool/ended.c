/* SPDX-License-Identifier: MIT */
/* bezoar check is ended in the middle: what it lost is given back before, and nobody
 * of its children stays. */
#include <bezoar/inject.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "facts.h"
#include "probe.h"
#include "report.h"
#include "tap.h"
#include "tool.h"

/* What the processes have seen. */
static struct {
	int sig;
	int blocked, undone, was_pending, dead, second;
	pid_t probe, child;
} *shared;

/* ------------------------------------- in the place of probes.c and others */

static void waits(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

/* It has lost a page, and a child; then somebody ends bezoar. */
static void first(void)
{
	sigset_t mask;

	report->lost = 1;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	shared->blocked = sigismember(&mask, shared->sig);
	shared->probe = getpid();
	shared->child = probe_child(waits, NULL);
	kill(getppid(), shared->sig);
	if (!probe_is_real())
		waits(NULL);
	probe_holds();
}

static void second(void)
{
	shared->second = 1;
	probe_holds();
}

const struct probe probes[] = {
	{ .id = "S0.1", .run = first, .pages = 1 },
	{ .id = "S0.2", .run = second },
};
const size_t probes_count = sizeof(probes) / sizeof(probes[0]);

int probe_is_real(void)
{
	return report->real;
}

/* Not even waiting to be seen: the kernel has taken all that was its. */
static int is_gone(pid_t pid)
{
	return kill(pid, 0) && errno == ESRCH;
}

void real_undo(struct answer *a)
{
	sigset_t pending;

	if (!a->lost)
		return;
	sigpending(&pending);
	shared->was_pending = sigismember(&pending, shared->sig);
	shared->dead = is_gone(shared->probe) + is_gone(shared->child);
	shared->undone += (int)a->lost;
	a->given_back = a->lost;
}

int real_agreed(const struct check_options *options)
{
	(void)options;
	return 0;
}

int real_can_undo(void)
{
	return 0;
}

int bez_inject_available(uint32_t backend)
{
	(void)backend;
	return 0;
}

const char *real_why(uint32_t backend, const char *instead, char ret[REAL_WHY])
{
	(void)backend;
	(void)instead;
	ret[0] = '\0';
	return ret;
}

void facts_of_kernel(struct facts *facts)
{
	(void)facts;
}

void facts_of_machine(struct facts *facts)
{
	(void)facts;
}

void facts_of_process(struct facts *facts)
{
	(void)facts;
}

int show_results_json(const struct results *r)
{
	(void)r;
	return 0;
}

void show_results(const struct results *r)
{
	(void)r;
}

void tool_say(const char *fmt, ...)
{
	(void)fmt;
}

int tool_flush(void)
{
	return 0;
}

/* --------------------------------------------------------------------- tests */

static const int real = 1, emulated;

static void ended(void)
{
	/* whoever sends them: a terminal, a shell, a limit, a clock, a script */
	const int signals[] = {
		SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGVTALRM, SIGPROF,
		SIGXCPU, SIGXFSZ, SIGUSR1, SIGUSR2, SIGPIPE, SIGABRT, SIGIO,
		SIGPWR, SIGSYS, SIGRTMIN,
	};
	const struct check_options options = { .real = *(const int *)tap_data(),
					       .json = 1, .seconds = 60 };
	size_t i;

	/* whoever loses his parent is ours; an emulator may not have that */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		tap_skip("no PR_SET_CHILD_SUBREAPER here");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int status = 0, left;
		pid_t pid;

		memset(shared, 0, sizeof(*shared));
		shared->sig = signals[i];
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			prctl(PR_SET_DUMPABLE, 0);	/* no core */
			signal(shared->sig, SIG_DFL);
			_exit(tool_check(&options));
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == signals[i],
		       "%s: it ended with %#x", strsignal(signals[i]), status);
		CHECK_EQ(shared->undone, options.real);
		CHECK_EQ(shared->was_pending, options.real);
		CHECK_EQ(shared->dead, 2 * options.real);
		CHECK_EQ(shared->blocked, 0);
		CHECK_EQ(shared->second, 0);
		/* or this does not end */
		while (waitpid(-1, &left, 0) > 0)
			continue;
		CHECK_EQ(errno, ECHILD);
	}
}

static const struct tap_case cases[] = {
	{ .name = "real poison", .run = ended, .data = &real, .timeout_s = 20 },
	{ .name = "emulated poison", .run = ended, .data = &emulated,
	  .timeout_s = 20 },
};
TAP_MAIN(cases)
