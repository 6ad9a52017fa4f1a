/* SPDX-License-Identifier: MIT */
/*
 * bez_thread_attach() and detach: what a thread gets, gives back, and
 * survives with it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "chain_help.h"

/* Run @fn in a thread of its own; started already. */
static void in_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, fn, arg), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static stack_t stack_now(void)
{
	stack_t stack;

	CHECK_EQ(sigaltstack(NULL, &stack), 0);
	return stack;
}

static uint32_t attached(void)
{
	struct bez_status status = { .size = sizeof(status) };

	CHECK_EQ(bez_status(&status), 0);
	return status.threads;
}

static int bus_is_blocked(void)
{
	return (chain_mask() >> (SIGBUS - 1)) & 1;
}

static void block_bus(void)
{
	sigset_t bus;

	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &bus, NULL);
}

/* ------------------------------------------------------------------ stacks */

static void *given_and_taken(void *arg)
{
	stack_t stack;

	(void)arg;
	CHECK(stack_now().ss_flags & SS_DISABLE);
	CHECK_EQ(bez_thread_attach(), 0);
	stack = stack_now();
	CHECK_EQ(stack.ss_flags, 0);
	CHECK(stack.ss_size >= 32768);
	/* all of it is there */
	memset(stack.ss_sp, 0x11, stack.ss_size);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK(stack_now().ss_flags & SS_DISABLE);
	/* and it is gone */
	CHECK(msync(stack.ss_sp, live_page(), MS_ASYNC) && errno == ENOMEM);
	return NULL;
}

static void *former_restored(void *arg)
{
	stack_t small = { .ss_sp = arg, .ss_size = 8192 }, now;

	CHECK_EQ(sigaltstack(&small, NULL), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK(stack_now().ss_sp != arg);
	CHECK_EQ(bez_thread_detach(), 0);
	now = stack_now();
	CHECK(now.ss_sp == arg);
	CHECK_EQ(now.ss_size, small.ss_size);
	CHECK_EQ(now.ss_flags, 0);
	return NULL;
}

static void *larger_kept(void *arg)
{
	stack_t large = { .ss_sp = arg, .ss_size = 1 << 20 };

	CHECK_EQ(sigaltstack(&large, NULL), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK(stack_now().ss_sp == arg);
	CHECK_EQ(stack_now().ss_size, large.ss_size);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK(stack_now().ss_sp == arg);
	return NULL;
}

/* The thread has set another one meanwhile: that one stays. */
static void *own_one_stays(void *arg)
{
	stack_t own = { .ss_sp = arg, .ss_size = 1 << 16 };

	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(sigaltstack(&own, NULL), 0);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK(stack_now().ss_sp == arg);
	return NULL;
}

static void stacks(void)
{
	void *(*fn)(void *) = *(void *(*const *)(void *))tap_data();

	live_start(0);
	in_thread(fn, live_pages((1 << 20) / live_page()));
}

/* Below the stack there is nothing that could be overwritten. */
static void guard_page(void)
{
	stack_t stack;

	live_start(0);
	stack = stack_now();
	CHECK_EQ(msync((char *)stack.ss_sp - live_page(), live_page(),
		       MS_ASYNC), 0);	/* it is a page of ours */
	*(volatile char *)stack.ss_sp = 1;
	*((volatile char *)stack.ss_sp - 1) = 1;
}

/* ------------------------------------------------------------ signal mask */

static void *mask_put_back(void *arg)
{
	uint64_t mask;

	(void)arg;
	CHECK(!bus_is_blocked());
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK(!bus_is_blocked());
	block_bus();
	mask = chain_mask();
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(chain_mask(), mask & ~(1ull << (SIGBUS - 1)));
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(chain_mask(), mask);
	return NULL;
}

static void mask(void)
{
	live_start(0);
	in_thread(mask_put_back, NULL);
}

static void mask_of_main(void)
{
	block_bus();
	live_start(0);
	CHECK(!bus_is_blocked());
	CHECK_EQ(bez_stop(), 0);
	CHECK(bus_is_blocked());
}

/* ----------------------------------------------------------------- counts */

static void *counts_in_thread(void *arg)
{
	uint32_t before = attached();
	void *stack;

	(void)arg;
	CHECK_EQ(bez_thread_detach(), -EINVAL);
	CHECK_EQ(bez_thread_attach(), 0);
	stack = stack_now().ss_sp;
	CHECK_EQ(attached(), before + 1);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(attached(), before + 1);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(attached(), before + 1);
	CHECK(stack_now().ss_sp == stack);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(attached(), before);
	CHECK_EQ(bez_thread_detach(), -EINVAL);
	return NULL;
}

static void counts(void)
{
	CHECK_EQ(bez_thread_attach(), -ESRCH);
	CHECK_EQ(bez_thread_detach(), -EINVAL);
	live_start(0);
	in_thread(counts_in_thread, NULL);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(bez_thread_detach(), -EINVAL);
}

static int mappings(void)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");
	int n = 0;

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		n++;
	fclose(f);
	return n;
}

static void *just_attach(void *arg)
{
	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	return NULL;
}

static void exit_detaches(void)
{
	uint32_t before;
	int i, maps;

	live_start(0);
	before = attached();
	for (i = 0; i < 5; i++)
		in_thread(just_attach, NULL);
	maps = mappings();
	for (i = 0; i < 100; i++)
		in_thread(just_attach, NULL);
	CHECK_EQ(attached(), before);
	CHECK_EQ(mappings(), maps);
}

/* Threads that outlive bez_stop() detach themselves. */
static _Atomic int stage;

static void *outlives(void *arg)
{
	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	atomic_store(&stage, 1);
	while (atomic_load(&stage) != 2)
		sched_yield();
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK(stack_now().ss_flags & SS_DISABLE);
	return NULL;
}

static void outlives_stop(void)
{
	pthread_t thread;

	live_start(0);
	CHECK_EQ(pthread_create(&thread, NULL, outlives, NULL), 0);
	while (atomic_load(&stage) != 1)
		sched_yield();
	CHECK_EQ(bez_stop(), 0);
	atomic_store(&stage, 2);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	live_start(0);
	CHECK_EQ(attached(), 2);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------- on the alternate stack */

static volatile int answer = 1;

static void attach_here(int sig)
{
	(void)sig;
	answer = bez_thread_attach();
}

static void *on_the_stack(void *arg)
{
	struct sigaction action = { .sa_handler = attach_here,
				    .sa_flags = SA_ONSTACK };
	stack_t stack = { .ss_sp = arg, .ss_size = 1 << 20 };

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	raise(SIGUSR1);
	CHECK_EQ(answer, -EPERM);
	return NULL;
}

static int attaches(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)arg;
	(void)offset;
	live_fill(dst, len, 0);
	answer = bez_thread_attach();
	return bez_thread_detach() == -EDEADLK && bez_stop() == -EDEADLK &&
	       bez_start(NULL) == -EDEADLK ? 0 : -1;
}

static void not_in_a_handler(void)
{
	struct bez_source from = bez_source_callback(attaches, NULL);
	unsigned char *at = live_pages(1);

	chain_start();
	live_region(at, live_page(), &from, "page");
	live_poison(at);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
	CHECK_EQ(answer, -EDEADLK);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
}

/* ------------------------------------------------- a page of its own stack */

#define STACK_PAGES 64
#define DOWN_PAGES 16

static _Atomic(unsigned char *) stack_at;	/* where the thread stands */
static _Atomic int lost;

/* Stands deep down its stack, without touching it, while the page it stands
 * on is lost; then goes on. */
static __attribute__((noinline)) unsigned int stand(void)
{
	volatile unsigned char deep[DOWN_PAGES * 4096];
	volatile unsigned char *at = deep;
	unsigned int i, sum = 0;

	for (i = 0; i < sizeof(deep); i++)
		at[i] = (unsigned char)i;
	atomic_store(&stack_at, (unsigned char *)__builtin_frame_address(0) -
				sizeof(deep) / 2);
	while (!atomic_load(&lost))
		continue;
	for (i = 0; i < sizeof(deep); i++)
		sum += at[i];
	return sum;
}

static void *stand_on_lost_page(void *arg)
{
	if (arg)
		CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(stand(), DOWN_PAGES * 4096 / 256 * (255 * 256 / 2));
	return NULL;
}

/* Lose the pages around and below where the thread stands: the signal frame
 * would have to go there. */
static void own_stack(void)
{
	const int *attach = tap_data();
	unsigned char *stack = live_pages(STACK_PAGES), *low, *high, *p;
	unsigned char *copy = live_pages(STACK_PAGES);
	size_t len = STACK_PAGES * live_page();
	struct bez_source from = bez_source_mirror(copy);
	pthread_attr_t attr;
	pthread_t thread;

	chain_start();
	live_region(stack, len, &from, "stack");
	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstack(&attr, stack, len), 0);
	CHECK_EQ(pthread_create(&thread, &attr, stand_on_lost_page,
				*attach ? (void *)attach : NULL), 0);
	while (!atomic_load(&stack_at))
		sched_yield();
	memcpy(copy, stack, len);
	/* from its frame down, and not the thread's own block at the top */
	high = (unsigned char *)((uint64_t)atomic_load(&stack_at) &
				 -live_page());
	low = high - (DOWN_PAGES / 2 + 4) * live_page();
	CHECK(low >= stack);
	for (p = low; p <= high; p += live_page())
		live_poison(p);
	atomic_store(&lost, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(bez_outcome_count(BEZ_OUTCOME_REPLACED) >= DOWN_PAGES / 2);
}

/* ---------------------------------------------------------- early notices */

static int kill_policy(void)
{
	return prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
}

static volatile int worker_policy = -1, worker_tid;

static int ask_worker(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	worker_policy = kill_policy();
	worker_tid = (int)syscall(SYS_gettid);
	live_fill(dst, len, 0);
	return 0;
}

static void *thread_policy(void *arg)
{
	int want = *(const int *)arg;

	/* inherited from a thread that is attached; a thread's own choice */
	CHECK_EQ(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(kill_policy(), want);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(kill_policy(), PR_MCE_KILL_DEFAULT);

	CHECK_EQ(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0),
		 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(kill_policy(), PR_MCE_KILL_EARLY);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(kill_policy(), PR_MCE_KILL_EARLY);
	return NULL;
}

static void early_goes_to_the_worker(void)
{
	uint32_t flags = *(const uint32_t *)tap_data();
	struct bez_source from =
		bez_source_deferred(ask_worker, NULL, 20000000000u);
	struct bez_status status = { .size = sizeof(status) };
	unsigned char *at = live_pages(1);
	bez_region_t region;
	int late = flags ? PR_MCE_KILL_DEFAULT : PR_MCE_KILL_LATE;

	CHECK_EQ(kill_policy(), PR_MCE_KILL_DEFAULT);
	live_start(flags);
	CHECK_EQ(bez_status(&status), 0);
	CHECK_EQ(kill_policy(), late);
	in_thread(thread_policy, &late);
	/* first: in a region the worker replaces it before live_poison() has
	 * seen that it is lost, and it would be lost again and again */
	live_poison(at);
	region = live_region(at, live_page(), &from, "page");
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
	CHECK_EQ(worker_tid, status.worker_tid);
	CHECK_EQ(worker_policy, flags ? PR_MCE_KILL_DEFAULT :
					PR_MCE_KILL_EARLY);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(kill_policy(), PR_MCE_KILL_DEFAULT);
}

static const uint32_t early = 0, no_early = BEZ_START_NO_EARLY_KILL;
static const int with = 1, without = 0;
static void *(*const fn_given)(void *) = given_and_taken;
static void *(*const fn_former)(void *) = former_restored;
static void *(*const fn_larger)(void *) = larger_kept;
static void *(*const fn_own)(void *) = own_one_stays;

static void attach_on_the_stack(void)
{
	live_start(0);
	in_thread(on_the_stack, live_pages((1 << 20) / live_page()));
}

static const struct tap_case cases[] = {
	{ .name = "stack: given and taken", .run = stacks, .data = &fn_given },
	{ .name = "stack: former restored", .run = stacks,
	  .data = &fn_former },
	{ .name = "stack: larger kept", .run = stacks, .data = &fn_larger },
	{ .name = "stack: thread's own stays", .run = stacks,
	  .data = &fn_own },
	{ .name = "stack: guard page", .run = guard_page,
	  .want_signal = SIGSEGV },
	{ .name = "mask put back", .run = mask },
	{ .name = "mask of the starting thread", .run = mask_of_main },
	{ .name = "counts", .run = counts },
	{ .name = "exit detaches", .run = exit_detaches },
	{ .name = "outlives stop", .run = outlives_stop },
	{ .name = "not on the alternate stack", .run = attach_on_the_stack },
	{ .name = "not in a handler", .run = not_in_a_handler },
	{ .name = "own stack is lost", .run = own_stack, .data = &with },
	/* the kernel has nowhere to put the frame */
	{ .name = "own stack is lost, not attached", .run = own_stack,
	  .data = &without, .want_signal = SIGSEGV },
	{ .name = "early notice", .run = early_goes_to_the_worker,
	  .data = &early },
	{ .name = "early notice not asked for",
	  .run = early_goes_to_the_worker, .data = &no_early },
};
TAP_MAIN(cases)
