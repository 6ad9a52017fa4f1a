/* SPDX-License-Identifier: MIT */
/*
 * First room: the end of a process by a signal that nobody takes, with each
 * system call on the way failing in turn (a sandbox may forbid any). It is an
 * end all the same: never a return to the same fault, again and again.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../live/live.h"
#include "unit.h"

#define MOST 12			/* more calls of a kind than there are */

enum event { FAULT, NESTED, SENT };

static const char *const event_names[] = { "a fault", "a nested fault",
					   "a sent signal" };
static const volatile char *hole;
static uint32_t *lies;			/* of the last child */

static const volatile char *beyond_the_end(void)
{
	int fd = memfd_create("hole", MFD_CLOEXEC);
	void *at = mmap(NULL, unit_page(), PROT_READ, MAP_SHARED, fd, 0);

	CHECK(fd >= 0 && at != MAP_FAILED);
	close(fd);
	return at;
}

/* On top of a fault in the handler, which is none of the source's. */
static int faults(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)dst, (void)len, (void)offset, (void)arg;
	bz_walk_of(atomic_load(&bz_core.mm), (uint32_t)bz_gettid())->guard =
		NULL;
	return *hole;
}

static void happens(enum event event)
{
	struct bez_source from = bez_source_callback(faults, NULL);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	const volatile char *at = hole;

	if (event == NESTED) {
		policy.source = &from;
		at = (char *)live_pages(1);
		CHECK_EQ(bez_region_add((void *)at, unit_page(), &policy,
					&region), 0);
		live_poison((void *)at);
	}
	double_watch();
	if (event == SENT)
		raise(SIGBUS);
	else
		(void)*at;
}

/* How a process ends, by @event and with that failure. */
static int end_of(enum event event, const struct double_rule *rule,
		  void (*former)(int))
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct sigaction action = { .sa_handler = former };
	int end = 0;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid) {
		CHECK_EQ(waitpid(pid, &end, 0), pid);
		return end;
	}
	CHECK_EQ(setrlimit(RLIMIT_CPU, &(struct rlimit){ 2, 2 }), 0);
	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	options.flags = BEZ_START_NO_WORKER;
	CHECK_EQ(bez_start(&options), 0);
	double_reset();
	if (rule)
		double_rule(rule);
	happens(event);
	*lies = double_lies();
	_exit(0);
}

static void ends(void)
{
	static const long kinds[] = { SYS_rt_sigaction, SYS_rt_sigprocmask,
				      SYS_rt_tgsigqueueinfo, DOUBLE_ANY };
	static void (*const former[])(int) = { SIG_DFL, SIG_IGN };
	const enum event event = *(const enum event *)tap_data();
	struct double_rule rule = { .err = EPERM };
	size_t k, f;
	int end;

#if !defined(__x86_64__)
	tap_skip("qemu-user, where this runs, does not outlive such ends");
#endif
	if (event == NESTED)
		unit_need_poison();
	hole = beyond_the_end();
	lies = mmap(NULL, unit_page(), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK((void *)lies != MAP_FAILED);
	for (f = 0; f < COUNT_OF(former) - (event == SENT); f++) {
		end = end_of(event, NULL, former[f]);
		CHECK(WIFSIGNALED(end) && WTERMSIG(end) == SIGBUS);
		for (k = 0; k < COUNT_OF(kinds); k++)
			/* 0: each of them */
			for (rule.nth = 0; rule.nth < MOST; rule.nth++) {
				rule.nr = kinds[k];
				end = end_of(event, &rule, former[f]);
				/* what was sent and could not be sent on is
				 * lost, and hurts nobody */
				if (event == SENT && WIFEXITED(end) && *lies)
					continue;
				CHECKF(WIFSIGNALED(end) &&
				       WTERMSIG(end) == SIGBUS,
				       "%s, %s %u fails: ended with %#x",
				       event_names[event],
				       double_name(rule.nr), rule.nth, end);
			}
	}
}

#define EVENT(which) &(const enum event){ which }

static const struct tap_case cases[] = {
	{ .name = "each call fails: a fault", .run = ends,
	  .data = EVENT(FAULT) },
	{ .name = "each call fails: a nested fault", .run = ends,
	  .data = EVENT(NESTED) },
	{ .name = "each call fails: a sent signal", .run = ends,
	  .data = EVENT(SENT) },
};
TAP_MAIN(cases)
