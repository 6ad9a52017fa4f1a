/* SPDX-License-Identifier: MIT */
/*
 * bez_recover() opens SIGBUS for a while, also in a thread that has blocked it. What
 * is sent to the process then is for a thread that has not.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

static unsigned char *mirror;
static _Atomic int waits, taken_by;

static void takes(int sig)
{
	(void)sig;
	atomic_store(&taken_by, (int)syscall(SYS_gettid));
}

static void *takes_all(void *arg)
{
	sigset_t bus;

	(void)arg;
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
	atomic_store(&waits, (int)syscall(SYS_gettid));
	while (!atomic_load(&taken_by))
		sched_yield();
	return NULL;
}

static int kills(void *dst, size_t n, uint64_t offset, void *arg)
{
	(void)arg;
	CHECK_EQ(kill(getpid(), SIGBUS), 0);
	memcpy(dst, mirror + offset, n);
	return 0;
}

/* What waits for this thread alone. */
static uint64_t pending(void)
{
	FILE *f = fopen("/proc/thread-self/status", "re");
	unsigned long long set = 0;
	char line[256];
	int found = 0;

	CHECK(f);
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "SigPnd: %llx", &set) == 1;
	fclose(f);
	CHECK(found);
	return set;
}

/* By kill(2), while SIGBUS is open for a moment in a thread that has blocked
 * it: it is for the one that has not. */
static void for_another_thread(void)
{
	struct bez_source from = bez_source_callback(kills, NULL);
	struct sigaction sa = { .sa_handler = takes };
	size_t page = live_page();
	unsigned char *at;
	pthread_t thread;
	sigset_t bus;

	sigaction(SIGBUS, &sa, NULL);
	live_start(BEZ_START_NO_EARLY_KILL | BEZ_START_NO_WORKER);
	at = live_pages(2);
	mirror = live_pages(2);
	live_region(at, 2 * page, &from, "killed");
	live_poison(at + page);
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &bus, NULL);
	CHECK_EQ(pthread_create(&thread, NULL, takes_all, NULL), 0);
	while (!atomic_load(&waits))
		sched_yield();
	CHECK_EQ(bez_recover(at, 2 * page), 0);
	CHECK_EQ(pending(), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(taken_by, waits);
	CHECK_EQ(live_wrong(at, 2 * page, 0), 0);
}

static const struct tap_case cases[] = {
	{ .name = "for another thread", .run = for_another_thread },
};
TAP_MAIN(cases)
