/* SPDX-License-Identifier: MIT */
/*
 * Calls where they may not be made, or only just: on the alternate stack, from
 * the former action, from a handler that interrupted another call. An answer
 * each time, never a wait for oneself, and nothing has changed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

static size_t page;

static struct bez_status status(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

/* ------------------------------------------------------------------ threads */

static int on_altstack;

static void on_signal(int sig)
{
	(void)sig;
	on_altstack = bez_thread_attach();
}

static void *not_attached(void *arg)
{
	struct sigaction action = { .sa_handler = on_signal,
				    .sa_flags = SA_ONSTACK };
	stack_t stack = { .ss_size = 65536 };

	(void)arg;
	CHECK_EQ(bez_thread_detach(), -EINVAL);
	/* from a handler on the very stack that it would change */
	stack.ss_sp = malloc(stack.ss_size);
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
	CHECK_EQ(on_altstack, -EPERM);
	CHECK_EQ(status().threads, *(uint32_t *)arg);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(status().threads, *(uint32_t *)arg + 1);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(status().threads, *(uint32_t *)arg + 1);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(bez_thread_detach(), -EINVAL);
	CHECK_EQ(status().threads, *(uint32_t *)arg);
	CHECK_EQ(bez_thread_attach(), 0);	/* undone at its end */
	return NULL;
}

static void thread_calls(void)
{
	uint32_t threads;
	pthread_t thread;

	see_start(0);
	threads = status().threads;
	CHECK_EQ(pthread_create(&thread, NULL, not_attached, &threads), 0);
	pthread_join(thread, NULL);
	CHECK_EQ(status().threads, threads);
}

/* ---------------------------------------------------- what every call says */

static unsigned char *ours, *spare;	/* a region, and a page that is none */
static bez_region_t region;

struct answers {
	int start, stop, attach, detach, add, remove, info;
	int at, events;			/* these work anywhere */
	uint64_t threads, regions;
	int calls;			/* how often all this was asked */
};

static void ask(struct answers *a)
{
	struct bez_region_info info = { .size = sizeof(info) };
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t added = 0, found = 0;
	struct bez_event event;
	uint64_t seq = 0;

	a->start = bez_start(NULL);
	a->attach = bez_thread_attach();
	a->detach = a->attach ? bez_thread_detach() : 0;
	a->add = bez_region_add(spare, page, &policy, &added);
	a->info = bez_region_info(region, &info);
	a->stop = bez_stop();
	a->remove = bez_region_remove(a->add ? region : added);
	a->at = bez_region_at(ours, &found) || found != region;
	a->events = bez_events(&seq, &event, 1) < 0;
	a->threads = status().threads;
	a->regions = status().regions;
	if (!a->attach)
		a->detach = bez_thread_detach();
	a->calls++;
}

static void begin(void)
{
	struct bez_source zero = bez_source_zero();

	page = live_page();
	see_start(0);
	ours = live_pages(1);
	spare = live_pages(1);
	region = live_region(ours, page, &zero, "ours");
}

/* Each call answered, and what was there is there. */
static void answered(const struct answers *a, const struct answers *want)
{
	struct bez_region_info info = { .size = sizeof(info) };

	CHECK_EQ(a->calls, want->calls);
	CHECK_EQ(a->start, want->start);
	CHECK_EQ(a->stop, want->stop);
	CHECK_EQ(a->attach, want->attach);
	CHECK_EQ(a->detach, want->detach);
	CHECK_EQ(a->add, want->add);
	CHECK_EQ(a->remove, want->remove);
	CHECK_EQ(a->info, want->info);
	CHECK_EQ(a->at, 0);
	CHECK_EQ(a->events, 0);
	CHECK_EQ(a->threads, 2);	/* this one and the worker */
	CHECK_EQ(a->regions, 1);
	CHECK_EQ(status().threads, 2);
	CHECK_EQ(status().regions, 1);
	CHECK_EQ(bez_region_info(region, &info), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------------- the former action */

static struct answers seen;
static unsigned char *hit;

static void mends_and_asks(int sig)
{
	(void)sig;
	if (hit)
		CHECK(mmap(hit, page, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			   MAP_ANONYMOUS | MAP_FIXED, -1, 0) == hit);
	ask(&seen);
}

/* bezoar is done with that signal: everything works as in normal code, but
 * what concerns the alternate stack that it runs on. */
static void from_the_former(void)
{
	static const struct answers off = { .start = -EALREADY, .stop = -EBUSY,
					    .calls = 2 },
				    on = { .start = -EALREADY, .stop = -EBUSY,
					   .detach = -EPERM,
					   .calls = 2 };
	const int *flags = tap_data();
	struct sigaction action = { .sa_handler = mends_and_asks,
				    .sa_flags = *flags };

	/* a thread that is attached is only counted once more */
	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	begin();
	raise(SIGBUS);			/* sent */
	hit = live_pages(1);
	live_poison(hit);		/* lost, and in no region */
	CHECK_EQ(live_read(hit + 9), 0);
	answered(&seen, *flags & SA_ONSTACK ? &on : &off);
}

static int stopped = -1;

static void stops(int sig)
{
	(void)sig;
	if (bez_region_remove(region) || stopped >= 0)
		_exit(99);
	stopped = bez_stop();
}

/* Even the end of it all. */
static void stop_in_the_former(void)
{
	struct sigaction action = { .sa_handler = stops }, now;

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	begin();
	raise(SIGBUS);
	CHECK_EQ(stopped, 0);
	CHECK_EQ(sigaction(SIGBUS, NULL, &now), 0);
	CHECK(now.sa_handler == stops);
	CHECK_EQ(status().started, 0);
	CHECK_EQ(bez_start(NULL), 0);
	live_region(ours, page, NULL, "again");
	CHECK_EQ(status().regions, 1);
}

/* The policy itself is lost: the fault is inside bez_region_add(). */
static void former_inside_a_call(void)
{
	static const struct answers want = { .start = -EALREADY,
					     .stop = -EBUSY, .calls = 1 };
	struct sigaction action = { .sa_handler = mends_and_asks };
	bez_region_t none = 7;

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	begin();
	hit = live_pages(1);
	live_poison(hit);
	/* zeros are a policy that is too small */
	CHECK_EQ(bez_region_add(spare, page, (struct bez_policy *)hit, &none),
		 -EINVAL);
	CHECK_EQ(none, 7);
	answered(&seen, &want);
}

/* ---------------------------------------------- while this thread is inside */

static void asks(int sig)
{
	(void)sig;
	ask(&seen);
}

/*
 * fork(2) runs these between ours, with all our locks taken by this thread: so
 * that is where a signal certainly finds it inside.
 */
static void in_fork(void)
{
	if (region)
		raise(SIGUSR1);
}

static void inside(void)
{
	static const struct answers want = {
		.start = -EDEADLK, .stop = -EDEADLK, .attach = -EDEADLK,
		.detach = -EDEADLK, .add = -EDEADLK, .remove = -EDEADLK,
		.info = -EDEADLK, .calls = 2,
	};
	struct sigaction action = { .sa_handler = asks };
	int end = 0;
	pid_t pid;

	/* registered first: called last before, and first after */
	CHECK_EQ(pthread_atfork(in_fork, in_fork, in_fork), 0);
	begin();
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		/* here one thread only; whose worker comes when it attaches */
		CHECK_EQ(seen.calls, 2);
		CHECK(seen.add == -EDEADLK && seen.start == -EDEADLK &&
		      seen.attach == -EDEADLK && seen.remove == -EDEADLK);
		ask(&seen);
		CHECK(!seen.add && !seen.remove && !seen.info && !seen.attach);
		CHECK_EQ(bez_region_remove(region), 0);
		CHECK_EQ(bez_stop(), 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &end, 0), pid);
	CHECKF(WIFEXITED(end) && !WEXITSTATUS(end), "the child: %#x", end);
	answered(&seen, &want);
}

#define CASE(what, function) { .name = what, .run = function, .timeout_s = 20 }

static const struct tap_case cases[] = {
	CASE("threads", thread_calls),
	{ .name = "from the former action", .run = from_the_former,
	  .timeout_s = 20, .data = &(const int){ 0 } },
	{ .name = "from the former action, on the alternate stack",
	  .run = from_the_former, .timeout_s = 20,
	  .data = &(const int){ SA_ONSTACK } },
	CASE("stopped by the former action", stop_in_the_former),
	CASE("from the former action, inside a call", former_inside_a_call),
	CASE("from a handler that interrupted a call", inside),
};
TAP_MAIN(cases)
