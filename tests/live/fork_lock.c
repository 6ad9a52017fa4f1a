/* SPDX-License-Identifier: MIT */
/*
 * fork(2) waits for locks that it wants to copy in a known state, the
 * allocator's first of all, and pages are not put in place while it runs. Where
 * the thread that lost a page holds such a lock, neither may wait for the
 * other.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define SOON_NS	5000000000u		/* far below what a fork would stall */

/* Called after bezoar's own, as it was registered before that: the way of
 * pages is closed by then, and the locks are not taken yet. */
static _Atomic int closed, go_on, takes_lock, wanted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void before_fork(void)
{
	if (!wanted)
		return;
	closed = 1;
	while (!go_on)
		sched_yield();
	if (takes_lock)
		pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	if (wanted && takes_lock)
		pthread_mutex_unlock(&lock);
}

static void *forks(void *arg)
{
	int status = 0;
	pid_t pid;

	(void)arg;
	pid = fork();
	if (!pid)
		_exit(7);
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	return NULL;
}

static void begin(void)
{
	CHECK_EQ(pthread_atfork(before_fork, after_fork, after_fork), 0);
	see_install();
	see_start(*(const uint32_t *)tap_data());
}

static void came_soon(const void *at)
{
	struct bez_event event = see_event(at);

	tap_diag("%llu us", (unsigned long long)event.took_ns / 1000);
	CHECK_EQ(event.outcome, BEZ_OUTCOME_REPLACED);
	CHECK(event.took_ns < SOON_NS);
}

static void held_lock(void)
{
	unsigned char *at = live_pages(1);
	struct bez_source from = bez_source_mirror(live_pages(1));
	pthread_t thread;

	begin();
	live_region(at, live_page(), &from, "under a lock");
	live_poison(at);
	takes_lock = wanted = go_on = 1;
	pthread_mutex_lock(&lock);
	CHECK_EQ(pthread_create(&thread, NULL, forks, NULL), 0);
	while (!closed)
		sched_yield();
	CHECK_EQ(live_read(at), live_byte(0, 0));
	pthread_mutex_unlock(&lock);
	pthread_join(thread, NULL);
	came_soon(at);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
}

/* -------------------------------------------------------- malloc's own lock */

#define CHUNK	(64 * 1024)		/* no list keeps such without a look */
#define OTHER	(16 * 1024)

/* Not one that the compiler knows, and leaves out. */
static void *(*volatile allocate)(size_t) = malloc;

/* The thread is inside of malloc() now. Lets the fork go on to that lock. */
static int from_copy(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	memcpy(dst, (unsigned char *)arg + offset, bytes);
	go_on = 1;
	return 0;
}

/* The header of a free chunk, which malloc() reads, and the fork waits for. */
static void mallocs_lock(void)
{
	size_t page = live_page();
	unsigned char *copy = live_pages(1), *at;
	struct bez_source from = bez_source_callback(from_copy, copy);
	/* free between two that are not, it stays a chunk of its own */
	void *below = allocate(CHUNK), *chunk = allocate(CHUNK),
	     *above = allocate(CHUNK), *got;
	pthread_t thread;

	CHECK(below && chunk && above);
	at = (unsigned char *)((uintptr_t)chunk & -page);
	begin();
	live_region(at, page, &from, "the heap");
	wanted = 1;
	CHECK_EQ(pthread_create(&thread, NULL, forks, NULL), 0);
	while (!closed)
		sched_yield();
	free(chunk);
	memcpy(copy, at, page);
	live_poison(at);
	got = allocate(OTHER);
	pthread_join(thread, NULL);
	CHECK(got);
	came_soon(at);
	free(got);
	free(below);
	free(above);
}

/* ---------------------------------------------------------- the hooks' lock */

static _Atomic int tid, registered, early;

static void nothing(const struct bez_event *loss, void *arg)
{
	(void)loss;
	(void)arg;
}

static void *registers(void *arg)
{
	tid = (int)syscall(SYS_gettid);
	while (!closed)
		sched_yield();
	CHECK_EQ(bez_shutdown_hook(nothing, arg), 0);
	registered = 1;
	return NULL;
}

/* After bezoar's own: whoever registers one now has to wait. */
static void while_forking(void)
{
	closed = 1;
	while (!registered && !live_sleeps(tid))
		sched_yield();
	early = registered;
}

/* A child that was made while a hook is registered can register one. */
static void hooks_lock(void)
{
	pthread_t thread;
	int status;
	pid_t pid;

	CHECK_EQ(pthread_atfork(while_forking, NULL, NULL), 0);
	live_start(0);
	CHECK_EQ(pthread_create(&thread, NULL, registers, NULL), 0);
	while (!tid)
		sched_yield();
	pid = fork();
	if (!pid)
		_exit(bez_shutdown_hook(nothing, NULL) ? 1 : 7);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 7 << 8);
	pthread_join(thread, NULL);
	CHECK_EQ(registered, 1);
	CHECK_EQ(early, 0);
}

/* ------------------------------------- what can be placed in no other way */

#define SLOW_NS	200000000u

static _Atomic uint64_t until;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Slow on purpose: long after the page was touched. */
static void slow_handler(void)
{
	if (!wanted)
		return;
	closed = 1;
	while (!go_on || (now_ns() < until && !takes_lock))
		sched_yield();
	if (takes_lock)
		pthread_mutex_lock(&lock);
}

/* A file without a name: closed, it cannot be opened again. */
static unsigned char *nameless(size_t page)
{
	int fd = memfd_create("nameless", MFD_CLOEXEC);
	unsigned char *at;

	CHECK_EQ(ftruncate(fd, (off_t)page), 0);
	at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	memset(at, 'b', page);
	return at;
}

static pthread_t begin_nameless(unsigned char **ret_at)
{
	struct bez_source from = bez_source_mirror(live_pages(1));
	pthread_t thread;

	live_need_linux(5, 14, "minor faults by userfaultfd");
	*ret_at = nameless(live_page());
	CHECK_EQ(pthread_atfork(slow_handler, after_fork, after_fork), 0);
	see_install();
	see_start(0);
	live_region(*ret_at, live_page(), &from, "nameless");
	live_poison(*ret_at);
	wanted = 1;
	CHECK_EQ(pthread_create(&thread, NULL, forks, NULL), 0);
	while (!closed)
		sched_yield();
	return thread;
}

/* It waits for the fork, however slow that is. */
static void no_other_way(void)
{
	unsigned char *at;
	pthread_t thread = begin_nameless(&at);

	until = now_ns() + SLOW_NS;
	go_on = 1;
	CHECK_EQ(live_read(at), live_byte(0, 0));
	CHECK(now_ns() >= until);
	pthread_join(thread, NULL);
	came_soon(at);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
}

/* But not for one that waits for it. */
static void neither(void)
{
	unsigned char *at, byte;
	pthread_t thread;

	takes_lock = 1;
	thread = begin_nameless(&at);
	pthread_mutex_lock(&lock);
	go_on = 1;
	CHECK_EQ(see_lost(at, &byte), 1);
	CHECK_EQ(see_event(at).why, BEZ_OUTCOME_REFUSED_FILE);
	pthread_mutex_unlock(&lock);
	pthread_join(thread, NULL);
	CHECK_EQ(live_read(at), live_byte(0, 0));
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
}

static const uint32_t by_uffd = 0, by_mremap = BEZ_START_NO_UFFD;

#define EACH_WAY(what, function)					\
	{ .name = what ", userfaultfd", .run = function, .data = &by_uffd }, \
	{ .name = what ", mremap", .run = function, .data = &by_mremap }

static const struct tap_case cases[] = {
	EACH_WAY("a lock that fork wants", held_lock),
	EACH_WAY("malloc's own lock", mallocs_lock),
	{ .name = "the hooks' lock", .run = hooks_lock, .timeout_s = 20 },
	{ .name = "a slow fork, and memory that has to wait for it",
	  .run = no_other_way },
	{ .name = "a lock that fork wants, and memory that has to wait",
	  .run = neither, .timeout_s = 30 },
};
TAP_MAIN(cases)
