/* SPDX-License-Identifier: MIT */
/* The administrator's command, where somebody else waits for children: the kernel, for
 * who has said that he does not want to know of them. */
#include "hook.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define EVENT 7

static struct hook hook;
static int epoll;

/* ------------------------------------------------------- in the place of others */

uint64_t clock_now(void)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void batch_count(struct batch *b, enum count what, uint64_t n)
{
	(void)b;
	CHECKF(0, "count %d: %llu", (int)what, (unsigned long long)n);
}

void say(const char *fmt, ...)
{
	tap_diag("%s", fmt);
}

/* -------------------------------------------------------------------------- case */

/* As the loop does it, when the one that runs has ended: at once if it had before it
 * could be held. */
static void turn(void)
{
	struct epoll_event event;

	if (hook.fd >= 0) {
		CHECK_EQ(epoll_wait(epoll, &event, 1, -1), 1);
		CHECK_EQ(event.data.u64, EVENT);
	}
	hook_event(&hook);
}

/* The next one is run all the same. */
static void waited_for(void)
{
	char file[] = "/tmp/bezoar-reaps-XXXXXX", command[128];
	int fd = mkstemp(file);
	struct stat st;

	CHECK(fd >= 0);
	snprintf(command, sizeof(command), "cat >>%s", file);
	signal(SIGCHLD, SIG_IGN);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	hook_init(&hook, command, 60000000000u, epoll, EVENT, NULL);
	hook_run(&hook, 0, strdup("1"));
	hook_run(&hook, 0, strdup("2"));
	CHECK(hook.pid > 0);
	CHECK_EQ(hook.n, 1);
	turn();
	CHECK_EQ(hook.n, 0);
	turn();
	CHECK_EQ(hook.pid, 0);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_size, 4);
	unlink(file);
}

static const struct tap_case cases[] = {
	{ .name = "somebody else has waited for it", .run = waited_for },
};
TAP_MAIN(cases)
