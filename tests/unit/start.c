/* SPDX-License-Identifier: MIT */
/*
 * bez_start() and its like with each call that they make of the system failing
 * in turn: a negative errno, and nothing was changed; or they do without it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../live/live.h"
#include "unit.h"

static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EPERM, ENOSYS };

/* ----------------------------------------------------- what may be changed */

struct before {
	struct sigaction action;
	stack_t stack;
	sigset_t mask;
	struct bez_status status;
	uint64_t layout;
	uint32_t maps, fds, threads;
	int policy;
};

static void remember(struct before *b)
{
	memset(b, 0, sizeof(*b));
	CHECK_EQ(sigaction(SIGBUS, NULL, &b->action), 0);
	CHECK_EQ(sigaltstack(NULL, &b->stack), 0);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &b->mask), 0);
	b->status.size = sizeof(b->status);
	CHECK_EQ(bez_status(&b->status), 0);
	b->threads = (uint32_t)live_threads();
	b->fds = unit_fds();
	b->policy = prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
	b->maps = unit_maps();
	b->layout = unit_layout();
}

static void unchanged(const struct before *b, const char *when, uint32_t more)
{
	struct before now;

	live_threads_soon(b->threads);
	remember(&now);
	CHECKF(now.action.sa_handler == b->action.sa_handler &&
	       now.action.sa_flags == b->action.sa_flags &&
	       !memcmp(&now.action.sa_mask, &b->action.sa_mask, 8),
	       "%s: the SIGBUS action", when);
	CHECKF(now.stack.ss_sp == b->stack.ss_sp &&
	       now.stack.ss_flags == b->stack.ss_flags &&
	       now.stack.ss_size == b->stack.ss_size, "%s: the stack", when);
	CHECKF(!memcmp(&now.mask, &b->mask, 8), "%s: the mask", when);
	CHECKF(!memcmp(&now.status, &b->status, sizeof(now.status)),
	       "%s: the status", when);
	CHECKF(now.fds == b->fds, "%s: %u descriptors, were %u", when, now.fds,
	       b->fds);
	CHECKF(now.threads == b->threads, "%s: %u threads, were %u", when,
	       now.threads, b->threads);
	CHECKF(now.policy == b->policy, "%s: the policy", when);
	CHECKF(now.maps <= b->maps + more, "%s: %u mappings, were %u", when,
	       now.maps, b->maps);
	CHECKF(more || now.layout == b->layout, "%s: the mappings", when);
}

/* A former action, mask and stack that could be lost. */
static void former(int sig)
{
	(void)sig;
}

static void prepare(void)
{
	static char small[16384];
	struct sigaction action = { .sa_handler = former,
				    .sa_flags = SA_RESTART | SA_NODEFER };
	stack_t stack = { .ss_sp = small, .ss_size = sizeof(small) };
	sigset_t bus;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	tap_skip("sanitizers have mappings and threads of their own");
#elif !defined(__x86_64__)
	tap_skip("qemu-user, where this runs, has threads of its own");
#endif
	unit_page();
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	sigaddset(&bus, SIGUSR2);
	sigaddset(&action.sa_mask, SIGUSR1);
	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &bus, NULL), 0);
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	unit_patience(50);
}

/* ------------------------------------------------------------------- start */

#define KEPT	3			/* mappings, from the first time on */

static struct before b;
static uint32_t refused, did_without;

/* With this thread alone: a worker that has stopped may still be seen. */
static void remember_alone(void)
{
	live_threads_soon(1);
	remember(&b);
}

/* bez_start() with one failure; whatever it says, all is as before after. 0, or
 * -ENOENT: it does not come to that. */
static void (*watch)(void) = double_watch;
static const struct bez_options *options;

/* Descriptors of all kinds, to be taken over. */
static const struct bez_options *with_records(void)
{
	static struct bez_options o = BEZ_OPTIONS_INIT;
	int ends[2];

	CHECK_EQ(pipe(ends), 0);
	o.record_fd = memfd_create("records", MFD_CLOEXEC);
	o.record_text_fd = ends[1];
	o.kin_fd = eventfd(0, 0);
	return &o;
}

static int start_with(const struct double_rule *rule, uint32_t more)
{
	long nr = rule->nr;
	char when[96];
	uint32_t i;
	int r;

	double_reset();
	double_rule(rule);
	watch();
	r = bez_start(options);
	double_rest();
	if (!double_lies()) {
		CHECK(!r && !bez_stop());
		return -ENOENT;
	}
	for (i = 0; i < double_traced(); i++)
		if (double_trace(i)->lied)
			nr = double_trace(i)->nr;
	snprintf(when, sizeof(when), "call %u, %s says %s: %d", rule->nth,
		 double_name(nr), strerror(rule->err), r);
	refused += r < 0;
	did_without += !r;
	if (r)	/* of a descriptor: it cannot be written to, or is unknown */
		CHECKF(r == -rule->err ||
		       (options && (r == -EBADF || r == -EINVAL)), "%s", when);
	else	/* of the libc nothing is asked that is not needed */
		CHECKF(!bez_stop() && nr < DOUBLE_THREAD_CREATE, "%s", when);
	unchanged(&b, when, more);
	/* and nothing stands in the way of another one */
	CHECKF(!bez_start(options), "%s: then again", when);
	CHECKF(!bez_thread_attach() && !bez_thread_detach(), "%s", when);
	CHECKF(!bez_stop(), "%s: and stop", when);
	unchanged(&b, when, more);
	return 0;
}

/* How many calls are made, of all kinds and of @nr. */
static uint32_t calls_of(long nr)
{
	uint32_t n;

	double_reset();
	double_watch();
	CHECK_EQ(bez_start(options), 0);
	double_rest();
	n = nr == DOUBLE_ANY ? double_calls() : double_count(nr, 0);
	CHECK_EQ(bez_stop(), 0);
	return n;
}

static void start_each(void)
{
	static const long kinds[] = { DOUBLE_ANY, SYS_rt_sigaction };
	struct double_rule rule = { 0 };
	uint32_t calls;
	size_t e, k;

	prepare();
	if (tap_data())
		options = with_records();
	calls_of(DOUBLE_ANY);		/* what is kept from the first time on */
	calls_of(DOUBLE_ANY);
	remember_alone();
	for (k = 0; k < COUNT_OF(kinds); k++) {
		calls = calls_of(kinds[k]);
		CHECK(calls > 1);
		for (e = 0; e < COUNT_OF(errors); e++)
			for (rule.nth = 1; rule.nth <= calls; rule.nth++) {
				rule.nr = kinds[k];
				rule.err = errors[e];
				/* how often the worker is waited for is
				 * not always the same */
				if (start_with(&rule, 0))
					CHECK(rule.nth + 3 > calls);
			}
		tap_diag("%u calls: refused %u times, done without %u times",
			 calls, refused, did_without);
	}
	CHECK(refused && did_without);
}

/* The worker's beginning, after ours; without it there is no worker. */
static void start_worker(void)
{
	static const long kinds[] = { DOUBLE_KEY_SET, SYS_sigaltstack, SYS_mmap,
				      SYS_mprotect, SYS_mlock, SYS_prctl };
	struct double_rule rule = { .err = ENOMEM };
	uint32_t ours;
	size_t k;

	prepare();
	calls_of(DOUBLE_ANY);
	calls_of(DOUBLE_ANY);
	watch = double_watch_all;
	for (k = 0; k < COUNT_OF(kinds); k++) {
		rule.nr = kinds[k];
		ours = calls_of(kinds[k]);
		rule.nth = ours + 1;
		remember_alone();
		while (!start_with(&rule, 0))
			rule.nth++;
		CHECKF(rule.nth > ours + 1, "%s", double_name(rule.nr));
	}
	/* to be told of its end; a stack: the old one, memory, guard, set */
	CHECK_EQ(refused, 5);
}

#define NO_MORE	7

/* The first time in a process: more is asked for then. Each in its own. */
static void start_first(void)
{
	uint32_t n;
	int end = 0;

	prepare();
	for (n = 1;; n++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid) {
			struct double_rule rule = { .nr = DOUBLE_ANY, .nth = n,
						    .err = ENOMEM };

			unit_patience(20);
			remember_alone();
			/* what a handler could stand on is kept, and the
			 * stack of a thread that has been */
			_exit(start_with(&rule, KEPT) ? NO_MORE : 0);
		}
		CHECK_EQ(waitpid(pid, &end, 0), pid);
		if (WIFEXITED(end) && WEXITSTATUS(end) == NO_MORE)
			break;
		CHECKF(WIFEXITED(end) && !WEXITSTATUS(end), "call %u: %#x", n,
		       end);
	}
	tap_diag("%u calls", n - 1);
	CHECK(n > 10);
}

/* ------------------------------------------------- a signal at each of them */

static struct {
	uint32_t inside, answered;
} asked;
static volatile int asking;
static char *spare;
static pid_t twin = 1;			/* -1: to be forked by the handler */

/* On top of whatever it interrupted: never a wait, never a second time. */
static void ask(void)
{
	struct bez_region_info info = { .size = sizeof(info) };
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	int r = bez_start(NULL);

	if (r == -EALREADY) {
		CHECK_EQ(bez_region_info(0, &info), -ENOENT);
		CHECK_EQ(bez_region_remove(0), -ENOENT);
		asked.answered++;
		return;
	}
	CHECK_EQ(r, -EDEADLK);
	CHECK_EQ(bez_stop(), -EDEADLK);
	CHECK_EQ(bez_thread_detach(), -EDEADLK);
	asked.inside++;
	if (!atomic_load(&bz_core.mm))
		return;
	CHECK_EQ(bez_thread_attach(), -EDEADLK);
	CHECK_EQ(bez_region_add(spare, unit_page(), &policy, &region),
		 -EDEADLK);
	CHECK_EQ(bez_region_info(0, &info), -EDEADLK);
	CHECK_EQ(bez_region_remove(0), -EDEADLK);
}

static void asks(int sig)
{
	(void)sig;
	if (asking)
		return;
	asking = 1;
	ask();
	if (twin < 0 && asked.inside)
		twin = fork();
	unit_patience(20);		/* a child's, too */
	asking = 0;
}

static void interrupts(long nr, const long arg[6])
{
	(void)nr, (void)arg;
	if (!asking)
		raise(SIGUSR1);
}

static void interrupted(void)
{
	struct sigaction action = { .sa_handler = asks };

	memset(&asked, 0, sizeof(asked));
	double_reset();
	double_before(interrupts);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	double_watch();
}

static void signals(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	char *at = mmap(NULL, 2 * unit_page(), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bez_region_t region;
	int end = 0;

	prepare();
	CHECK(at != MAP_FAILED);
	spare = at + unit_page();
	interrupted();
	CHECK_EQ(bez_start(NULL), 0);
	CHECK(asked.inside > 10 && !asked.answered);
	interrupted();
	CHECK_EQ(bez_region_add(at, unit_page(), &policy, &region), 0);
	/* msync(2) before the lock, memory for the table under it */
	CHECK(asked.inside >= 2 && asked.answered == 1);
	CHECK_EQ(bez_region_remove(region), 0);
	interrupted();
	CHECK_EQ(bez_stop(), 0);
	CHECK(asked.inside > 3);
	double_reset();

	/* a child that is made there has the call half done, too, ends it,
	 * and is free to make others */
	CHECK_EQ(bez_start(NULL), 0);
	twin = -1;
	interrupted();
	CHECK_EQ(bez_region_add(at, unit_page(), &policy, &region), 0);
	CHECK(asked.inside);
	double_reset();
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(bez_stop(), 0);
	if (!twin)
		_exit(0);
	CHECK_EQ(waitpid(twin, &end, 0), twin);
	CHECKF(WIFEXITED(end) && !WEXITSTATUS(end), "the child: %#x", end);
}

static const struct tap_case cases[] = {
	{ .name = "each call of bez_start fails", .run = start_each },
	{ .name = "each call of bez_start fails, with records",
	  .run = start_each, .data = "" },
	{ .name = "each call of the worker's beginning fails",
	  .run = start_worker },
	{ .name = "each call of the first bez_start fails",
	  .run = start_first },
	{ .name = "a signal at each call", .run = signals },
};
TAP_MAIN(cases)
