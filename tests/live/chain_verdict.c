/* SPDX-License-Identifier: MIT */
/*
 * The harness itself: a death by the right signal at the wrong time is no
 * proof. Cases that must be refused, run by the same tap_main() in a child
 * whose report is read.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "chain_help.h"
#include "huge.h"

static void dies(void)
{
	raise(SIGBUS);
}

/* A check has failed, and the process dies as was expected, for another
 * reason. */
static void fails_then_dies(void)
{
	if (!fork())
		CHECK(0);
	wait(NULL);
	raise(SIGBUS);
}

static void dies_otherwise(void)
{
	raise(SIGUSR1);
}

static void lives(void)
{
	CHECK(1);
}

static void proves_nothing(void)
{
}

static const struct tap_case refused[] = {
	{ .name = "not expected", .run = dies },
	{ .name = "a check failed", .run = fails_then_dies,
	  .want_signal = SIGBUS },
	{ .name = "another signal", .run = dies_otherwise,
	  .want_signal = SIGBUS },
	{ .name = "it lives", .run = lives, .want_signal = SIGBUS },
	{ .name = "proves nothing", .run = proves_nothing },
	{ .name = "wrong status", .run = lives, .want_exit = 3 },
};
static const struct tap_case accepted[] = {
	{ .name = "expected", .run = dies, .want_signal = SIGBUS },
	{ .name = "it lives", .run = lives },
};

static int points(const struct tap_case *cases, size_t count,
		  const char *word)
{
	char text[8192] = "", *line, *at = text;
	char *argv[] = { (char *)(uint64_t)"harness", NULL };
	int out[2], n = 0;
	ssize_t got;

	CHECK_EQ(pipe(out), 0);
	if (!fork()) {
		dup2(out[1], 1);
		close(out[0]);
		close(out[1]);
		unsetenv("MESON_TEST_ITERATION");
		_exit(tap_main(cases, count, 1, argv));
	}
	close(out[1]);
	while ((got = read(out[0], at, (size_t)(text + sizeof(text) - 1 - at)))
	       > 0)
		at += got;
	close(out[0]);
	wait(NULL);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		n += !strncmp(line, word, strlen(word));
	return n;
}

/* The child's own results are of its own: tap_main() takes a new page. */
static void refuses(void)
{
	const size_t count = sizeof(refused) / sizeof(refused[0]);
	int bad = points(refused, count, "not ok ");
	int good = points(refused, count, "ok ");

	CHECK_EQ(bad, count);
	CHECK_EQ(good, 0);
}

static void accepts(void)
{
	const size_t count = sizeof(accepted) / sizeof(accepted[0]);

	CHECK_EQ(points(accepted, count, "ok "), count);
	CHECK_EQ(points(accepted, count, "not ok "), 0);
}

/* ------------------------------------------------------------ whose time it is */

static void takes_its_turn(void)
{
	huge_need(0);
	CHECK(1);
}

static const struct tap_case waiting[] = {
	{ .name = "waits", .run = takes_its_turn, .timeout_s = 1 },
};

/* Have the huge pages for half as long again as a case may take that wants
 * them; @end is told when. */
static void have_them(int end)
{
	const struct timespec long_enough = {
		.tv_sec = tap_patience() + (tap_patience() + 1) / 2,
	};

	tap_apart();
	huge_need(0);
	CHECK_EQ(write(end, "x", 1), 1);
	nanosleep(&long_enough, NULL);
	_exit(0);
}

/* Another test has what there is but one of: that is not the case's time. */
static void waits_its_turn(void)
{
	int ends[2];
	ssize_t got;
	char byte;

	CHECK_EQ(pipe(ends), 0);
	if (!fork())
		have_them(ends[1]);
	close(ends[1]);
	tap_waits(1);
	got = read(ends[0], &byte, 1);
	tap_waits(0);
	if (got != 1)
		tap_skip("no huge pages of 2 MiB on this machine");
	CHECK_EQ(points(waiting, 1, "not ok "), 0);
	wait(NULL);
}

static const struct tap_case cases[] = {
	{ .name = "refuses", .run = refuses },
	{ .name = "accepts", .run = accepts },
	{ .name = "waits its turn", .run = waits_its_turn, .timeout_s = 120 },
};
TAP_MAIN(cases)
