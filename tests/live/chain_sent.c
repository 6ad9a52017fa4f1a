/* SPDX-License-Identifier: MIT */
/*
 * SIGBUS that somebody sent is about no memory: the former handler gets it,
 * once, as it was sent; while a page is being repaired, afterwards.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "chain_help.h"

static volatile int calls, filling, called_while_filling, page_was_good;
static volatile int called_in;		/* a thread */
static siginfo_t seen;
static unsigned char *page;
static char marker;			/* its address is the value sent */

static void former(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (!calls++)
		seen = *info;
	called_while_filling |= filling;
	called_in = (int)syscall(SYS_gettid);
	if (page)
		page_was_good = live_read(page) == live_byte(0, 0);
}

static void install(void)
{
	struct sigaction action = { .sa_sigaction = former,
				    .sa_flags = SA_SIGINFO };

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
}

/* ---- the ways to send: each returns when it is on its way */

static void by_kill(void)
{
	kill(getpid(), SIGBUS);
}

static void by_tgkill(void)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGBUS);
}

static void by_raise(void)
{
	raise(SIGBUS);
}

static void by_sigqueue(void)
{
	union sigval value = { .sival_ptr = &marker };

	sigqueue(getpid(), SIGBUS, value);
}

static int was_called(void *arg)
{
	(void)arg;
	return calls > 0 || filling;
}

static void by_timer(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
				  .sigev_signo = SIGBUS,
				  .sigev_value = { .sival_ptr = &marker } };
	struct itimerspec soon = { .it_value = { 0, 1 } };
	timer_t timer;

	if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &soon, NULL))
		_exit(97);
	if (filling) {
		/* it is held: our own count says that it came */
		while (!bez_outcome_count(BEZ_OUTCOME_FOREIGN))
			continue;
	}
	chain_until(was_called, NULL, "the timer's signal");
	timer_delete(timer);
}

struct way {
	void (*send)(void);
	int code;
	int with_value, with_pid;
};

static void check_seen(const struct way *way)
{
	CHECK_EQ(calls, 1);
	CHECK_EQ(seen.si_signo, SIGBUS);
	CHECK_EQ(seen.si_code, way->code);
	if (way->with_pid) {
		CHECK_EQ(seen.si_pid, getpid());
		CHECK_EQ(seen.si_uid, getuid());
	}
	if (way->with_value)
		CHECK_EQ((long)seen.si_value.sival_ptr, (long)&marker);
}

static void idle(void)
{
	const struct way *way = tap_data();
	struct bez_event event;
	uint64_t seq = 0;

	install();
	chain_start();
	way->send();
	check_seen(way);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 1);
	CHECK_EQ(bez_events(&seq, &event, 1), 1);
	CHECK_EQ(event.cause, BEZ_CAUSE_SENT);
	CHECK_EQ(event.addr, 0);
	CHECK_EQ(event.si_code, way->code);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------------- while repairing */

static int sends_and_fills(void *dst, size_t len, uint64_t offset, void *arg)
{
	const struct way *way = arg;

	(void)offset;
	filling = 1;
	way->send();
	way->send();			/* the kernel keeps one, and so do we */
	live_fill(dst, len, 0);
	filling = 0;
	return 0;
}

static void while_repairing(void)
{
	struct bez_source from =
		bez_source_callback(sends_and_fills, (void *)(uint64_t)
				    tap_data());
	uint64_t mask = chain_mask();

	install();
	chain_start();
	page = live_pages(1);
	live_poison(page);
	live_region(page, live_page(), &from, "page");
	CHECK_EQ(chain_load(page + 100), live_byte(100, 0));
	check_seen(tap_data());
	CHECK(!called_while_filling);
	CHECK(page_was_good);
	CHECK_EQ(chain_mask(), mask);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEFAULT), 0);
}

/* The same, when a handler stands before us that blocks SIGBUS. */
static struct sigaction ours;
static volatile int calls_in_later;

static void later(int sig, siginfo_t *info, void *context)
{
	ours.sa_sigaction(sig, info, context);
	calls_in_later = calls;
}

static void while_repairing_later(void)
{
	struct bez_source from =
		bez_source_callback(sends_and_fills, (void *)(uint64_t)
				    tap_data());
	struct sigaction action = { .sa_sigaction = later,
				    .sa_flags = SA_SIGINFO };
	uint64_t mask = chain_mask();

	install();
	chain_start();
	page = live_pages(1);
	live_poison(page);
	live_region(page, live_page(), &from, "page");
	CHECK_EQ(sigaction(SIGBUS, &action, &ours), 0);
	CHECK_EQ(chain_load(page + 100), live_byte(100, 0));
	check_seen(tap_data());
	CHECK(!called_while_filling);
	CHECK_EQ(chain_mask(), mask);
}

/* ------------------------------------------------ while the worker repairs */

enum whom { WAITER, WORKER, PROCESS };

struct sent {
	enum whom whom;
	int code;			/* SI_USER, SI_TKILL or SI_QUEUE */
};

static void send_one(const struct sent *sent)
{
	int tid = sent->whom == WORKER ? (int)syscall(SYS_gettid) : getpid();
	siginfo_t info = { .si_signo = SIGBUS, .si_code = SI_QUEUE };

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = &marker;
	if (sent->whom == PROCESS && sent->code == SI_USER)
		by_kill();
	else if (sent->whom == PROCESS)
		by_sigqueue();
	else if (sent->code == SI_TKILL)
		syscall(SYS_tgkill, getpid(), tid, SIGBUS);
	else
		syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGBUS, &info);
}

/* Runs on the worker. Each has come before the next is sent, and both before
 * the page is there. */
static int sends_on_the_worker(void *dst, size_t len, uint64_t offset,
			       void *arg)
{
	uint64_t n;

	(void)offset;
	filling = 1;
	for (n = 1; n <= 2; n++) {
		send_one(arg);
		while (bez_outcome_count(BEZ_OUTCOME_FOREIGN) < n)
			continue;
	}
	live_fill(dst, len, 0);
	filling = 0;
	return 0;
}

static int was_called_at_all(void *arg)
{
	(void)arg;
	return calls > 0;
}

static void while_the_worker_repairs(void)
{
	const struct sent *sent = tap_data();
	const struct way way = { .code = sent->code, .with_pid = 1,
				 .with_value = sent->code == SI_QUEUE };
	struct bez_source from =
		bez_source_deferred(sends_on_the_worker,
				    (void *)(uint64_t)sent, 30000000000ull);
	struct bez_status status = { .size = sizeof(status) };
	uint64_t mask = chain_mask();
	unsigned char *lost = live_pages(1);
	bez_region_t region;

	install();
	chain_start();
	/* on the worker it may come before the page is in its place */
	page = sent->whom == WORKER ? NULL : lost;
	live_poison(lost);
	region = live_region(lost, live_page(), &from, "page");
	CHECK_EQ(chain_load(lost + 100), live_byte(100, 0));
	chain_until(was_called_at_all, NULL, "the former action is called");
	CHECK_EQ(bez_status(&status), 0);
	CHECK_EQ(called_in, sent->whom == WORKER ? status.worker_tid : getpid());
	CHECK(!called_while_filling);
	CHECK(page_was_good || !page);
	CHECK_EQ(chain_mask(), mask);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
	/* the worker ends when it has done all that was for it */
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
	check_seen(&way);
}

/* Many threads' worth of noise costs no slot and no memory. */
static void many(void)
{
	int i;

	install();
	chain_start();
	for (i = 0; i < 2000; i++)
		raise(SIGBUS);
	CHECK_EQ(calls, 2000);
	page = live_pages(1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 2000);
	CHECK_EQ(bez_stop(), 0);
}

static const struct way ways[] = {
	{ by_kill, SI_USER, 0, 1 },
	{ by_tgkill, SI_TKILL, 0, 1 },
	{ by_raise, SI_TKILL, 0, 1 },
	{ by_sigqueue, SI_QUEUE, 1, 1 },
	{ by_timer, SI_TIMER, 1, 0 },
};

#define EACH(what, fn)						\
	{ .name = what ": kill", .run = fn, .data = &ways[0] },		\
	{ .name = what ": tgkill", .run = fn, .data = &ways[1] },	\
	{ .name = what ": raise", .run = fn, .data = &ways[2] },	\
	{ .name = what ": sigqueue", .run = fn, .data = &ways[3] },	\
	{ .name = what ": timer", .run = fn, .data = &ways[4] }

#define DEFERRED(to, whom, code)					\
	{ .name = "sent during a deferred repair, " to,			\
	  .run = while_the_worker_repairs,				\
	  .data = &(const struct sent){ whom, code } }

static const struct tap_case cases[] = {
	EACH("sent", idle),
	EACH("sent during a repair", while_repairing),
	EACH("sent during a repair, later handler", while_repairing_later),
	DEFERRED("to who waits: tgkill", WAITER, SI_TKILL),
	DEFERRED("to who waits: sigqueue", WAITER, SI_QUEUE),
	DEFERRED("to the worker: tgkill", WORKER, SI_TKILL),
	DEFERRED("to the worker: sigqueue", WORKER, SI_QUEUE),
	DEFERRED("to the process: kill", PROCESS, SI_USER),
	DEFERRED("to the process: sigqueue", PROCESS, SI_QUEUE),
	{ .name = "sent two thousand times", .run = many },
};
TAP_MAIN(cases)
