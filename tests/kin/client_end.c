/* SPDX-License-Identifier: MIT */
/* A process comes to its end, and bezoard has its last word; or the file has. */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kin.h"
#include "live.h"

#define ROWS		"SELECT count(*) FROM records"
#define PATIENCE_NS	60000000000u	/* longer than a case has */

static struct kin k;
static char left[96], path[128];
static int ready[2], go[2];		/* pipes: to and from who is to die */

static void make(void)
{
	kin_make(&k);
	snprintf(left, sizeof(left), "%s/left", k.folder);
	snprintf(path, sizeof(path), "%s/records", left);
	CHECK_EQ(mkdir(left, 0755), 0);
	CHECK_EQ(pipe(ready), 0);
	CHECK_EQ(pipe(go), 0);
}

static enum bez_action action = BEZ_ACTION_SHUTDOWN;

#define NO_FILE 0x80000000u		/* beside the flags of bez_start() */

/* A page whose loss is the end of who touches it; it is lost. Without a file the
 * process waits for the daemon as long as it may. */
static unsigned char *prepare(uint64_t shutdown_ns, uint32_t flags)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *at = live_pages(1);
	bez_region_t region;

	options.flags = BEZ_START_NO_EARLY_KILL | (flags & ~NO_FILE);
	if (!(flags & NO_FILE))
		options.record_fd = open(path, O_WRONLY | O_CREAT | O_APPEND,
					 0644);
	options.shutdown_ns = shutdown_ns;
	options.kin_socket = k.socket;
	CHECK((flags & NO_FILE) || options.record_fd > 0);
	CHECK_EQ(bez_start(&options), 0);
	policy.actions[0] = action;
	policy.name = "the end";
	CHECK_EQ(bez_region_add(at, live_page(), &policy, &region), 0);
	live_poison(at);
	return at;
}

static void dies(uint64_t shutdown_ns, uint32_t flags)
{
	unsigned char *at = prepare(shutdown_ns, flags);
	char c = 0;

	CHECK_EQ(write(ready[1], &c, 1), 1);
	CHECK_EQ(read(go[0], &c, 1), 1);
	live_read(at);
	_exit(1);
}

/* It is connected, and about to touch what is lost. */
static pid_t begun(uint64_t shutdown_ns, uint32_t flags)
{
	pid_t pid = fork();
	char c;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		tap_apart();
		dies(shutdown_ns, flags);
	}
	CHECK_EQ(read(ready[0], &c, 1), 1);
	return pid;
}

/* Seconds until it was over. */
static double over(pid_t pid)
{
	struct timespec from, to;
	int status;

	clock_gettime(CLOCK_MONOTONIC, &from);
	CHECK_EQ(write(go[1], "", 1), 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	clock_gettime(CLOCK_MONOTONIC, &to);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%#x",
	       status);
	return (double)(to.tv_sec - from.tv_sec) +
	       (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

static long long in_file(void)
{
	struct stat st;

	CHECK_EQ(stat(path, &st), 0);
	return st.st_size / BEZ_RECORD_BYTES;
}

/* It has ended, so both are kept: whatever becomes of the daemon right then. */
static void kept(void)
{
	const uint32_t *flags = tap_data();

	make();
	kin_start(&k, NULL);
	over(begun(PATIENCE_NS, *flags));
	kin_kill(&k);
	kin_start(&k, NULL);
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	CHECK_EQ(kin_ask(&k, ROWS " WHERE outcome = 131"), 1);
	kin_end(&k);
}

/* Another daemon than the one that it has known. */
static void another(void)
{
	pid_t pid;

	make();
	kin_start(&k, NULL);
	pid = begun(PATIENCE_NS, NO_FILE);
	kin_kill(&k);
	kin_start(&k, NULL);
	over(pid);
	kin_kill(&k);
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	kin_end(&k);
}

/* It dies as if nobody protected it: its one record is its last word. */
static void another_default(void)
{
	pid_t pid;

	action = BEZ_ACTION_DEFAULT;
	make();
	kin_start(&k, NULL);
	pid = begun(PATIENCE_NS, NO_FILE);
	kin_kill(&k);
	kin_start(&k, NULL);
	over(pid);
	kin_wait(&k, ROWS, 1);
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM deaths WHERE told = 0"), 0);
	kin_end(&k);
}

/* A child of vfork(2) has its parent's memory, and its own end: that one is kept as
 * the child's. */
static void of_vfork(void)
{
	unsigned char *at;
	int status;
	pid_t pid;

	make();
	kin_start(&k, NULL);
	at = prepare(PATIENCE_NS, NO_FILE);
	pid = vfork();
	if (!pid) {
		live_read(at);
		_exit(1);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%#x",
	       status);
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	CHECK_EQ(kin_ask(&k, "SELECT min(pid) FROM records"), pid);
	CHECK_EQ(kin_count(&k, "forged"), 0);
	kin_end(&k);
}

/* One that does not answer is not waited for as long as hooks are, as there is a file.
 * Both ways, then. */
static void stopped(void)
{
	double seconds;
	pid_t pid;

	make();
	kin_start(&k, "--files", left, NULL);
	pid = begun(PATIENCE_NS, 0);
	CHECK_EQ(kill(k.pid, SIGSTOP), 0);
	seconds = over(pid);
	CHECKF(seconds >= 0.4 && seconds < 20, "%.3f s", seconds);
	CHECK_EQ(in_file(), 2);
	CHECK_EQ(kill(k.pid, SIGCONT), 0);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'again'", 2);
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	kin_end(&k);
}

/* One that is not there, or was killed before it could answer, is not waited for. */
static void gone(void)
{
	pid_t pid;

	make();
	kin_start(&k, NULL);
	pid = begun(PATIENCE_NS, 0);
	kin_kill(&k);
	over(pid);
	CHECK_EQ(in_file(), 2);
	kin_start(&k, "--files", left, NULL);
	kin_wait(&k, ROWS, 2);
	kin_end(&k);
}

static void gone_meanwhile(void)
{
	int status;
	pid_t pid;

	make();
	kin_start(&k, NULL);
	pid = begun(PATIENCE_NS, NO_FILE);
	CHECK_EQ(kill(k.pid, SIGSTOP), 0);
	CHECK_EQ(write(go[1], "", 1), 1);
	while (!kin_waits_in(pid, SYS_ppoll))
		CHECK(!waitpid(pid, &status, WNOHANG));
	kin_kill(&k);
	/* long before it would give up */
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%#x",
	       status);
	kin_end(&k);
}

static const uint32_t with_worker = NO_FILE,
		      alone = NO_FILE | BEZ_START_NO_WORKER;

static const struct tap_case cases[] = {
	{ .name = "it has both", .run = kept, .data = &with_worker,
	  .timeout_s = 30 },
	{ .name = "it has both, without a worker", .run = kept, .data = &alone,
	  .timeout_s = 30 },
	{ .name = "it has both, of a child of vfork", .run = of_vfork,
	  .timeout_s = 30 },
	{ .name = "another than it knew has both", .run = another,
	  .timeout_s = 30 },
	{ .name = "another than it knew has its last word",
	  .run = another_default, .timeout_s = 30 },
	{ .name = "it stands still", .run = stopped, .timeout_s = 30 },
	{ .name = "it is not there", .run = gone, .timeout_s = 30 },
	{ .name = "it is killed before it answers", .run = gone_meanwhile,
	  .timeout_s = 30 },
};
TAP_MAIN(cases)
