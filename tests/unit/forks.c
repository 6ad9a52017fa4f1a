/* SPDX-License-Identifier: MIT */
/*
 * A handler of the program's forks on top of a call that waits for a lock, or has
 * one, while another thread has the same or another: in the child that thread is not
 * there, and what it had must be free; in both the call goes on to its end.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../live/live.h"
#include "core/lock.h"
#include "bezoar/shutdown.h"
#include "unit.h"

enum { OF_START, OF_REGIONS, OF_HOOKS };

static const struct bez_policy policy = BEZ_POLICY_INIT;
/* no thread is made in a child, which sanitizers do not like */
static const struct bez_options options = { .size = sizeof(options),
					    .flags = BEZ_START_NO_WORKER };
static struct bz_lock *locks[BZ_LOCKS];
static char *at;
static _Atomic int holds, let_go, forks, tid, half_done;
static volatile pid_t twin = -1;

static void begin(void)
{
	at = mmap(NULL, unit_page(), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	CHECK_EQ(bez_start(&options), 0);
	bz_all_locks(locks);
	unit_patience(30);
}

static void until_it_sleeps(void)
{
	while (!live_sleeps(tid))
		sched_yield();
}

static void make_twin(void)
{
	forks = 1;
	twin = fork();
	CHECK(twin || !half_done);
	unit_patience(30);		/* a child's, too */
}

static void no_hook(const struct bez_event *loss, void *arg)
{
	(void)loss;
	(void)arg;
}

/* In both everything works, and nothing is left. */
static void all_works(void)
{
	bez_region_t region;
	int end = 0, i;

	CHECK_EQ(bez_region_add(at, unit_page(), &policy, &region), 0);
	CHECK_EQ(bez_shutdown_hook(no_hook, NULL), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(bez_start(&options), 0);
	for (i = 0; i < BZ_LOCKS; i++)
		CHECK_EQ(atomic_load(&locks[i]->word), 0);
	/* not _exit(2): a sanitizer misses the threads that stayed behind */
	if (!twin)
		syscall(SYS_exit_group, 7);
	CHECK_EQ(waitpid(twin, &end, 0), twin);
	CHECKF(WIFEXITED(end) && WEXITSTATUS(end) == 7, "the child: %#x", end);
}

static void *holds_one(void *arg)
{
	struct bz_lock *lock = locks[*(const int *)arg];

	CHECK_EQ(bz_lock(lock), 0);
	half_done = 1;
	holds = 1;
	while (!let_go)
		sched_yield();
	half_done = 0;
	bz_unlock(lock);
	return NULL;
}

/* ------------------------------------------- this one waits for the first lock */

static void on_signal(int sig)
{
	(void)sig;
	make_twin();
}

/* When that is certain; and lets the lock go when it has forked, or waits for that
 * before it does. */
static void *signals(void *arg)
{
	until_it_sleeps();
	CHECK_EQ(pthread_kill(*(pthread_t *)arg, SIGUSR1), 0);
	while (!forks)
		sched_yield();
	while (twin < 0 && !live_sleeps(tid))
		sched_yield();
	let_go = 1;
	return NULL;
}

static int call(int lock)
{
	bez_region_t region;
	int r;

	if (lock == OF_START)
		return bez_start(&options) == -EALREADY ? 0 : -1;
	if (lock == OF_HOOKS)
		return bez_shutdown_hook(no_hook, NULL);
	r = bez_region_add(at, unit_page(), &policy, &region);
	return r ? r : bez_region_remove(region);
}

static void waiting(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	pthread_t holder, killer, self = pthread_self();
	const int *lock = tap_data();

	begin();
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK_EQ(pthread_create(&holder, NULL, holds_one, (void *)lock), 0);
	while (!holds)
		sched_yield();
	CHECK_EQ(pthread_create(&killer, NULL, signals, &self), 0);
	tid = (int)syscall(SYS_gettid);
	CHECK_EQ(call(*lock), 0);
	CHECK(forks);
	if (twin) {
		pthread_join(holder, NULL);
		pthread_join(killer, NULL);
	}
	all_works();
}

/* ------------------------------------------------------------- this one has one */

static void *lets_go(void *arg)
{
	until_it_sleeps();
	let_go = 1;
	return arg;
}

static const struct two {
	int had, others;
} two[] = {
	{ OF_START, OF_REGIONS }, { OF_REGIONS, OF_HOOKS },
	{ OF_REGIONS, OF_START }, { OF_HOOKS, OF_REGIONS },
};

/* Another thread has what comes later, and is soon done with it. */
static void later(void)
{
	const struct two *t = tap_data();
	pthread_t holder, other;

	begin();
	CHECK_EQ(pthread_create(&holder, NULL, holds_one, (void *)&t->others),
		 0);
	while (!holds)
		sched_yield();
	CHECK_EQ(bz_lock(locks[t->had]), 0);
	CHECK_EQ(pthread_create(&other, NULL, lets_go, NULL), 0);
	tid = (int)syscall(SYS_gettid);
	make_twin();
	CHECK(let_go);
	bz_unlock(locks[t->had]);
	if (twin) {
		pthread_join(holder, NULL);
		pthread_join(other, NULL);
	}
	all_works();
}

static void *has_and_waits(void *arg)
{
	const struct two *t = arg;

	CHECK_EQ(bz_lock(locks[t->others]), 0);
	holds = 1;
	tid = (int)syscall(SYS_gettid);
	bz_lock_take(locks[t->had]);
	bz_lock_give(locks[t->had]);
	bz_unlock(locks[t->others]);
	return NULL;
}

/* It has what comes before, and waits for what this one has. */
static void before(void)
{
	const struct two *t = tap_data();
	pthread_t other;

	begin();
	CHECK_EQ(bz_lock(locks[t->had]), 0);
	CHECK_EQ(pthread_create(&other, NULL, has_and_waits, (void *)t), 0);
	until_it_sleeps();
	make_twin();
	bz_unlock(locks[t->had]);
	if (twin)
		pthread_join(other, NULL);
	all_works();
}

/* A handler forks while fork(2) waits for a lock. */
static void in_fork(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	pthread_t holder, killer, self = pthread_self();
	static const int lock = OF_REGIONS;
	int end = 0;
	pid_t child;

	begin();
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK_EQ(pthread_create(&holder, NULL, holds_one, (void *)&lock), 0);
	while (!holds)
		sched_yield();
	CHECK_EQ(pthread_create(&killer, NULL, signals, &self), 0);
	tid = (int)syscall(SYS_gettid);
	child = fork();
	CHECK(forks);
	unit_patience(30);
	if (!child) {
		twin = 0;
		all_works();
	}
	CHECK_EQ(waitpid(child, &end, 0), child);
	CHECK_EQ(end, 7 << 8);
	if (twin) {
		pthread_join(holder, NULL);
		pthread_join(killer, NULL);
	}
	all_works();
}

/* ... and when it has them all; then that one's is no open way for pages. */
static void on_top(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);

	if (!mm || forks)
		return;
	make_twin();
	CHECK(!twin || atomic_load(&mm->gate));
}

static void in_fork_with_all(void)
{
	int end = 0;
	pid_t child;

	/* before ours, so it is called after that */
	CHECK_EQ(pthread_atfork(on_top, NULL, NULL), 0);
	begin();
	child = fork();
	CHECK(forks);
	if (!child) {
		twin = 0;
		all_works();
	}
	CHECK_EQ(waitpid(child, &end, 0), child);
	CHECK_EQ(end, 7 << 8);
	all_works();
}

static const int of[] = { OF_START, OF_REGIONS, OF_HOOKS };

static const struct tap_case cases[] = {
	{ .name = "waits for the lock of bez_start()", .run = waiting,
	  .data = &of[0] },
	{ .name = "waits for the regions' lock", .run = waiting,
	  .data = &of[1] },
	{ .name = "waits for the hooks' lock", .run = waiting, .data = &of[2] },
	{ .name = "has one, and another thread the regions'", .run = later,
	  .data = &two[0] },
	{ .name = "has one, and another thread the hooks'", .run = later,
	  .data = &two[1] },
	{ .name = "has the regions', another waits for it", .run = before,
	  .data = &two[2] },
	{ .name = "has the hooks', another waits for it", .run = before,
	  .data = &two[3] },
	{ .name = "fork waits for a lock", .run = in_fork },
	{ .name = "fork has them all", .run = in_fork_with_all },
};

TAP_MAIN(cases)
