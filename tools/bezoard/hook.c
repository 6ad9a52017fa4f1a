/* SPDX-License-Identifier: MIT */
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define SECOND	1000000000ull
#define LAST_MS	2000			/* at the end of the daemon */

void hook_init(struct hook *h, const char *command, uint64_t limit_ns,
	       int epoll, uint32_t event, struct batch *batch)
{
	memset(h, 0, sizeof(*h));
	h->command = command;
	h->limit_ns = limit_ns;
	h->epoll = epoll;
	h->event = event;
	h->batch = batch;
	h->fd = -1;
}

/* A pipe that holds all of it already: nobody has to wait for who reads it. */
static int filled(const char *json)
{
	size_t len = strlen(json);
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return -1;
	if (write(ends[1], json, len) != (ssize_t)len ||
	    write(ends[1], "\n", 1) != 1) {
		close(ends[0]);
		ends[0] = -1;
	}
	close(ends[1]);
	/* who reads it may wait: until the end, which is there */
	if (ends[0] >= 0)
		fcntl(ends[0], F_SETFL, 0);
	return ends[0];
}

/*
 * In a group of its own, that what it starts can be ended with it. Nothing of this
 * process's environment, signals or files is left but standard error, which is
 * its output, too.
 */
static int spawn(const char *command, int input, pid_t *ret_pid)
{
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
			     "/usr/bin:/sbin:/bin";
	static char shell[] = "sh", option[] = "-c";
	char *env[] = { path, NULL };
	char *argv[] = { shell, option, (char *)command, NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int bad;

	sigemptyset(&none);
	sigfillset(&all);
	if (posix_spawn_file_actions_init(&files))
		return ENOMEM;
	if (posix_spawnattr_init(&attr)) {
		posix_spawn_file_actions_destroy(&files);
		return ENOMEM;
	}
	bad = posix_spawn_file_actions_adddup2(&files, input, 0);
	if (!bad)
		bad = posix_spawn_file_actions_adddup2(&files, 2, 1);
	if (!bad)
		bad = posix_spawn_file_actions_addclosefrom_np(&files, 3);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
				 POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (!bad)
		bad = posix_spawn(ret_pid, "/bin/sh", &files, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return bad;
}

static void failed(struct hook *h)
{
	batch_count(h->batch, COUNT_HOOK_FAILED, 1);
}

/* -1: it could not be begun, which was said. */
static int begin(struct hook *h, const char *json)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = h->event };
	int input = filled(json), bad = input < 0 ? errno : 0;

	if (!bad)
		bad = spawn(h->command, input, &h->pid);
	if (input >= 0)
		close(input);
	if (bad) {
		h->pid = 0;
		say("--exec: it could not be run: %s", strerror(bad));
		failed(h);
		return -1;
	}
	h->was_killed = 0;
	h->due_ns = h->end_ns = clock_now() + h->limit_ns;
	h->fd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	/* who cannot be waited for there is looked after by time */
	if (h->fd < 0 || epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->fd, &event))
		h->due_ns = clock_now() + SECOND;
	return 0;
}

static void take_out(struct hook *h, uint32_t i)
{
	h->n--;
	memmove(&h->waiting[i], &h->waiting[i + 1],
		(h->n - i) * sizeof(h->waiting[0]));
}

static void next(struct hook *h)
{
	while (h->n && !h->pid) {
		uint32_t first = 0, i;
		char *json;

		for (i = 1; i < h->n; i++)
			if (h->waiting[i].round < h->waiting[first].round)
				first = i;
		json = h->waiting[first].json;
		h->round = h->waiting[first].round;
		take_out(h, first);
		begin(h, json);
		free(json);
	}
}

/* What waits longest without it is dropped, be it the new one. */
static int make_room(struct hook *h, uint64_t round)
{
	uint32_t last = 0, i;

	for (i = 1; i < h->n; i++)
		if (h->waiting[i].round >= h->waiting[last].round)
			last = i;
	if (h->waiting[last].round <= round)
		return -1;
	free(h->waiting[last].json);
	take_out(h, last);
	return 0;
}

void hook_run(struct hook *h, uint32_t uid, char *json)
{
	uint64_t round = h->round + 1;
	uint32_t i;

	if (!h->command) {
		free(json);
		return;
	}
	for (i = 0; i < h->n; i++)
		if (h->waiting[i].uid == uid && h->waiting[i].round >= round)
			round = h->waiting[i].round + 1;
	if (!json || h->n == HOOK_MOST) {
		batch_count(h->batch, COUNT_HOOK_DROPPED, 1);
		if (!json || make_room(h, round)) {
			free(json);
			return;
		}
	}
	h->waiting[h->n++] = (struct hook_wait){ json, uid, round };
	next(h);
}

/* 1: it has ended, and was waited for. */
static int reap(struct hook *h)
{
	int status = 0, gone = 0;
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	if (!h->pid)
		return 0;
	if (waitid(P_PID, (id_t)h->pid, &info, WEXITED | WNOHANG | WNOWAIT))
		gone = errno == ECHILD;	/* somebody else has */
	if (!gone && info.si_pid != h->pid)
		return 0;
	/* what it has left goes with it: as long as it was not waited for its number
	 * is its own */
	if (!gone) {
		kill(-h->pid, SIGKILL);
		waitpid(h->pid, &status, 0);
	}
	if (h->was_killed)
		say("--exec: it took more than %llu seconds, and was killed",
		    (unsigned long long)(h->limit_ns / SECOND));
	else if (WIFSIGNALED(status))
		say("--exec: it was ended by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status))
		say("--exec: it has ended with status %d", WEXITSTATUS(status));
	if (status)
		failed(h);
	if (h->fd >= 0)
		close(h->fd);
	h->fd = -1;
	h->pid = 0;
	h->due_ns = 0;
	return 1;
}

void hook_event(struct hook *h)
{
	if (reap(h))
		next(h);
}

void hook_time(struct hook *h)
{
	if (reap(h)) {
		next(h);
		return;
	}
	h->due_ns = clock_now() + SECOND;
	if (clock_now() < h->end_ns)
		return;
	/* it ends now; the epoll, or the next look, says when */
	h->was_killed = 1;
	kill(-h->pid, SIGKILL);
}

void hook_close(struct hook *h)
{
	struct pollfd end = { .fd = h->fd, .events = POLLIN };

	if (h->n)
		batch_count(h->batch, COUNT_HOOK_DROPPED, h->n);
	while (h->n)
		free(h->waiting[--h->n].json);
	if (!h->pid)
		return;
	poll(&end, 1, LAST_MS);
	if (reap(h))
		return;
	h->was_killed = 1;
	kill(-h->pid, SIGKILL);
	waitpid(h->pid, NULL, 0);
}
