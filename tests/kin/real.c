/* SPDX-License-Identifier: MIT */
/* The library itself sends: a process loses pages, and its records are there. */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kin.h"
#include "live.h"
#include "table.h"

#define PAGES 8
#define ROWS "SELECT count(*) FROM records"

static struct kin k;

/* With records to the daemon, in a process that is to lose some. */
static void start(uint32_t rate)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = BEZ_START_NO_EARLY_KILL;
	options.record_fd = options.kin_fd = kin_connect(&k);
	options.record_rate = rate;
	CHECK(options.record_fd > 0);
	CHECK_EQ(bez_start(&options), 0);
	close(options.record_fd);
	table_make(PAGES);
}

/* A process that reads no answers, and ends at once. */
static void replaced(void)
{
	int status;
	pid_t pid;

	kin_make(&k);
	kin_start(&k, NULL);
	pid = fork();
	if (!pid) {
		tap_apart();
		start(0);
		table_lose(0);
		table_lose(3);
		/* a child of its own loses one, too */
		pid = fork();
		if (!pid) {
			table_lose(5);
			_exit(0);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	kin_wait(&k, ROWS, 3);
	CHECK_EQ(kin_ask(&k, "SELECT count(DISTINCT pid) FROM records"), 2);
	CHECK_EQ(kin_ask(&k, ROWS " WHERE CAST(region AS TEXT) = 'the table' "
			 "AND outcome = 1"), 3);
	CHECK_EQ(kin_count(&k, "forged"), 0);
	kin_end(&k);
}

/* One that dies of its loss: beginning and end of that are there, once, although
 * they are sent twice (to the next of kin, and as records). */
static void shut_down(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *at;
	bez_region_t region;
	int status;
	pid_t pid;

	kin_make(&k);
	kin_start(&k, NULL);
	pid = fork();
	if (!pid) {
		tap_apart();
		start(0);
		at = live_pages(1);
		policy.actions[0] = BEZ_ACTION_SHUTDOWN;
		policy.name = "the end";
		CHECK_EQ(bez_region_add(at, live_page(), &policy, &region), 0);
		live_poison(at);
		live_read(at);
		_exit(1);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%#x",
	       status);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'again'", 2);
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	kin_end(&k);
}

/* The daemon stands still: nobody waits for it, and what did not go is counted. */
static void stopped(void)
{
	struct bez_status now = { .size = sizeof(now) };
	struct timespec from, to;
	uint64_t i, ms;
	int status;
	pid_t pid;

	kin_make(&k);
	kin_start(&k, NULL);
	pid = fork();
	if (!pid) {
		tap_apart();
		start(UINT32_MAX);
		table_lose(0);
		kin_wait(&k, ROWS, 1);
		CHECK_EQ(kill(k.pid, SIGSTOP), 0);
		clock_gettime(CLOCK_MONOTONIC, &from);
		for (i = 0; i < 1000; i++)
			table_lose(i);
		clock_gettime(CLOCK_MONOTONIC, &to);
		CHECK_EQ(kill(k.pid, SIGCONT), 0);
		CHECK_EQ(bez_status(&now), 0);
		ms = (uint64_t)(to.tv_sec - from.tv_sec) * 1000 +
		     (uint64_t)(to.tv_nsec / 1000000) -
		     (uint64_t)(from.tv_nsec / 1000000);
		tap_diag("1,000 losses in %llu ms, %llu records dropped",
			 (unsigned long long)ms,
			 (unsigned long long)now.records_dropped);
		CHECK(now.records_dropped > 0);
		CHECK_EQ(now.records + now.records_dropped, 1001);
		kin_wait(&k, ROWS, (long long)now.records);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "what is replaced, by a process and its child",
	  .run = replaced },
	{ .name = "what a process dies of", .run = shut_down },
	{ .name = "nobody waits for a daemon that stands still",
	  .run = stopped },
};
TAP_MAIN(cases)
