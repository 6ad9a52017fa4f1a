/* SPDX-License-Identifier: MIT */
/* A shutdown while other threads are stuck or lose pages themselves, and in
 * children. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shutdown_help.h"

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static int fill_for_ever(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)len;
	(void)offset;
	(void)arg;
	atomic_fetch_add(&told->waiting, 1);
	while (dst)
		sched_yield();
	return -EIO;
}

/* One spins in the handler, in a source; one waits for a lock. */
static void *in_source(void *lost)
{
	CHECK_EQ(bez_thread_attach(), 0);
	live_read(lost);
	return NULL;
}

static void *in_lock(void *arg)
{
	(void)arg;
	atomic_fetch_add(&told->waiting, 1);
	pthread_mutex_lock(&held);
	return NULL;
}

static void stuck(void)
{
	struct bez_source from = bez_source_callback(fill_for_ever, NULL);
	unsigned char *other = live_pages(1);
	pthread_t t;

	begin(NULL);
	add(hook, 1);
	live_region(other, page, &from, "other");
	live_poison(other);
	pthread_mutex_lock(&held);
	CHECK_EQ(pthread_create(&t, NULL, in_source, other), 0);
	CHECK_EQ(pthread_create(&t, NULL, in_lock, NULL), 0);
	while (atomic_load(&told->waiting) < 2)
		sched_yield();
	lose();
}

static void others_are_stuck(void)
{
	int status;

	prepare();
	status = end_of(stuck);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	CHECK_EQ(told->hooks, 1);
	expect_records(BEZ_OUTCOME_SHUTDOWN);
}

/* The worker does not come back from a source: there is nobody for the hooks. */
static void worker_is_stuck(void)
{
	struct bez_source from = bez_source_deferred(fill_for_ever, NULL,
						     1000000);
	struct bez_options options = BEZ_OPTIONS_INIT;
	unsigned char *other = live_pages(1);

	CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR);
	options.shutdown_ns = 20000000;
	begin(&options);
	add(hook, 1);
	live_region(other, page, &from, "other");
	live_poison(other);
	/* until it was not taken back before the worker came to it */
	do
		CHECK_EQ(bez_recover(other, page), -EFAULT);
	while (!atomic_load(&told->waiting));
	lose();
}

static void busy_worker(void)
{
	struct bez_record r;
	int status;

	prepare();
	status = end_of(worker_is_stuck);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	CHECK_EQ(told->hooks, 0);
	/* behind those of the other page */
	lseek(records, -2 * (off_t)sizeof(r), SEEK_END);
	expect_record(records, BEZ_OUTCOME_SHUTDOWN_BEGUN, &r);
	expect_record(records, BEZ_OUTCOME_SHUTDOWN_LATE, &r);
}

static _Atomic int second_tid;

/* Goes on only when the second thread has met its loss and sleeps, or has met it
 * again. */
static void hook_waits(const struct bez_event *loss, void *arg)
{
	uint64_t losses;

	hook(loss, arg);
	atomic_store(&told->go, 1);
	do {
		sched_yield();
		losses = bez_outcome_count(BEZ_OUTCOME_SHUTDOWN_WAITS);
	} while (losses < 3 && !(losses == 1 && live_sleeps(second_tid)));
	atomic_store(&told->waiting, losses);
}

static void *second_loss(void *arg)
{
	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	second_tid = (int)syscall(SYS_gettid);
	while (!atomic_load(&told->go))
		sched_yield();
	live_read(at + page);
	_exit(4);
}

static void two_losses(void)
{
	pthread_t t;

	begin(NULL);
	add(hook_waits, 1);
	add(hook, 2);
	live_poison(at + page);
	CHECK_EQ(pthread_create(&t, NULL, second_loss, NULL), 0);
	lose();
}

static void second(void)
{
	struct bez_record r;
	int status;

	prepare();
	status = end_of(two_losses);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%x",
	       status);
	CHECK_EQ(told->hooks, 12);
	CHECK_EQ(told->waiting, 1);
	lseek(records, 0, SEEK_SET);
	expect_record(records, BEZ_OUTCOME_SHUTDOWN_BEGUN, &r);
	expect_record(records, BEZ_OUTCOME_SHUTDOWN_WAITS, &r);
	expect_record(records, BEZ_OUTCOME_SHUTDOWN, &r);
}

static void touches(const struct bez_lost *lost, void *arg)
{
	(void)lost;
	(void)arg;
	live_read(at + 7);
	_exit(4);
}

/* It tells of another loss, and runs into this one. */
static void on_the_worker(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_options options = BEZ_OPTIONS_INIT;
	unsigned char *other = live_pages(1);
	bez_region_t region;

	options.shutdown_ns = 600000000000;	/* not waited for */
	begin(&options);
	add(hook, 1);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.on_lost = touches;
	CHECK_EQ(bez_region_add(other, page, &policy, &region), 0);
	live_poison(other);
	live_poison(at);
	CHECK_EQ(bez_recover(other, page), -EFAULT);
	for (;;)
		pause();
}

static void worker_meets_it(void)
{
	struct bez_record r;
	int status;

	prepare();
	status = end_of(on_the_worker);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%x",
	       status);
	CHECK_EQ(told->hooks, 0);
	/* that of the other page may come between, or behind */
	CHECK_EQ(pread(records, &r, sizeof(r),
		       lseek(records, 0, SEEK_END) - (off_t)sizeof(r)),
		 sizeof(r));
	lseek(records, (r.outcome == BEZ_OUTCOME_DEGRADED ? -2 : -1) *
		       (off_t)sizeof(r), SEEK_END);
	expect_record(records, BEZ_OUTCOME_SHUTDOWN_BARE, &r);
	CHECK_EQ(r.tid, told->worker);
}

#define MANY	300			/* more than can be inside at once */

/* Asleep: hundreds that yield take each other's time. */
static void wait_for_go(void)
{
	while (!atomic_load(&told->go))
		syscall(SYS_futex, &told->go, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static void *waits_too(void *how)
{
	CHECK_EQ(bez_thread_attach(), 0);
	wait_for_go();
	if (!how)
		live_read(at + page);
	/* no room for a second: on a busy machine */
	while (how && bez_recover(at + page, page) == -EBUSY)
		continue;
	_exit(4);
}

/* Goes on only when each of them has met its loss. */
static void hook_for_all(const struct bez_event *loss, void *arg)
{
	hook(loss, arg);
	atomic_store(&told->go, 1);
	syscall(SYS_futex, &told->go, FUTEX_WAKE, MANY, NULL, NULL, 0);
	while (bez_outcome_count(BEZ_OUTCOME_SHUTDOWN_WAITS) < MANY)
		sched_yield();
}

static void many_losses(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	uintptr_t i;
	pthread_t t;

	options.shutdown_ns = 10000000000 * tap_patience();
	options.record_rate = 1;
	begin(&options);
	add(hook_for_all, 1);
	add(hook, 2);
	live_poison(at + page);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(pthread_create(&t, NULL, waits_too,
					tap_data() ? (void *)1 : NULL), 0);
	lose();
}

/* More threads than there are slots wait, and the hooks run all the same. */
static void more_than_slots(void)
{
	struct bez_record r;
	int status, ends = 0;

	prepare();
	status = end_of(many_losses);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%x",
	       status);
	lseek(records, 0, SEEK_SET);
	while (read(records, &r, sizeof(r)) == sizeof(r))
		ends += r.outcome == BEZ_OUTCOME_SHUTDOWN;
	/* who waits counts first, and writes then: that may come behind */
	CHECK_EQ(ends, 1);
	CHECK_EQ(told->hooks, 12);
}

/* A child of vfork(2) shares all of this, and dies alone. */
static void in_vfork(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	int status;
	pid_t pid;

	options.shutdown_ns = 10000000000 * tap_patience();
	begin(&options);
	add(hook, 1);
	live_poison(at);
	live_poison(at + page);
	atomic_store(&told->former, (uint32_t)getpid());
	pid = vfork();
	if (!pid) {
		atomic_store(&told->waiting, (uint32_t)getpid());
		live_read(at);
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) ||
	    atomic_load(&told->hooks))
		_exit(5);
	/* its end was not ours: now comes ours */
	live_read(at + page);
	_exit(1);
}

/* Two records, and of that process. */
static void expect_end_of(uint64_t pid, uint32_t flags, uint32_t outcome)
{
	struct bez_record r;

	expect_record(records, BEZ_OUTCOME_SHUTDOWN_BEGUN, &r);
	CHECK_EQ((uint32_t)r.pid, pid);
	CHECK_EQ(r.flags & BEZ_RECORD_BARE_CHILD, flags);
	CHECK_EQ(!r.start_ticks, flags != 0);
	expect_record(records, outcome, &r);
	CHECK_EQ((uint32_t)r.pid, pid);
	CHECK_EQ(r.flags & BEZ_RECORD_BARE_CHILD, flags);
	CHECK_EQ(!r.start_ticks, flags != 0);
}

static void vforked(void)
{
	int status;

	/* its dump ends all who share its memory */
	live_need_linux(5, 16, "dump of core that is one process's alone");
	prepare();
	status = end_of(in_vfork);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%x",
	       status);
	CHECK_EQ(told->hooks, 1);
	lseek(records, 0, SEEK_SET);
	expect_end_of(told->waiting, BEZ_RECORD_BARE_CHILD,
		      BEZ_OUTCOME_SHUTDOWN_BARE);
	expect_end_of(told->former, 0, BEZ_OUTCOME_SHUTDOWN);
}

/* A child of fork(2) has its own end, and its parent goes on. */
static void in_fork(void)
{
	int status;
	pid_t pid;

	begin(NULL);
	add(hook, 1);
	pid = fork();
	if (!pid) {
		CHECK_EQ(bez_thread_attach(), 0);
		lose();
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) ||
	    atomic_load(&told->hooks) != 1)
		_exit(5);
	lose();
}

static void forked(void)
{
	int status;

	prepare();
	status = end_of(in_fork);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "%x",
	       status);
	CHECK_EQ(told->hooks, 11);
}

static const struct tap_case cases[] = {
	{ .name = "other threads are stuck", .run = others_are_stuck },
	{ .name = "the worker is stuck", .run = busy_worker },
	{ .name = "the worker itself meets it", .run = worker_meets_it,
	  .timeout_s = 20 },
	{ .name = "a second loss", .run = second },
	{ .name = "300 more losses", .run = more_than_slots,
	  .timeout_s = 120 },
	{ .name = "300 more losses in bez_recover()", .run = more_than_slots,
	  .timeout_s = 120, .data = "" },
	{ .name = "a child of vfork", .run = vforked },
	{ .name = "a child of fork", .run = forked },
};
TAP_MAIN(cases)
