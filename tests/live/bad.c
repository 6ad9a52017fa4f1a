/* SPDX-License-Identifier: MIT */
/*
 * Bad input: a clear negative errno, and nothing has changed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

static unsigned char *at;		/* 8 pages */
static size_t page;
static bez_region_t taken;		/* the last two pages of it */

static struct bez_status status(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

static void begin(void)
{
	page = live_page();
	see_start(0);
	at = live_pages(8);
	taken = live_region(at + 6 * page, 2 * page, NULL, "taken");
}

/* The call failed with @want, wrote nothing, and registered nothing. */
static void refused(int line, void *addr, size_t len,
		    const struct bez_policy *policy, int want)
{
	struct bez_status before = status(), after;
	bez_region_t region = 0x5a5a5a5a5a5a5a5a, found;
	int r = bez_region_add(addr, len, policy, &region);

	CHECKF(r == want, "line %d: %d (%s), wanted %d (%s)", line, r,
	       strerror(-r), want, strerror(-want));
	CHECK_EQ(region, 0x5a5a5a5a5a5a5a5a);
	after = status();
	CHECK(!memcmp(&before, &after, sizeof(before)));
	CHECK_EQ(bez_region_at(at, &found), -ENOENT);
	CHECK_EQ(bez_region_at(at + 6 * page, &found), 0);
	CHECK_EQ(found, taken);
}

#define REFUSED(addr, len, policy, want)				\
	refused(__LINE__, addr, len, policy, want)

static void ranges(void)
{
	struct bez_policy p = BEZ_POLICY_INIT;
	unsigned char *hole;

	begin();
	REFUSED(NULL, page, &p, -EINVAL);
	REFUSED(at, 0, &p, -EINVAL);
	REFUSED(at + 1, page, &p, -EINVAL);
	REFUSED(at + page / 2, page, &p, -EINVAL);
	REFUSED(at, page - 1, &p, -EINVAL);
	REFUSED(at, page + 1, &p, -EINVAL);
	REFUSED(at, SIZE_MAX, &p, -EINVAL);
	REFUSED(at, -page, &p, -EINVAL);	/* wraps around */
	REFUSED((void *)-page, 2 * page, &p, -EINVAL);
	REFUSED((void *)-page, page, &p, -EINVAL);	/* ends at 0 */
	REFUSED((void *)(-2 * page), page, &p, -ENOMEM);
	REFUSED((void *)((uintptr_t)1 << 62), page, &p, -ENOMEM);
	REFUSED(at, (size_t)1 << 46, &p, -ENOMEM);
	REFUSED(at + 5 * page, 2 * page, &p, -EEXIST);
	REFUSED(at + 7 * page, page, &p, -EEXIST);
	/* holes: all of it, at the start, in the middle, at the end */
	hole = live_pages(8);
	CHECK_EQ(munmap(hole + 3 * page, page), 0);
	REFUSED(hole + 3 * page, page, &p, -ENOMEM);
	REFUSED(hole + 3 * page, 3 * page, &p, -ENOMEM);
	REFUSED(hole + page, 5 * page, &p, -ENOMEM);
	REFUSED(hole, 4 * page, &p, -ENOMEM);
	CHECK_EQ(live_wrong(at, 8 * page, 0), 0);
}

/* A struct of another version: smaller is older, larger is newer. */
struct longer {
	struct bez_policy policy;
	unsigned char tail[24];
};

static void sizes(void)
{
	struct longer l = { BEZ_POLICY_INIT, { 0 } };
	struct bez_policy p = BEZ_POLICY_INIT;
	bez_region_t region;
	size_t i;

	begin();
	for (i = 0; i < sizeof(uint32_t); i++) {
		p.size = (uint32_t)i;
		REFUSED(at, page, &p, -EINVAL);
	}
	for (i = 0; i < sizeof(l.tail); i++) {
		l.policy.size = sizeof(l);
		l.tail[i] = 1;
		REFUSED(at, page, &l.policy, -E2BIG);
		l.tail[i] = 0;
	}
	CHECK_EQ(bez_region_add(at, page, &l.policy, &region), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	/* an old program's struct ends before the name: that is not read */
	p.size = offsetof(struct bez_policy, name);
	p.name = (const char *)1;
	p.max_repeats = 7;
	CHECK_EQ(bez_region_add(at, page, &p, &region), 0);
	CHECK_EQ(bez_region_remove(region), 0);
}

static void policies(void)
{
	static const uint8_t unknown[][4] = {
		{ 5 }, { 255 }, { BEZ_ACTION_REPLACE, 77 },
		{ 0, BEZ_ACTION_REPLACE }, { BEZ_ACTION_REPLACE, 0, 4 },
		{ BEZ_ACTION_DEFAULT, BEZ_ACTION_REPLACE },
		{ BEZ_ACTION_REPLACE, BEZ_ACTION_REPLACE },
		{ BEZ_ACTION_DEFAULT, BEZ_ACTION_DEFAULT },
	}, known[][4] = {
		{ 0 }, { BEZ_ACTION_REPLACE }, { BEZ_ACTION_DEFAULT },
		{ BEZ_ACTION_REPLACE, BEZ_ACTION_DEFAULT },
		{ BEZ_ACTION_DEGRADE }, { BEZ_ACTION_SHUTDOWN },
		{ BEZ_ACTION_REPLACE, BEZ_ACTION_DEGRADE, BEZ_ACTION_DEFAULT },
		{ BEZ_ACTION_REPLACE, BEZ_ACTION_SHUTDOWN, BEZ_ACTION_DEFAULT },
		{ BEZ_ACTION_REPLACE, BEZ_ACTION_DEGRADE, BEZ_ACTION_SHUTDOWN,
		  BEZ_ACTION_DEFAULT },
	};
	struct bez_policy p = BEZ_POLICY_INIT;
	char name[BEZ_NAME_MAX + 2];
	bez_region_t region;
	size_t i;

	begin();
	REFUSED(at, page, NULL, -EINVAL);
	CHECK_EQ(bez_region_add(at, page, &p, NULL), -EINVAL);
	CHECK_EQ(status().regions, 1);
	for (i = 4; i < 32; i++) {
		p.flags = 1u << i;
		REFUSED(at, page, &p, -EINVAL);
	}
	p.flags = 0;
	for (i = 0; i < sizeof(unknown) / 4; i++) {
		memcpy(p.actions, unknown[i], 4);
		REFUSED(at, page, &p, -EINVAL);
	}
	for (i = 0; i < sizeof(known) / 4; i++) {
		memcpy(p.actions, known[i], 4);
		CHECK_EQ(bez_region_add(at, page, &p, &region), 0);
		CHECK_EQ(bez_region_remove(region), 0);
	}
	memset(name, 'n', sizeof(name));
	name[BEZ_NAME_MAX + 1] = '\0';
	p.name = name;
	REFUSED(at, page, &p, -ENAMETOOLONG);
	name[BEZ_NAME_MAX] = '\0';
	CHECK_EQ(bez_region_add(at, page, &p, &region), 0);
	CHECK_EQ(bez_region_remove(region), 0);
}

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)dst;
	(void)len;
	(void)offset;
	(void)arg;
	return -EIO;
}

static void bad_source(int line, struct bez_source s, int want)
{
	struct bez_source list[2] = { bez_source_zero(), s }, both;
	struct bez_policy p = BEZ_POLICY_INIT;

	p.source = &s;
	refused(line, at, 4 * page, &p, want);
	if (s.kind == BEZ_SOURCE_FIRST_OF)
		return;
	both = bez_source_first_of(list, 2);	/* and as the second of a list */
	p.source = &both;
	refused(line, at, 4 * page, &p, want);
}

#define BAD_SOURCE(s, want) bad_source(__LINE__, s, want)

static void sources(void)
{
	struct bez_source s, list[BEZ_SOURCE_MAX_LIST + 1], inner;
	int fd, closed;
	uint32_t i;

	begin();
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	closed = dup(fd);
	CHECK(fd >= 0 && closed >= 0);
	close(closed);
	BAD_SOURCE(bez_source_of(BEZ_SOURCE_NONE), -EINVAL);
	BAD_SOURCE(bez_source_of(8), -EINVAL);
	BAD_SOURCE(bez_source_of(256 + BEZ_SOURCE_ZERO), -EINVAL);
	BAD_SOURCE(bez_source_of(UINT32_MAX), -EINVAL);
	/* mirrors: none, around the end, over the region itself */
	BAD_SOURCE(bez_source_mirror(NULL), -EINVAL);
	BAD_SOURCE(bez_source_mirror((void *)-page), -EINVAL);
	BAD_SOURCE(bez_source_mirror(at), -EINVAL);
	BAD_SOURCE(bez_source_mirror(at + 3 * page), -EINVAL);
	BAD_SOURCE(bez_source_mirror(at - 3 * page), -EINVAL);
	BAD_SOURCE(bez_source_mirror(at + 4 * page - 1), -EINVAL);
	BAD_SOURCE(bez_source_file(-1, 0), -EBADF);
	BAD_SOURCE(bez_source_file(closed, 0), -EBADF);
	BAD_SOURCE(bez_source_file(1 << 30, 0), -EBADF);
	BAD_SOURCE(bez_source_file(fd, UINT64_MAX), -EINVAL);
	BAD_SOURCE(bez_source_file(fd, UINT64_MAX - page + 1), -EINVAL);
	BAD_SOURCE(bez_source_file(fd, (uint64_t)INT64_MAX + 1), -EINVAL);
	BAD_SOURCE(bez_source_callback(NULL, at), -EINVAL);
	BAD_SOURCE(bez_source_deferred(NULL, at, 1), -EINVAL);
	for (i = 1; i < 32; i++) {
		s = bez_source_file(fd, 0);
		s.flags = 1u << i;
		BAD_SOURCE(s, -EINVAL);
	}
	for (i = BEZ_SOURCE_ZERO; i <= BEZ_SOURCE_DEFERRED; i++) {
		s = bez_source_of(i);
		s.fill = fill;
		s.addr = live_pages(4);
		s.flags = BEZ_SOURCE_EOF_ZERO;
		if (i != BEZ_SOURCE_FILE)
			BAD_SOURCE(s, -EINVAL);
	}
	for (i = 0; i < BEZ_SOURCE_MAX_LIST + 1; i++)
		list[i] = bez_source_zero();
	BAD_SOURCE(bez_source_first_of(list, 0), -EINVAL);
	BAD_SOURCE(bez_source_first_of(NULL, 1), -EINVAL);
	BAD_SOURCE(bez_source_first_of(list, BEZ_SOURCE_MAX_LIST + 1), -EINVAL);
	BAD_SOURCE(bez_source_first_of(list, UINT32_MAX), -EINVAL);
	s = bez_source_first_of(list, 1);
	s.flags = 1;
	BAD_SOURCE(s, -EINVAL);
	inner = bez_source_first_of(list, 1);
	list[1] = inner;
	BAD_SOURCE(bez_source_first_of(list, 2), -EINVAL);
}

/* Many refusals with lists cost nothing: the lists go back. */
static void refusals_leak_nothing(void)
{
	struct bez_source list[4], from = bez_source_first_of(list, 4);
	struct bez_policy p = BEZ_POLICY_INIT;
	bez_region_t region = 0;
	unsigned long resident = 0;
	size_t i;

	begin();
	p.source = &from;
	for (i = 0; i < 4; i++)
		list[i] = bez_source_zero();
	for (i = 0; i < 50000; i++) {
		list[3] = bez_source_mirror(NULL);
		CHECK_EQ(bez_region_add(at, page, &p, &region), -EINVAL);
		list[3] = bez_source_zero();
		CHECK_EQ(bez_region_add(at + 6 * page, page, &p, &region),
			 -EEXIST);
		CHECK_EQ(bez_region_add(at, page, &p, &region), 0);
		CHECK_EQ(bez_region_remove(region), 0);
		if (i == 100)
			resident = see_kb("VmRSS:");
	}
	CHECK(see_kb("VmRSS:") < resident + 2048);
}

static void ids(void)
{
	static const bez_region_t none[] = { 0, 1, UINT32_MAX, UINT64_MAX,
					     (uint64_t)1 << 32,
					     (uint64_t)1 << 63 };
	struct bez_region_info info, before;
	size_t i;

	begin();
	memset(&info, 0x33, sizeof(info));
	info.size = sizeof(info);
	before = info;
	for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		if (none[i] == taken)
			continue;
		CHECK_EQ(bez_region_remove(none[i]), -ENOENT);
		CHECK_EQ(bez_region_info(none[i], &info), -ENOENT);
	}
	CHECK_EQ(bez_region_remove(taken + 1), -ENOENT);
	CHECK_EQ(bez_region_remove(taken + ((uint64_t)1 << 32)), -ENOENT);
	CHECK_EQ(bez_region_info(taken, NULL), -EINVAL);
	for (info.size = 0; info.size < 4; info.size++) {
		before.size = info.size;
		CHECK_EQ(bez_region_info(taken, &info), -EINVAL);
		CHECK(!memcmp(&info, &before, sizeof(info)));
	}
	CHECK_EQ(bez_region_at(at, NULL), -EINVAL);
	CHECK_EQ(status().regions, 1);
	CHECK_EQ(bez_region_remove(taken), 0);
	CHECK_EQ(bez_region_remove(taken), -ENOENT);
}

/* What is read out into structs of other versions. */
static void outputs(void)
{
	struct { struct bez_status s; unsigned char tail[16]; } status_long;
	struct { struct bez_region_info i; unsigned char tail[16]; } info_long;
	struct bez_status s;
	struct bez_event e;
	uint64_t seq = 5;
	size_t i;

	begin();
	memset(&status_long, 0x77, sizeof(status_long));
	status_long.s.size = sizeof(status_long);
	CHECK_EQ(bez_status(&status_long.s), 0);
	CHECK_EQ(status_long.s.size, sizeof(status_long));
	CHECK_EQ(status_long.s.regions, 1);
	memset(&info_long, 0x77, sizeof(info_long));
	info_long.i.size = sizeof(info_long);
	CHECK_EQ(bez_region_info(taken, &info_long.i), 0);
	CHECK_EQ(info_long.i.len, 2 * page);
	for (i = 0; i < 16; i++)
		CHECK(!status_long.tail[i] && !info_long.tail[i]);
	/* an older program has room for two fields */
	memset(&s, 0x77, sizeof(s));
	s.size = 8;
	CHECK_EQ(bez_status(&s), 0);
	CHECK_EQ(s.started, 1);
	CHECK_EQ(s.installed, 0x77777777);
	CHECK_EQ(bez_status(NULL), -EINVAL);
	for (s.size = 0; s.size < 4; s.size++)
		CHECK_EQ(bez_status(&s), -EINVAL);
	CHECK_EQ(bez_events(NULL, &e, 1), -EINVAL);
	CHECK_EQ(bez_events(&seq, NULL, 1), -EINVAL);
	CHECK_EQ(bez_events(&seq, &e, 0), -EINVAL);
	CHECK_EQ(seq, 5);
	/* a number from the future */
	seq = UINT64_MAX;
	CHECK_EQ(bez_events(&seq, &e, 1), 0);
	CHECK_EQ(bez_outcome_count((enum bez_outcome)-1), 0);
	CHECK_EQ(bez_outcome_count((enum bez_outcome)159), 0);
	CHECK_EQ(bez_outcome_count((enum bez_outcome)160), 0);
	CHECK(bez_outcome_name((enum bez_outcome)-1));
	CHECK(bez_outcome_advice((enum bez_outcome)4711));
	CHECK(bez_cause_name((enum bez_cause)4711));
}

static void options(void)
{
	struct { struct bez_options o; unsigned char tail[16]; } l;
	struct bez_options o = BEZ_OPTIONS_INIT;
	struct sigaction before, after;
	bez_region_t region;
	struct bez_policy p = BEZ_POLICY_INIT;
	uint32_t i;

	page = live_page();
	at = live_pages(1);
	CHECK_EQ(sigaction(SIGBUS, NULL, &before), 0);
	/* before the start */
	CHECK_EQ(bez_stop(), -ESRCH);
	CHECK_EQ(bez_thread_attach(), -ESRCH);
	CHECK_EQ(bez_thread_detach(), -EINVAL);
	CHECK_EQ(bez_region_add(at, page, &p, &region), -ESRCH);
	CHECK_EQ(bez_region_remove(1), -ENOENT);
	CHECK_EQ(bez_region_at(at, &region), -ENOENT);
	CHECK_EQ(status().started, 0);
	for (i = 5; i < 32; i++) {
		o.flags = 1u << i;
		CHECK_EQ(bez_start(&o), -EINVAL);
	}
	o.flags = 0;
	o.reserved = 1;
	CHECK_EQ(bez_start(&o), -EINVAL);
	o.reserved = 0;
	for (o.missing_rounds = 255; o.missing_rounds < 4096;
	     o.missing_rounds *= 2)
		CHECK_EQ(bez_start(&o), -EINVAL);
	o.missing_rounds = UINT32_MAX;
	CHECK_EQ(bez_start(&o), -EINVAL);
	o.missing_rounds = 254;
	for (o.size = 0; o.size < 4; o.size++)
		CHECK_EQ(bez_start(&o), -EINVAL);
	memset(&l, 0, sizeof(l));
	l.o.size = sizeof(l);
	l.tail[15] = 1;
	CHECK_EQ(bez_start(&l.o), -E2BIG);
	CHECK_EQ(sigaction(SIGBUS, NULL, &after), 0);
	CHECK(after.sa_handler == before.sa_handler);
	CHECK_EQ(status().started, 0);
	l.tail[15] = 0;
	l.o.missing_rounds = 254;
	CHECK_EQ(bez_start(&l.o), 0);
	CHECK_EQ(bez_stop(), 0);
	o.size = sizeof(o);
	CHECK_EQ(bez_start(&o), 0);
	CHECK_EQ(bez_start(NULL), -EALREADY);
	CHECK_EQ(bez_start(&o), -EALREADY);
	CHECK_EQ(status().started, 1);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(bez_stop(), -ESRCH);
}

/* ------------------------------------------------------ the largest number */

static unsigned char *copy;
static _Atomic int holding, waiter, waiter_done;

/* Is the other thread asleep on a futex? */
static int waiter_sleeps(void)
{
	char path[64], line[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", waiter);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 0)
		line[0] = '\0';
	close(fd);
	return line[0] != 'r' && atoi(line) == SYS_futex;
}

/* Keeps its claim until the other thread waits for it, or has given up. */
static int holds(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)arg;
	holding = 1;
	while (!waiter_done && !(waiter && waiter_sleeps()))
		sched_yield();
	memcpy(dst, copy + offset, len);
	return 0;
}

static int copies(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)arg;
	memcpy(dst, copy + offset, len);
	return 0;
}

static void comes_back(unsigned char *where)
{
	unsigned char byte = 0;
	int lost = see_lost(where, &byte);

	waiter_done = waiter == (int)syscall(SYS_gettid);
	if (lost)
		CHECKF(0, "lost: %s", bez_outcome_name(see_event(where).why));
	CHECK_EQ(byte, live_byte(0, 0));
}

static void *meets(void *arg)
{
	while (!holding)
		sched_yield();
	waiter = (int)syscall(SYS_gettid);
	comes_back(arg);
	return NULL;
}

/* Patience and deadlines without an end are not over at once. */
static void endless(void)
{
	struct bez_source hold = bez_source_callback(holds, NULL),
			  late = bez_source_deferred(copies, NULL, UINT64_MAX);
	struct bez_options options = BEZ_OPTIONS_INIT;
	pthread_t thread;

	page = live_page();
	see_install();
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.claim_wait_ns = UINT64_MAX;
	CHECK_EQ(bez_start(&options), 0);
	copy = live_pages(1);
	if (tap_data()) {
		at = live_pages(1);
		live_region(at, page, &late, "deferred");
		live_poison(at);
		comes_back(at);
		return;
	}
	at = live_pages(1);
	live_region(at, page, &hold, "held");
	live_poison(at);
	CHECK_EQ(pthread_create(&thread, NULL, meets, at), 0);
	comes_back(at);
	pthread_join(thread, NULL);
}

/* ----------------------------------------- a hole that is said to be memory */

static int passed_on;

static void counts(int sig)
{
	(void)sig;
	passed_on++;
}

static void said_to_be_mapped(void)
{
	struct sigaction action = { .sa_handler = counts };
	struct bez_source from = bez_source_zero();
	struct bez_policy p = BEZ_POLICY_INIT;
	bez_region_t region;
	int end = 0;
	pid_t pid;

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	begin();
	at = live_pages(3);
	CHECK_EQ(munmap(at + page, page), 0);
	p.source = &from;
	CHECK_EQ(bez_region_add(at, 3 * page, &p, &region), -ENOMEM);
	p.flags = BEZ_POLICY_IS_MAPPED;
	CHECK_EQ(bez_region_add(at, 3 * page, &p, &region), 0);
	/* a touch is SIGSEGV, and none of our business */
	pid = fork();
	if (!pid)
		_exit(live_read(at + page));
	CHECK_EQ(waitpid(pid, &end, 0), pid);
	CHECK(WIFSIGNALED(end) && WTERMSIG(end) == SIGSEGV);
	/* a report is refused, and maps nothing there */
	see_report(at + page, BUS_MCEERR_AR, 12);
	CHECK_EQ(see_event(at + page).why,
		 live_linux(5, 14) ? BEZ_OUTCOME_REFUSED_UNMAPPED :
		 BEZ_OUTCOME_REFUSED_KIND);	/* it cannot be told there */
	CHECK_EQ(see_event(at + page).outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(passed_on, 1);
	CHECK_EQ(msync(at + page, page, MS_ASYNC), -1);
	/* what is around it is replaced */
	live_poison(at + 2 * page);
	CHECK_EQ(live_read(at + 2 * page), 0);
	CHECK_EQ(live_wrong(at, page, 0), 0);
	CHECK_EQ(bez_region_remove(region), 0);
}

#define CASE(what, function) { .name = what, .run = function }

static const struct tap_case cases[] = {
	CASE("ranges", ranges),
	CASE("sizes", sizes),
	CASE("policies", policies),
	CASE("sources", sources),
	CASE("refusals leak nothing", refusals_leak_nothing),
	CASE("ids", ids),
	CASE("outputs", outputs),
	CASE("options and order", options),
	{ .name = "endless deadlines", .run = endless, .data = "deferred" },
	{ .name = "endless deadlines, another's repair", .run = endless },
	CASE("said to be mapped", said_to_be_mapped),
};
TAP_MAIN(cases)
