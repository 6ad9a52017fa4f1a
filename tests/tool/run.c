/* SPDX-License-Identifier: MIT */
/* What bezoar check makes of an experiment, however that ends. */
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "probe.h"
#include "tap.h"

static struct answer answer;

static void ask(void (*run)(void), unsigned int seconds)
{
	const struct probe probe = { .id = "S0.1", .run = run };
	const struct check_options options = { .seconds = seconds };
	sigset_t mask;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	run_probe(&probe, &options, &mask, &answer);
}

/* It is broken, and the reason has @why in it. */
static void check_broken(void (*run)(void), unsigned int seconds,
			 const char *why)
{
	ask(run, seconds);
	CHECK_EQ(answer.verdict, VERDICT_BROKEN);
	CHECKF(strstr(answer.why, why), "\"%s\" is not in \"%s\"", why,
	       answer.why);
	/* its process is gone, and was reaped */
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

static void says_so(void)
{
	ask(probe_holds, 60);
	CHECK_EQ(answer.verdict, VERDICT_HOLDS);
	CHECK_EQ(answer.why[0], 0);
	CHECK(answer.took_ns > 0);
}

static void with_a_reason(void)
{
	probe_untested("no %s number %d", "such thing", 7);
}

static void is_not_there(void)
{
	ask(with_a_reason, 60);
	CHECK_EQ(answer.verdict, VERDICT_UNTESTED);
	CHECK(!strcmp(answer.why, "no such thing number 7"));
}

static void is_wrong(void)
{
	EXPECT(1 + 1 == 2, "arithmetic");
	EXPECT(1 + 1 == 3, "byte %d is wrong", 5);
	probe_holds();
}

static void says_that_it_is_not(void)
{
	check_broken(is_wrong, 60, "byte 5 is wrong");
}

static void dies(void)
{
	probe_doing("reading a page");
	signal(SIGTERM, SIG_DFL);
	kill(getpid(), SIGTERM);	/* leaves no core, as qemu would */
	pause();
}

static void says_nothing(void)
{
}

static void says_nothing_and_fails(void)
{
	_exit(3);
}

/* What it said before does not count. */
static void dies_of_it_afterwards(void)
{
	if (!vfork())
		probe_holds();		/* of a child that is part of it */
	kill(getpid(), SIGKILL);
	pause();
}

static void ends_badly(void)
{
	check_broken(dies, 60, "died of signal 15 (Terminated), while "
		     "it was reading a page");
	check_broken(says_nothing, 60, "ended with status 0 and no answer");
	check_broken(says_nothing_and_fails, 60, "status 3");
	check_broken(dies_of_it_afterwards, 60, "died of signal 9");
}

static void fails_in_a_child(void *arg)
{
	(void)arg;
	probe_broken("in the child");
}

/* Whatever the parent thinks of it. */
static void believes_its_child(void)
{
	probe_ended(probe_child(fails_in_a_child, NULL));
	probe_holds();
}

static void child_fails(void)
{
	check_broken(believes_its_child, 60, "in the child");
}

/* ------------------------------------------------------------------ too late */

static int *pids;			/* shared */

static void waits_for_ever(void *arg)
{
	(void)arg;
	pids[1] = getpid();
	for (;;)
		pause();
}

static void hangs(void)
{
	pids[0] = getpid();
	probe_child(waits_for_ever, NULL);
	while (!*(volatile int *)&pids[1])
		continue;
	signal(SIGTERM, SIG_IGN);
	probe_doing("waiting for ever");
	for (;;)
		pause();
}

/* One that does not die with its parent by itself. */
static void holds_and_leaves_a_child(void)
{
	if (!fork())
		waits_for_ever(NULL);
	while (!*(volatile int *)&pids[1])
		continue;
	probe_holds();
}

static void pids_begin(void)
{
	pids = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(pids != MAP_FAILED);
}

/* A process that was killed is there until its parent, or init, has seen it. */
static void check_gone(int pid)
{
	CHECK(pid > 0);
	while (!kill(pid, 0))
		sched_yield();
}

static void is_late(void)
{
	pids_begin();
	check_broken(hangs, 1, "not done after 1 s, while it was waiting for "
		     "ever");
	CHECK(answer.took_ns >= 1000000000);
	check_gone(pids[0]);
	check_gone(pids[1]);
}

static void leaves_nobody(void)
{
	pids_begin();
	ask(holds_and_leaves_a_child, 60);
	CHECK_EQ(answer.verdict, VERDICT_HOLDS);
	check_gone(pids[1]);
}

/* ---------------------------------------------------------------------- else */

static void prints(void)
{
	CHECK(write(1, "x", 1) == 1);
	CHECK(write(2, "x", 1) == 1);
	probe_holds();
}

/* What the library has to say when a program ends is no news here. */
static void is_quiet(void)
{
	int ends[2], out = dup(1), err = dup(2);
	char c;

	CHECK(!pipe(ends));
	dup2(ends[1], 1);
	dup2(ends[1], 2);
	ask(prints, 60);
	dup2(out, 1);
	dup2(err, 2);
	close(ends[1]);
	CHECK_EQ(answer.verdict, VERDICT_HOLDS);
	CHECK_EQ(read(ends[0], &c, 1), 0);
}

/* Who has started us may ignore it: then nobody would be told of an end. */
static void sigchld_ignored(void)
{
	signal(SIGCHLD, SIG_IGN);
	check_broken(dies, 60, "died of signal 15");
}

static const struct tap_case cases[] = {
	{ .name = "it holds", .run = says_so },
	{ .name = "it cannot be tested", .run = is_not_there },
	{ .name = "it is wrong", .run = says_that_it_is_not },
	{ .name = "it ends badly", .run = ends_badly },
	{ .name = "its child is wrong", .run = child_fails },
	{ .name = "it is late", .run = is_late },
	{ .name = "it leaves nobody", .run = leaves_nobody },
	{ .name = "it prints nothing", .run = is_quiet },
	{ .name = "SIGCHLD is ignored", .run = sigchld_ignored },
};
TAP_MAIN(cases)
