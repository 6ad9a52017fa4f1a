/* SPDX-License-Identifier: MIT */
/*
 * on_lost: the owner is told of each loss once, in order, by the worker.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES	700			/* more than one chunk has room for */

static unsigned char *at;
static size_t page;
static bez_region_t region;
static struct bez_lost said[PAGES];
static _Atomic uint32_t count;
static void (*then)(const struct bez_lost *lost);
static sem_t ring;

static void on_lost(const struct bez_lost *lost, void *arg)
{
	uint32_t n = atomic_load(&count);

	if (arg == &ring && n < PAGES)
		said[n] = *lost;
	if (then)
		then(lost);
	atomic_store(&count, n + 1);
	sem_post(&ring);
}

static void wait_for(uint32_t n)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 20 * tap_patience();
	while (atomic_load(&count) < n)
		CHECKF(!sem_timedwait(&ring, &end), "told %u of %u",
		       atomic_load(&count), n);
}

static int add(void *addr, size_t pages, bez_region_t *ret)
{
	struct bez_policy policy = BEZ_POLICY_INIT;

	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.on_lost = on_lost;
	policy.on_lost_arg = &ring;
	return bez_region_add(addr, pages * page, &policy, ret);
}

static void begin(size_t pages, uint32_t flags)
{
	page = live_page();
	at = live_pages(pages);
	sem_init(&ring, 0, 0);
	see_install();
	see_start(flags);
	if (!(flags & BEZ_START_NO_WORKER))
		CHECK_EQ(add(at, pages, &region), 0);
}

static int touch(size_t i)
{
	BEZ_TRY {
		live_read(at + i * page + i % page);
	} BEZ_CATCH(lost) {
		return lost->addr == at + i * page;
	}
	return 0;
}

static void once_in_order(void)
{
	size_t i;

	begin(PAGES, 0);
	for (i = 0; i < PAGES; i++) {
		size_t which = i * 333 % PAGES;

		live_poison(at + which * page);
		CHECK_EQ(touch(which), 1);
		CHECK_EQ(touch(which), 1);
		/* the worker makes room in time, if it gets to run */
		if (i % 100 == 99)
			wait_for((uint32_t)i + 1);
	}
	wait_for(PAGES);
	for (i = 0; i < PAGES; i++)
		if (said[i].seq != i + 1 || said[i].region != region ||
		    said[i].addr != at + i * 333 % PAGES * page ||
		    said[i].width != page)
			break;
	CHECK_EQ(i, PAGES);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(count, PAGES);
}

#define THREADS	4
#define EACH	100			/* a real one takes a tenth of a second in
					 * the lab */
#define EACH_REAL	20

static size_t each;

static void *loses(void *arg)
{
	size_t i;

	bez_thread_attach();
	for (i = 0; i < each; i++)
		if (!touch((size_t)arg * each + i))
			return arg;
	return NULL;
}

static void in_order_of_threads(void)
{
	pthread_t thread[THREADS];
	size_t i;
	void *r;

	each = live_is_real() ? EACH_REAL : EACH;
	begin(THREADS * each, 0);
	for (i = 0; i < THREADS * each; i++)
		live_poison(at + i * page);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, loses, (void *)i), 0);
	for (i = 0; i < THREADS; i++) {
		CHECK_EQ(pthread_join(thread[i], &r), 0);
		CHECK(!r);
	}
	wait_for(THREADS * each);
	for (i = 0; i < THREADS * each; i++)
		CHECK_EQ(said[i].seq, i + 1);
}

static void rewrites(const struct bez_lost *lost)
{
	if (bez_lost_clear(lost->addr, lost->width))
		return;
	live_fill(lost->addr, lost->width, 0);
}

/* It may call everything. */
static void may_clear(void)
{
	begin(3, 0);
	then = rewrites;
	live_poison(at + page);
	CHECK_EQ(touch(1), 1);
	wait_for(1);
	CHECK_EQ(bez_lost_in(at, 3 * page), 0);
	CHECK_EQ(live_wrong(at + page, page, 0), 0);
}

static sem_t entered, may_go;
static int waited;

static void waits_once(const struct bez_lost *lost)
{
	if (lost->seq != 3 || waited++)
		return;
	sem_post(&entered);
	sem_wait(&may_go);
}

/* Also where a place in the inventory is used again meanwhile. */
static void places_again(void)
{
	size_t i;

	begin(6, 0);
	sem_init(&entered, 0, 0);
	sem_init(&may_go, 0, 0);
	then = waits_once;
	for (i = 0; i < 3; i++) {
		live_poison(at + i * page);
		CHECK_EQ(touch(i), 1);
	}
	sem_wait(&entered);
	live_poison(at + 4 * page);
	CHECK_EQ(touch(4), 1);
	CHECK_EQ(bez_lost_clear(at, page), 0);
	live_poison(at + 5 * page);
	CHECK_EQ(touch(5), 1);
	sem_post(&may_go);
	wait_for(5);
	for (i = 0; i < 5; i++)
		CHECK_EQ(said[i].seq, i + 1);
}

static int removed, stopped;

static void removes(const struct bez_lost *lost)
{
	removed = bez_region_remove(lost->region);
	stopped = bez_stop();
}

static void may_remove(void)
{
	begin(3, 0);
	then = removes;
	live_poison(at + page);
	CHECK_EQ(touch(1), 1);
	wait_for(1);
	CHECK_EQ(removed, 0);
	CHECK_EQ(stopped, -EDEADLK);
	CHECK_EQ(bez_lost_in(at, 3 * page), 0);
	CHECK_EQ(bez_stop(), 0);
}

static int fills;

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	memset(dst, 1, len);
	return fills++;
}

static unsigned char *another;
static int was_lost;

static void meets_another(const struct bez_lost *lost)
{
	unsigned char byte;

	(void)lost;
	was_lost = see_lost(another, &byte);
}

/* Its own faults are served, but by no deferred source: that would run on top of
 * it, in the handler. */
static void deferred(void)
{
	struct bez_source from = bez_source_deferred(fill, NULL, 1000000000);

	begin(3, 0);
	another = live_pages(1);
	live_region(another, page, &from, "another");
	live_poison(another);
	then = meets_another;
	live_poison(at + page);
	CHECK_EQ(touch(1), 1);
	wait_for(1);
	CHECK_EQ(fills, 0);
	CHECK_EQ(was_lost, 1);
	CHECK_EQ(see_event(another).why, BEZ_OUTCOME_SOURCE_WORKER);
	CHECK_EQ(live_read(another), 1);
	CHECK_EQ(fills, 1);
}

static _Atomic int stoppers[2];		/* tids of who calls bez_stop() */
static int forked, started;

/* The child is as if nobody had begun to stop anything. */
static int child(void)
{
	bez_region_t r;

	tap_apart();
	alarm(20 * tap_patience());
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(add(at, 3, &r), 0);
	CHECK_EQ(bez_region_remove(r), 0);
	CHECK_EQ(bez_stop(), 0);
	return 33;
}

static void while_stopped(const struct bez_lost *lost)
{
	int status;
	pid_t pid;

	removed = bez_region_remove(lost->region);
	sem_post(&entered);
	while (!stoppers[0] || !stoppers[1] || !live_sleeps(stoppers[0]) ||
	       !live_sleeps(stoppers[1]))
		sched_yield();
	stopped = bez_stop();
	started = bez_start(NULL);
	pid = fork();
	if (!pid)
		_exit(child());
	forked = waitpid(pid, &status, 0) == pid ? status : -1;
}

static void *stops_too(void *arg)
{
	stoppers[1] = (int)syscall(SYS_gettid);
	*(int *)arg = bez_stop();
	return NULL;
}

/* bez_stop() waits for the call, and that may do what it likes meanwhile. */
static void stop_waits(void)
{
	pthread_t thread;
	int r = 1, r2;

	begin(3, 0);
	sem_init(&entered, 0, 0);
	then = while_stopped;
	live_poison(at + page);
	CHECK_EQ(touch(1), 1);
	sem_wait(&entered);
	CHECK_EQ(pthread_create(&thread, NULL, stops_too, &r), 0);
	while (!stoppers[1])
		sched_yield();
	stoppers[0] = (int)syscall(SYS_gettid);
	r2 = bez_stop();
	CHECK_EQ(pthread_join(thread, NULL), 0);
	/* one of them, and the other came too late */
	CHECK_EQ(r + r2, -ESRCH);
	CHECK(!r || !r2);
	CHECK_EQ(removed, 0);
	CHECK_EQ(stopped, -EDEADLK);
	CHECK_EQ(started, -EALREADY);
	CHECK_EQ(forked, 33 << 8);
	CHECK_EQ(count, 1);
	see_start(0);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------- a child made on top of who stops it */

static _Atomic int forks, registered, early;
static int ended[2], is_child, added;

/* While it is being stopped. */
static void *adds(void *arg)
{
	bez_region_t r;

	added = add(at, 3, &r);
	return arg;
}

/* In a handler of the program's, which the child returns from. */
static void forks_here(int sig)
{
	int status, i = (int)syscall(SYS_gettid) != stoppers[0];
	pthread_t thread;
	pid_t pid;

	(void)sig;
	pid = fork();
	if (!pid) {
		tap_apart();
		alarm(20 * tap_patience());
		is_child = 1;
		if (i)
			return;
		CHECK_EQ(pthread_create(&thread, NULL, adds, NULL), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
		CHECK_EQ(added, -ESRCH);
		return;
	}
	ended[i] = waitpid(pid, &status, 0) == pid ? status : -1;
	atomic_fetch_add(&forks, 1);
}

static void nothing(const struct bez_event *loss, void *arg)
{
	(void)loss;
	(void)arg;
}

static void *registers(void *arg)
{
	*(_Atomic int *)arg = (int)syscall(SYS_gettid);
	CHECK_EQ(bez_shutdown_hook(nothing, NULL), 0);
	registered = 1;
	return NULL;
}

static _Atomic int forking;

/* Whoever wants one of the locks has to wait now. */
static void while_forking(void)
{
	static _Atomic int tid;
	pthread_t thread;

	if (!forking)
		return;
	tid = registered = 0;
	CHECK_EQ(pthread_create(&thread, NULL, registers, (void *)&tid), 0);
	CHECK_EQ(pthread_detach(thread), 0);
	while (!registered && !(tid && live_sleeps(tid)))
		sched_yield();
	early += registered;
}

static void fork_on_top(const struct bez_lost *lost)
{
	int i;

	removed = bez_region_remove(lost->region);
	sem_post(&entered);
	while (!stoppers[0] || !stoppers[1] || !live_sleeps(stoppers[0]) ||
	       !live_sleeps(stoppers[1]))
		sched_yield();
	forking = 1;
	for (i = 0; i < 2; i++) {
		syscall(SYS_tgkill, getpid(), stoppers[i], SIGUSR1);
		while (forks <= i)
			sched_yield();
		while (!registered)
			sched_yield();
	}
	forking = 0;
}

static int stop_or_end(void)
{
	int r = bez_stop();

	if (is_child)
		_exit(r ? 1 : 33);
	return r;
}

/* The second. */
static void *ends_too(void *arg)
{
	while (!stoppers[0] || !live_sleeps(stoppers[0]))
		sched_yield();
	stoppers[1] = (int)syscall(SYS_gettid);
	*(int *)arg = stop_or_end();
	return NULL;
}

/* The child of who stops the library goes on with that, and that of who waits for
 * another's stop with its own. */
static void stop_forks(void)
{
	pthread_t thread;
	int r = 1, r2;

	CHECK_EQ(pthread_atfork(while_forking, NULL, NULL), 0);
	CHECK(signal(SIGUSR1, forks_here) != SIG_ERR);
	begin(3, 0);
	sem_init(&entered, 0, 0);
	then = fork_on_top;
	live_poison(at + page);
	CHECK_EQ(touch(1), 1);
	sem_wait(&entered);
	CHECK_EQ(pthread_create(&thread, NULL, ends_too, &r), 0);
	stoppers[0] = (int)syscall(SYS_gettid);
	r2 = stop_or_end();
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(r + r2, -ESRCH);
	CHECK_EQ(ended[0], 33 << 8);
	CHECK_EQ(ended[1], 33 << 8);
	CHECK_EQ(early, 0);
	see_start(0);
	CHECK_EQ(bez_stop(), 0);
}

/* What the kernel says in advance is told before anybody touches it. */
static void in_advance(void)
{
	begin(3, 0);
	live_poison(at + page);
	see_report(at + page, BUS_MCEERR_AO, 12);
	wait_for(1);
	CHECK(said[0].addr == at + page);
	CHECK_EQ(said[0].cause, BEZ_CAUSE_POISON_AO);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEGRADED), 1);
	CHECK_EQ(touch(1), 1);
	CHECK_EQ(count, 1);
}

static void waits(const struct bez_lost *lost)
{
	(void)lost;
	sem_post(&entered);
	sem_wait(&may_go);
}

static void *remover(void *arg)
{
	*(int *)arg = bez_region_remove(region);
	return NULL;
}

/* A removal waits for the call: what it is passed may be freed then. */
static void removal_waits(void)
{
	pthread_t thread;
	struct timespec end;
	int r = 1;

	begin(3, 0);
	sem_init(&entered, 0, 0);
	sem_init(&may_go, 0, 0);
	then = waits;
	live_poison(at + page);
	CHECK_EQ(touch(1), 1);
	sem_wait(&entered);
	CHECK_EQ(pthread_create(&thread, NULL, remover, &r), 0);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += 300000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	CHECK_EQ(pthread_timedjoin_np(thread, NULL, &end), ETIMEDOUT);
	sem_post(&may_go);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(r, 0);
	CHECK_EQ(count, 1);
}

static void needs(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	begin(3, BEZ_START_NO_WORKER);
	CHECK_EQ(add(at, 3, &r), -EINVAL);
	CHECK_EQ(bez_stop(), 0);
	see_start(0);
	policy.on_lost = on_lost;
	CHECK_EQ(bez_region_add(at, 3 * page, &policy, &r), -EINVAL);
	CHECK_EQ(add(at, 3, &r), 0);
}

static const struct tap_case cases[] = {
	{ .name = "once for each, in order", .run = once_in_order,
	  .timeout_s = 180 },
	{ .name = "losses of four threads, in order",
	  .run = in_order_of_threads },
	{ .name = "in order, where a place is used again",
	  .run = places_again },
	{ .name = "it may clear what was lost", .run = may_clear },
	{ .name = "it may remove the region", .run = may_remove },
	{ .name = "a deferred source is not for it", .run = deferred },
	{ .name = "a stop waits for it", .run = stop_waits, .timeout_s = 30 },
	{ .name = "a fork on top of a stop", .run = stop_forks,
	  .timeout_s = 60 },
	{ .name = "a removal waits for it", .run = removal_waits },
	{ .name = "an early notice", .run = in_advance },
	{ .name = "it needs degrade and a worker", .run = needs },
};

TAP_MAIN(cases)
