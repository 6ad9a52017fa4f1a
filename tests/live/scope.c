/* SPDX-License-Identifier: MIT */
/*
 * Out of a loss by a scope: what the catch is given, who catches, and when nobody
 * does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"
#include "scope_help.h"

static void told(void)
{
	struct bez_lost lost = { 0 };
	struct bez_event e;
	int i;

	scope_begin("12");
	for (i = 0; i < 3; i++) {
		CHECK_EQ(scope_left(at + TOUCH + (size_t)i, &lost), 1);
		CHECK(lost.addr == at + LOST * page);
		CHECK_EQ(lost.width, page);
		CHECK(lost.touched == at + TOUCH + i);
		CHECK_EQ(lost.region, region);
		CHECK_EQ(lost.seq, 1);
		CHECK_EQ(lost.why, BEZ_OUTCOME_SOURCE_NONE);
		CHECK_EQ(lost.tid, gettid());
		CHECK(lost.cause == BEZ_CAUSE_ADRERR ||
		      lost.cause == BEZ_CAUSE_POISON_AR);
		e = see_event(at + TOUCH);
		CHECK_EQ(e.outcome, BEZ_OUTCOME_UNWOUND);
		CHECK_EQ(e.action, BEZ_ACTION_DEGRADE);
		CHECK_EQ(e.why, BEZ_OUTCOME_SOURCE_NONE);
		CHECK_EQ(e.took_ns != 0, i == 0);
	}
	CHECK_EQ(scope_left(at + LOST * page - 1, &lost), 0);
	CHECK_EQ(scope_left(at + (LOST + 1) * page, &lost), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_UNWOUND), 3);
	CHECK_EQ(live_wrong(at, LOST * page, 0), 0);
}

/* Of what a source can still give nothing is lost. */
static void replaced(void)
{
	struct bez_source from;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_lost lost;
	bez_region_t r;

	page = live_page();
	at = live_pages(PAGES);
	from = bez_source_mirror(live_pages(PAGES));
	see_start(0);
	policy.source = &from;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, PAGES * page, &policy, &r), 0);
	live_poison(at + LOST * page);
	CHECK_EQ(scope_left(at + TOUCH, &lost), 0);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
}

static void no_scope(void)
{
	unsigned char byte;
	struct bez_event e;

	scope_begin("12");
	CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
	e = see_event(at + TOUCH);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(e.why, BEZ_OUTCOME_REFUSED_NO_SCOPE);
	/* it is entered all the same */
	CHECK_EQ(bez_lost_in(at + LOST * page, 1), 1);
}

static void not_named(void)
{
	struct bez_lost lost;
	unsigned char byte;

	scope_begin("14");
	BEZ_TRY {
		CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
	} BEZ_CATCH(l) {
		lost = *l;
		CHECK(!lost.addr);
	}
	CHECK_EQ(see_event(at + TOUCH).why, BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
}

static void nested(void)
{
	volatile int inner = 0, outer = 0, in_catch = 0;
	unsigned char byte;

	scope_begin("2");
	BEZ_TRY {
		BEZ_TRY {
			live_read(at + TOUCH);
		} BEZ_CATCH(lost) {
			inner++;
			CHECK(lost->addr == at + LOST * page);
			BEZ_TRY {
				live_read(at + TOUCH);
			} BEZ_CATCH(again) {
				in_catch += again->seq == 1;
			}
			/* outside of the inner: it is the outer one's */
			live_read(at + TOUCH);
			inner += 100;
		}
	} BEZ_CATCH(lost) {
		outer += lost->width == page;
	}
	CHECK_EQ(inner, 1);
	CHECK_EQ(in_catch, 1);
	CHECK_EQ(outer, 1);
	/* all are over */
	CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
}

static int returns(void)
{
	BEZ_TRY {
		return 5;
	} BEZ_CATCH(lost) {
		CHECK(!lost->addr);
	}
	return 0;
}

/* However a TRY ends, its scope is over; and so are those within. */
static void ways_out(void)
{
	struct bez_scope outer, inner;
	volatile int i;
	unsigned char byte;

	scope_begin("2");
	CHECK_EQ(returns(), 5);
	CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
	BEZ_TRY
		break;
	BEZ_CATCH(lost)
		CHECK(!lost->addr);
	CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
	for (i = 0; i < 3; i++)
		BEZ_TRY {
			continue;
		} BEZ_CATCH(lost) {
			CHECK(!lost->addr);
		}
	CHECK_EQ(i, 3);
	CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
	CHECK_EQ(bez_scope_enter(&outer), 0);
	CHECK_EQ(bez_scope_enter(&inner), 0);
	bez_scope_leave(&outer);
	CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
	CHECK_EQ(bez_scope_enter(&outer), 0);
	bez_scope_none();
	CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
}

/* One that was over with an outer one is not left a second time: those that the
 * thread is in stay. */
static void over_already(void)
{
	volatile int caught = 0;
	struct bez_scope a, b, c;
	unsigned char byte;

	scope_begin("2");
	BEZ_TRY {
		CHECK_EQ(bez_scope_enter(&a), 0);
		CHECK_EQ(bez_scope_enter(&b), 0);
		CHECK_EQ(bez_scope_enter(&c), 0);
		bez_scope_leave(&a);
		bez_scope_leave(&c);
		bez_scope_leave(&b);
		live_read(at + TOUCH);
	} BEZ_CATCH(lost) {
		caught += lost->addr == at + LOST * page;
	}
	CHECK_EQ(caught, 1);
	CHECK_EQ(bez_scope_enter(&a), 0);
	CHECK_EQ(bez_scope_enter(&b), 0);
	bez_scope_leave(&a);
	if (!bez_scope_enter(&a)) {
		/* the one that it was in is another by now */
		bez_scope_leave(&b);
		live_read(at + TOUCH);
	} else {
		caught++;
	}
	CHECK_EQ(caught, 2);
	CHECK_EQ(bez_scope_enter(&a), 0);
	CHECK_EQ(bez_scope_enter(&b), 0);
	bez_scope_none();
	bez_scope_leave(&b);
	CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
	CHECK_EQ(see_event(at + TOUCH).why, BEZ_OUTCOME_REFUSED_NO_SCOPE);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* The kernel kills who makes any call but read(2), write(2) and exit(2). */
static void enters_and_leaves(void)
{
	struct bez_scope_cleanup c;
	volatile int i, good = 0;

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		_exit(2);
	for (i = 0; i < 100; i++)
		BEZ_TRY {
			BEZ_TRY {
				good += !bez_scope_cleanup(&c, nothing, NULL) &&
					!bez_scope_cleanup_done(&c) &&
					!bez_scope_run(nothing, NULL, NULL) &&
					!bez_lost_in(at, page) &&
					!(uint32_t)bez_lost_generation();
			} BEZ_CATCH(lost) {
				good -= lost != NULL;
			}
		} BEZ_CATCH(lost) {
			good -= lost != NULL;
		}
	syscall(SYS_exit, good != 100);
}

static void no_call(void)
{
	int status;
	pid_t pid;

	page = live_page();
	at = live_pages(1);
	see_start(0);
	scope_add(at, 1, "2");
	pid = fork();
	if (!pid)
		enters_and_leaves();
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		tap_skip("no seccomp(2) here");
	CHECKF(!status, "%#x", status);
}

static void reads(void *arg)
{
	live_read(arg);
}

static void by_function(void)
{
	struct bez_lost lost = { 0 };

	scope_begin("2");
	CHECK_EQ(bez_scope_run(reads, at, &lost), 0);
	CHECK(!lost.addr);
	CHECK_EQ(bez_scope_run(reads, at + TOUCH, &lost), -EFAULT);
	CHECK(lost.touched == at + TOUCH);
	CHECK_EQ(bez_scope_run(reads, at + TOUCH, NULL), -EFAULT);
}

/* ------------------------------------------------------------- in a handler */

static volatile int in_handler, on_stack;

static void on_usr1(int sig)
{
	struct bez_lost lost;
	sigset_t set;
	stack_t stack;

	(void)sig;
	in_handler = scope_left(at + TOUCH, &lost);
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	in_handler += sigismember(&set, SIGUSR1) && sigismember(&set, SIGUSR2);
	sigaltstack(NULL, &stack);
	on_stack = stack.ss_flags & SS_ONSTACK;
}

static void a_handler(void)
{
	struct sigaction action = { .sa_handler = on_usr1 };
	uint64_t mask = scope_mask();
	stack_t stack;

	scope_begin("2");
	action.sa_flags = *(const int *)tap_data();
	sigaddset(&action.sa_mask, SIGUSR2);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	raise(SIGUSR1);
	CHECK_EQ(in_handler, 2);
	CHECK_EQ(on_stack, action.sa_flags & SA_ONSTACK ? SS_ONSTACK : 0);
	CHECK_EQ(scope_mask(), mask);
	CHECK_EQ(sigaltstack(NULL, &stack), 0);
	CHECK_EQ(stack.ss_flags & SS_ONSTACK, 0);
}

/* ------------------------------------------------------------ many threads */

#define THREADS	8
#define ROUNDS	400

static _Atomic uint32_t wrong;

static void *storm(void *arg)
{
	size_t i;

	if (bez_thread_attach())
		atomic_fetch_add(&wrong, 1);
	for (i = 0; i < ROUNDS; i++) {
		struct bez_lost lost = { 0 };
		size_t which = 2 + i % 3;

		if (!scope_left(at + which * page + (size_t)arg, &lost) ||
		    lost.addr != at + which * page ||
		    lost.touched != at + which * page + (size_t)arg)
			atomic_fetch_add(&wrong, 1);
		if (scope_left(at + (size_t)arg, &lost))
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t thread[THREADS];
	size_t i;

	scope_begin("12");
	live_poison(at + 3 * page);
	live_poison(at + 4 * page);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, storm, (void *)i), 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(wrong, 0);
	/* each was entered once, whoever was first */
	CHECK_EQ((uint32_t)bez_lost_generation(), 3);
	CHECK_EQ(bez_lost_generation() >> 32, 3);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_UNWOUND), THREADS * ROUNDS);
}

/* ------------------------------------------------------- what is lost itself */

static unsigned char *stack_at;

static struct bez_source reads_other;

static int read_other(void *dst, size_t len, uint64_t offset, void *arg)
{
	memcpy(dst, (char *)arg + offset, len);
	return 0;
}

/* It does not jump out of the handler: it has failed. */
static void in_a_source(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *other;
	struct bez_lost lost;
	bez_region_t r;

	scope_begin("2");
	other = live_pages(PAGES);
	reads_other = bez_source_callback(read_other, at);
	policy.source = &reads_other;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(other, PAGES * page, &policy, &r), 0);
	live_poison(other + LOST * page);
	CHECK_EQ(scope_left(other + TOUCH, &lost), 1);
	CHECK(lost.addr == other + LOST * page);
	CHECK_EQ(lost.why, BEZ_OUTCOME_SOURCE_LOST);
	CHECK_EQ(see_event(at + LOST * page).why, BEZ_OUTCOME_REFUSED_NO_SCOPE);
	CHECK_EQ((uint32_t)bez_lost_generation(), 2);
}

static void *on_lost_stack(void *arg)
{
	struct bez_scope *scope = (struct bez_scope *)(stack_at + page);

	(void)arg;
	bez_thread_attach();
	if (!bez_scope_enter(scope)) {
		/* the record goes with the page */
		live_poison(stack_at + page);
		live_read(stack_at + page + sizeof(*scope));
		atomic_fetch_add(&wrong, 1);
	} else {
		atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void scope_is_lost(void)
{
	page = live_page();
	stack_at = live_pages(4);
	see_start(0);
	scope_add(stack_at, 4, "2");
	on_lost_stack(NULL);
	CHECK(0);
}

/* Two pages in one, where the record lies in the other that was lost: the next
 * action, as if there were no scope. */
static void scope_is_lost_elsewhere(void)
{
	unsigned char *other;
	struct bez_scope *scope;
	unsigned char byte;

	scope_begin("2");
	other = live_pages(2);
	scope = (struct bez_scope *)other;
	if (!bez_scope_enter(scope)) {
		live_poison(other);
		CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
		CHECK_EQ(see_event(at + TOUCH).why,
			 BEZ_OUTCOME_REFUSED_NO_SCOPE);
		bez_scope_none();
	} else {
		CHECK(0);
	}
}

static const int plain, onstack = SA_ONSTACK;

static const struct tap_case cases[] = {
	{ .name = "the catch is told what, where and why", .run = told },
	{ .name = "what can be replaced is not lost", .run = replaced },
	{ .name = "no scope: the next action, and it says so", .run = no_scope },
	{ .name = "a ladder without degrade does not jump", .run = not_named },
	{ .name = "nested, and in the catch", .run = nested, .timeout_s = 20 },
	{ .name = "however a try ends, it is over", .run = ways_out },
	{ .name = "what is over already is not left again",
	  .run = over_already },
	{ .name = "no system call", .run = no_call },
	{ .name = "by a function", .run = by_function },
	{ .name = "a scope in a signal handler", .run = a_handler,
	  .data = &plain },
	{ .name = "a scope in a signal handler on the alternate stack",
	  .run = a_handler, .data = &onstack },
	{ .name = "eight threads, the same three pages", .run = threads },
	{ .name = "a source that meets a loss has failed",
	  .run = in_a_source },
	{ .name = "the scope itself is in the lost page", .run = scope_is_lost,
	  .want_signal = SIGBUS },
	{ .name = "the scope is in another lost page",
	  .run = scope_is_lost_elsewhere },
};

TAP_MAIN(cases)
