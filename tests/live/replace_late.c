/* SPDX-License-Identifier: MIT */
/*
 * A repair that comes too late: while it was on its way the program closed
 * the page, or threw it away and wrote another in its place, or will. What the program
 * did stays.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define NEWER	5		/* the program's; seeds of live_fill() */
#define OLDER	6		/* the source's */

struct variant {
	uint32_t start;			/* BEZ_START_* */
	int deferred;			/* the source runs on the worker */
	int lost;			/* the source has nothing */
	int slow;			/* seconds that it takes */
};

static const struct variant *variant(void)
{
	return tap_data();
}

static unsigned char *at;
static size_t page;

static void begin(void)
{
	page = live_page();
	at = live_pages(2);
	see_install();
	see_start(variant()->start);
}

/* Reports of a page that is good, and that nobody may touch just now: for it
 * the kernel has no answer to "is it there?". */
static void no_access(void)
{
	unsigned char *copy = live_pages(2);
	struct bez_source from = bez_source_mirror(copy);

	begin();
	live_region(at, 2 * page, &from, "closed");
	live_fill(at, 2 * page, NEWER);
	live_fill(copy, 2 * page, OLDER);
	CHECK_EQ(mprotect(at, page, PROT_NONE), 0);
	see_report(at + 9, BUS_ADRERR, 0);
	see_report(at + 9, BUS_MCEERR_AR, 12);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_ALREADY_GOOD), 2);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
	/* nor did that open it */
	CHECK(!strncmp(see_map(at).perms, "---p", 4));
	CHECK_EQ(mprotect(at, page, PROT_READ | PROT_WRITE), 0);
	CHECK_EQ(live_wrong(at, 2 * page, NEWER), 0);
}

/* ------------------------------------------------------- written meanwhile */

static _Atomic int asked, answer;

static int slow(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	asked = 1;
	while (!answer)
		sched_yield();
	live_fill(dst, bytes, OLDER);
	return 0;
}

static void *touch(void *arg)
{
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(live_read(arg), live_byte(0, NEWER));
	return NULL;
}

static void written_anew(void)
{
	struct bez_source from = variant()->deferred ?
		bez_source_deferred(slow, NULL, 60000000000u) :
		bez_source_callback(slow, NULL);
	pthread_t thread;

	begin();
	live_region(at, page, &from, "thrown away");
	live_poison(at);
	CHECK_EQ(pthread_create(&thread, NULL, touch, at), 0);
	while (!asked)
		sched_yield();
	CHECK_EQ(madvise(at, page, MADV_DONTNEED), 0);
	live_fill(at, page, NEWER);
	answer = 1;
	pthread_join(thread, NULL);
	CHECK_EQ(live_wrong(at, page, NEWER), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_ALREADY_GOOD), 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
}

/* --------------------------------------------------------- watched meanwhile */

static int watcher;

static void watch(void)
{
	struct uffdio_register reg = {
		.range = { (unsigned long)at, page },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	CHECK_EQ(ioctl(watcher, UFFDIO_REGISTER, &reg), 0);
}

/* In the handler, while the page is about to be replaced: the program throws it away, and
 * will say what is there when somebody asks. */
static int throws_away(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	watch();
	CHECK_EQ(madvise(at, page, MADV_DONTNEED), 0);
	sleep((unsigned int)variant()->slow);
	live_fill(dst, bytes, OLDER);
	return 0;
}

/* The same, and it has no bytes for it. */
static int throws_away_all(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	throws_away(dst, bytes, offset, arg);
	return -ENODATA;
}

static struct bez_source gives_up;

static void open_watcher(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	watcher = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (watcher < 0 && errno == EINVAL)
		tap_skip("no UFFD_USER_MODE_ONLY before Linux 5.11");
	if (watcher < 0 && errno == EPERM)
		tap_skip("userfaultfd(2) is forbidden here");
	CHECKF(watcher >= 0, "userfaultfd: %s", strerror(errno));
	CHECK_EQ(ioctl(watcher, UFFDIO_API, &api), 0);
}

/* It is thrown away right when it is to be entered as lost. */
static void left_alone(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	policy.source = &gives_up;
	CHECK_EQ(bez_region_add(at, page, &policy, &region), 0);
}

/* The kernel itself is not let in there, and to it that is an error; whoever touches the
 * page waits for the program. */
static void watched(void)
{
	struct bez_source from = bez_source_callback(throws_away, NULL);
	unsigned char *newer = live_pages(1);
	struct uffdio_copy copy;
	struct uffd_msg msg;
	pthread_t thread;

	gives_up = bez_source_callback(throws_away_all, NULL);
	begin();
	open_watcher(0);
	live_fill(newer, page, NEWER);
	if (variant()->lost)
		left_alone();
	else
		live_region(at, page, &from, "watched");
	live_poison(at);
	CHECK_EQ(pthread_create(&thread, NULL, touch, at), 0);
	CHECK_EQ(read(watcher, &msg, sizeof(msg)), sizeof(msg));
	CHECK_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
	copy = (struct uffdio_copy){ .dst = (uintptr_t)at, .len = page,
				     .src = (uintptr_t)newer };
	CHECK_EQ(ioctl(watcher, UFFDIO_COPY, &copy), 0);
	pthread_join(thread, NULL);
	CHECK_EQ(live_wrong(at, page, NEWER), 0);
	CHECK(bez_outcome_count(BEZ_OUTCOME_ASKED_AGAIN) > 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
}

static _Atomic int former;

static void fills(int signal)
{
	struct uffdio_range range = { (unsigned long)at, page };

	(void)signal;
	former++;
	CHECK_EQ(ioctl(watcher, UFFDIO_UNREGISTER, &range), 0);
	live_fill(at, page, NEWER);
}

/* Who touches it gets a SIGBUS, each time: that comes to the program in the end. */
static void by_signal(void)
{
	struct sigaction action = { .sa_handler = fills };
	struct bez_source from = bez_source_callback(throws_away, NULL);

	page = live_page();
	at = live_pages(2);
	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	see_start(variant()->start);
	open_watcher(UFFD_FEATURE_SIGBUS);
	live_region(at, page, &from, "watched");
	watch();
	CHECK_EQ(madvise(at, page, MADV_DONTNEED), 0);
	CHECK_EQ(live_read(at), live_byte(0, NEWER));
	CHECK_EQ(former, 1);
	CHECK_EQ(live_wrong(at, page, NEWER), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
}

#define NAMED(what, function, ...)					\
	{ .name = what, .run = function,				\
	  .data = &(const struct variant){ __VA_ARGS__ } }
#define MREMAP	.start = BEZ_START_NO_UFFD

static const struct tap_case cases[] = {
	NAMED("no access, userfaultfd", no_access, 0),
	NAMED("no access, mremap", no_access, MREMAP),
	NAMED("written anew, callback, userfaultfd", written_anew, 0),
	NAMED("written anew, callback, mremap", written_anew, MREMAP),
	NAMED("written anew, deferred, userfaultfd", written_anew,
	      .deferred = 1),
	NAMED("written anew, deferred, mremap", written_anew, MREMAP,
	      .deferred = 1),
	NAMED("watched and empty, userfaultfd", watched, 0),
	NAMED("watched and empty, mremap", watched, MREMAP),
	NAMED("watched and empty, not to be replaced", watched, .lost = 1),
	NAMED("watched by signal", by_signal, 0),
	NAMED("watched by signal, slow source", by_signal, .slow = 1),
};
TAP_MAIN(cases)
