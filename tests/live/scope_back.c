/* SPDX-License-Identifier: MIT */
/*
 * The thread after a jump out of a loss is as it was, and what it held is given
 * back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "live.h"
#include "replace_see.h"
#include "scope_help.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)	/* Linux 4.7 */
#endif

/* As the vector unit has it, too: the libc looks at one of them. */
static int rounding(void)
{
#if defined(__x86_64__)
	if ((int)(__builtin_ia32_stmxcsr() >> 13 & 3) != fegetround() >> 10)
		return -1;
#endif
	return fegetround();
}

static void as_it_was(void)
{
	struct bez_lost lost;
	uint64_t mask;
	sigset_t set;
	stack_t stack;
	int i;

	scope_begin("2");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	mask = scope_mask();
	CHECK_EQ(fesetround(FE_UPWARD), 0);
	for (i = 0; i < 2000; i++) {
		errno = 1000 + i;
		CHECK_EQ(scope_left(at + TOUCH, &lost), 1);
		if (errno != 1000 + i || scope_mask() != mask ||
		    rounding() != FE_UPWARD || sigaltstack(NULL, &stack) ||
		    (stack.ss_flags & SS_ONSTACK))
			break;
	}
	CHECK_EQ(errno, 1000 + i - (i == 2000));
	CHECK_EQ(scope_mask(), mask);
	CHECK_EQ(rounding(), FE_UPWARD);
	CHECK_EQ(sigaltstack(NULL, &stack), 0);
	CHECK_EQ(stack.ss_flags & SS_ONSTACK, 0);
	CHECK_EQ(i, 2000);
}

/* Rounding is as it was in the code that is left, and nothing stays on the floating
 * point unit's stack. */
static void floating_point(void)
{
	volatile double third;
	volatile int caught = 0;

	scope_begin("2");
	BEZ_TRY {
		fesetround(FE_TOWARDZERO);
#if defined(__x86_64__)
		__asm__ volatile("fldpi\n\tfldpi\n\tfldpi\n\tfldpi\n\t"
				 "fldpi\n\tfldpi\n\tfldpi\n\tfldpi");
#endif
		live_read(at + TOUCH);
	} BEZ_CATCH(lost) {
		caught = lost->addr != NULL;
	}
	CHECK_EQ(caught, 1);
	CHECK_EQ(rounding(), FE_TOWARDZERO);
	CHECK_EQ(fesetround(FE_TONEAREST), 0);
	third = 1;
#if defined(__x86_64__)
	{
		long double x = 0;

		__asm__ volatile("fld1" : "=t"(x));
		CHECK(x == 1);
	}
#endif
	CHECK(third / 3 > 0.3333 && third / 3 < 0.3334);
}

static void keys(void)
{
	volatile int caught = 0;
	int key;

	scope_begin("2");
	key = pkey_alloc(0, 0);
	if (key < 0)
		tap_skip("no protection keys in this machine (see pku in "
			 "/proc/cpuinfo): %s", strerror(errno));
	BEZ_TRY {
		CHECK_EQ(pkey_set(key, PKEY_DISABLE_WRITE), 0);
		live_read(at + TOUCH);
	} BEZ_CATCH(lost) {
		caught = lost->addr != NULL;
	}
	CHECK_EQ(caught, 1);
	CHECK_EQ(pkey_get(key), PKEY_DISABLE_WRITE);
	BEZ_TRY {
		CHECK_EQ(pkey_set(key, 0), 0);
		live_read(at + TOUCH);
	} BEZ_CATCH(lost) {
		caught++;
		CHECK(lost->addr);
	}
	CHECK_EQ(caught, 2);
	CHECK_EQ(pkey_get(key), 0);
}

/* The kernel disarms such a stack for the time of a handler. */
static void autodisarm(void)
{
	stack_t stack = { .ss_size = 1 << 20 }, now;
	struct bez_lost lost;
	int i;

	page = live_page();
	stack.ss_sp = malloc(stack.ss_size);
	stack.ss_flags = (int)SS_AUTODISARM;
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	scope_begin("2");
	for (i = 0; i < 3; i++) {
		CHECK_EQ(scope_left(at + TOUCH, &lost), 1);
		CHECK_EQ(sigaltstack(NULL, &now), 0);
		CHECK(now.ss_sp == stack.ss_sp);
		CHECK_EQ(now.ss_size, stack.ss_size);
	}
}

/* A SIGBUS that is sent while the loss is served reaches the former action, once,
 * and from the scope's own stack. */
static int fill_and_send(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)dst;
	(void)len;
	(void)offset;
	(void)arg;
	pthread_kill(pthread_self(), SIGBUS);
	return -EIO;
}

static volatile int sent, sent_inside;

static void on_sent(int sig, siginfo_t *info, void *context)
{
	stack_t stack;

	(void)sig;
	(void)context;
	sent += info->si_code == SI_TKILL;
	sigaltstack(NULL, &stack);
	/* neither in bezoar's handler, nor inside */
	sent_inside += (stack.ss_flags & SS_ONSTACK) ||
		       bez_thread_attach() || bez_thread_detach();
}

static void sent_meanwhile(void)
{
	struct sigaction action = { .sa_sigaction = on_sent,
				    .sa_flags = SA_SIGINFO };
	struct bez_source from = bez_source_callback(fill_and_send, NULL);
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_lost lost;
	bez_region_t r;

	page = live_page();
	at = live_pages(PAGES);
	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	see_start(0);
	policy.source = &from;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, PAGES * page, &policy, &r), 0);
	live_poison(at + LOST * page);
	CHECK_EQ(scope_left(at + TOUCH, &lost), 1);
	CHECK_EQ(sent, 1);
	CHECK_EQ(sent_inside, 0);
	CHECK_EQ(scope_mask(), 0);
}

/* What is left in the handler's hands is given back. */
static void nothing_held(void)
{
	struct bez_lost lost;
	int i;

	scope_begin("12");
	for (i = 0; i < 1000; i++)
		CHECK_EQ(scope_left(at + TOUCH, &lost), 1);
	/* not inside any more: else -EDEADLK */
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------------------------ cleanups */

static char order[8];

static void note(void *arg)
{
	volatile char room[4096];
	size_t i;

	/* what lay where it runs is gone */
	for (i = 0; i < sizeof(room); i++)
		room[i] = (char)0x5a;
	strcat(order, arg);
	/* in normal context: with the program's mask, not inside */
	if (scope_mask() || bez_thread_attach())
		strcat(order, "!");
	else
		bez_thread_detach();
}

static __attribute__((noinline)) void take_and_touch(pthread_mutex_t *m)
{
	struct bez_scope_cleanup a, b, c;

	volatile char room[1024] = { 0 };

	pthread_mutex_lock(m);
	CHECK_EQ(room[77], 0);
	CHECK_EQ(bez_scope_cleanup(&a, (void (*)(void *))(void (*)(void))
				   pthread_mutex_unlock, m), 0);
	CHECK_EQ(bez_scope_cleanup(&b, note, "b"), 0);
	CHECK_EQ(bez_scope_cleanup(&c, note, "c"), 0);
	CHECK_EQ(bez_scope_cleanup_done(&c), 0);
	CHECK_EQ(bez_scope_cleanup(&c, note, "d"), 0);
	live_read(at + TOUCH);
}

static void cleanups(void)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	struct bez_scope_cleanup c;
	volatile int caught = 0;

	scope_begin("2");
	CHECK_EQ(bez_scope_cleanup(&c, note, "x"), -EINVAL);
	BEZ_TRY {
		take_and_touch(&m);
	} BEZ_CATCH(lost) {
		caught = lost->addr != NULL;
		CHECK_EQ(pthread_mutex_trylock(&m), 0);
		pthread_mutex_unlock(&m);
		CHECKF(!strcmp(order, "db"), "they ran as %s", order);
	}
	CHECK_EQ(caught, 1);
	BEZ_TRY {
		CHECK_EQ(bez_scope_cleanup(&c, note, "y"), 0);
		CHECK_EQ(bez_scope_cleanup_done(NULL), -ENOENT);
	} BEZ_CATCH(lost) {
		CHECK(!lost->addr);
	}
	CHECKF(!strcmp(order, "db"), "they ran as %s", order);
}

static void touches(void *arg)
{
	strcat(order, arg);
	live_read(at + TOUCH);
}

/* What a cleanup meets is the outer scope's. */
static void cleanup_meets_it(void)
{
	struct bez_scope_cleanup a, b;
	volatile int inner = 0, outer = 0;

	scope_begin("2");
	BEZ_TRY {
		BEZ_TRY {
			bez_scope_cleanup(&a, touches, "a");
			bez_scope_cleanup(&b, touches, "b");
			live_read(at + TOUCH);
		} BEZ_CATCH(lost) {
			inner = lost->addr != NULL;
		}
	} BEZ_CATCH(lost) {
		outer = lost->addr != NULL;
	}
	CHECK_EQ(inner, 0);
	CHECK_EQ(outer, 1);
	CHECKF(!strcmp(order, "b"), "they ran as %s", order);
}

static const struct tap_case cases[] = {
	{ .name = "errno, mask, stack and rounding are as they were",
	  .run = as_it_was },
	{ .name = "floating point as it was",
	  .run = floating_point },
	{ .name = "protection keys as they were", .run = keys },
	{ .name = "a stack that disarms itself is armed again",
	  .run = autodisarm },
	{ .name = "a signal that came meanwhile", .run = sent_meanwhile },
	{ .name = "nothing is held afterwards", .run = nothing_held },
	{ .name = "cleanups, the last one first", .run = cleanups },
	{ .name = "a cleanup that meets a loss", .run = cleanup_meets_it },
};

TAP_MAIN(cases)
