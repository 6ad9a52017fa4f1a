/* SPDX-License-Identifier: MIT */
/*
 * A repair that comes too late: while it was on its way the program closed
 * the page, or threw it away and wrote another in its place. What the program
 * did stays.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "live.h"
#include "replace_see.h"

#define NEWER	5		/* the program's; seeds of live_fill() */
#define OLDER	6		/* the source's */

struct variant {
	uint32_t start;			/* BEZ_START_* */
	int deferred;			/* the source runs on the worker */
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
};
TAP_MAIN(cases)
