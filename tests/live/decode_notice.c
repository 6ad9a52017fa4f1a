/* SPDX-License-Identifier: MIT */
/*
 * Early notices (action optional): a hint for the worker, and nothing for the
 * thread that was interrupted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "forge.h"

#define QUEUE	64			/* as many as bezoar keeps */
#define MORE	10

struct counted {
	enum bez_outcome outcome;
	uint64_t count;
};

static int reached(void *arg)
{
	struct counted *c = arg;

	return bez_outcome_count(c->outcome) >= c->count;
}

static void wait_for(enum bez_outcome outcome, uint64_t count)
{
	struct counted c = { outcome, count };

	chain_until(reached, &c, bez_outcome_name(outcome));
}

static int32_t self(void)
{
	return (int32_t)syscall(SYS_gettid);
}

static int32_t worker(void)
{
	struct bez_status status = { .size = sizeof(status) };

	CHECK_EQ(bez_status(&status), 0);
	CHECK(status.worker_tid);
	return status.worker_tid;
}

/* Whatever is said about a page of a region names the region. */
static void check_named(struct bez_event event, bez_region_t region)
{
	CHECK_EQ(event.cause, BEZ_CAUSE_POISON_AO);
	CHECK_EQ(event.region, region);
	CHECK_EQ(event.width, live_page());
	CHECK(!strcmp(event.name, "forged"));
}

/* Stale, late, about a clean page or memory that was used again: what cannot
 * be confirmed is left alone. */
static void stale(void)
{
	int lsb = *(const int *)tap_data();
	struct bez_event event;
	bez_region_t region;
	unsigned char *at;

	forge_former();
	chain_start();
	at = forge_region(3, &region);
	CHECK_EQ(forge(BUS_MCEERR_AO, at + live_page(), lsb), 0);
	wait_for(BEZ_OUTCOME_STALE, 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_NOTED), 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
	check_named(forge_event(self(), BEZ_OUTCOME_NOTED), region);
	event = forge_event(worker(), BEZ_OUTCOME_STALE);
	check_named(event, region);
	CHECK_EQ((long)event.addr, (long)(at + live_page()));
	CHECK_EQ(live_wrong(at, 3 * live_page(), 0), 0);
	CHECK_EQ(forge_calls, 0);
}

/* --------------------------------------------------- lost: by the worker */

static volatile int filled_by;

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	filled_by = (int)syscall(SYS_gettid);
	live_fill(dst, len, 5);
	return 0;
}

static void replaced_by_the_worker(void)
{
	struct bez_source from = bez_source_callback(fill, NULL);
	struct bez_region_info info = { .size = sizeof(info) };
	struct bez_status status = { .size = sizeof(status) };
	unsigned char *at = live_pages(1);
	struct bez_event event;
	bez_region_t region;

	forge_former();
	chain_start();
	region = live_region(at, live_page(), &from, "page");
	live_poison(at);
	CHECK_EQ(forge(BUS_MCEERR_AO, at, 12), 0);
	wait_for(BEZ_OUTCOME_REPLACED, 1);
	/* nobody has touched it, and it is good */
	CHECK(!live_lost(at));
	CHECK_EQ(bez_status(&status), 0);
	CHECK_EQ(filled_by, worker());
	event = forge_event(worker(), BEZ_OUTCOME_REPLACED);
	CHECK_EQ(event.cause, BEZ_CAUSE_POISON_AO);
	CHECK_EQ(bez_region_info(region, &info), 0);
	CHECK_EQ(info.notices, 1);
	CHECK_EQ(info.faults, 0);
	CHECK_EQ(info.replaced, 1);
	CHECK_EQ(status.faults, 1);
	CHECK_EQ(live_wrong(at, live_page(), 5), 0);
	CHECK_EQ(status.faults, 1);
	CHECK_EQ(forge_calls, 0);
}

/*
 * The same with a notice by the kernel, about real poison: a child that shares
 * the page poisons it and gets the signal for who asked; we have not touched
 * it, so ours is an early notice, and goes to the thread that wants such.
 */
static void real_notice(void)
{
	struct bez_source from = bez_source_callback(fill, NULL);
	unsigned char *at = live_pages(1);
	struct bez_event event;
	pid_t pid;

	if (!live_is_real())
		tap_skip("this kernel cannot poison a page: no memory failure");
	forge_former();
	live_start(0);
	live_region(at, live_page(), &from, "page");
	pid = _Fork();
	CHECK(pid >= 0);
	if (!pid) {
		signal(SIGBUS, SIG_DFL);
		madvise(at, live_page(), MADV_HWPOISON);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	event = forge_event(worker(), BEZ_OUTCOME_REPLACED);
	CHECK_EQ(event.cause, BEZ_CAUSE_POISON_AO);
	CHECK_EQ((long)event.addr, (long)at);
	CHECK_EQ(filled_by, worker());
	CHECK_EQ(live_wrong(at, live_page(), 5), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
	CHECK_EQ(forge_calls, 0);
}

/* Nothing can replace it: the notice ends nobody. The touch does. */
static void not_saved(void)
{
	unsigned char *at = live_pages(1);

	forge_former();
	chain_start();
	live_region(at, live_page(), NULL, "page");
	live_poison(at);
	CHECK_EQ(forge(BUS_MCEERR_AO, at, 12), 0);
	CHECK_EQ(forge_event(worker(), BEZ_OUTCOME_NOTED).why,
		 BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ(forge_calls, 0);
	CHECK(live_lost(at));
	CHECK_EQ(forge(live_code(), at + 8, 12), 0);
	CHECK_EQ(forge_calls, 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEFAULT), 1);
}

static void no_worker(void)
{
	bez_region_t region;
	unsigned char *at;

	forge_former();
	live_start(BEZ_START_NO_WORKER);
	at = forge_region(1, &region);
	live_poison(at);
	CHECK_EQ(forge(BUS_MCEERR_AO, at, 12), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_NOTED), 1);
	check_named(forge_last(), region);
	CHECK(live_lost(at));
	CHECK_EQ(live_wrong(at, live_page(), 1), 0);
	CHECK_EQ(forge_calls, 0);
}

/* ------------------------------------------------------------ many at once */

static _Atomic int running, released;

static int hold_worker(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	atomic_store(&running, 1);
	while (!atomic_load(&released))
		sched_yield();
	live_fill(dst, len, 0);
	return 0;
}

static void *touch(void *page)
{
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(live_read(page), live_byte(0, 0));
	return NULL;
}

static pthread_t keep_worker_busy(void)
{
	struct bez_source from = bez_source_deferred(hold_worker, NULL,
						     60000000000u);
	unsigned char *at = live_pages(1);
	pthread_t thread;

	live_region(at, live_page(), &from, "busy");
	live_poison(at);
	CHECK_EQ(pthread_create(&thread, NULL, touch, at), 0);
	while (!atomic_load(&running))
		sched_yield();
	return thread;
}

static void burst(void)
{
	unsigned char *at;
	bez_region_t region;
	pthread_t thread;
	size_t i, page = live_page();

	forge_former();
	chain_start();
	at = forge_region(QUEUE + MORE, &region);
	for (i = 0; i < QUEUE + MORE; i++)
		live_poison(at + i * page);
	thread = keep_worker_busy();
	for (i = 0; i < QUEUE + MORE; i++)
		CHECK_EQ(forge(BUS_MCEERR_AO, at + i * page, 12), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_NOTED), QUEUE);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DROPPED), MORE);
	check_named(forge_event(self(), BEZ_OUTCOME_DROPPED), region);
	CHECK_EQ(forge_calls, 0);
	atomic_store(&released, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	wait_for(BEZ_OUTCOME_REPLACED, QUEUE + 1);
	for (i = 0; i < QUEUE; i++)
		CHECK(!live_lost(at + i * page));
	/* what was dropped tells itself when it is touched */
	for (; i < QUEUE + MORE; i++)
		CHECK(live_lost(at + i * page));
	CHECK_EQ(live_wrong(at, (QUEUE + MORE) * page, 1), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), QUEUE + MORE + 1);
	CHECK_EQ(forge_calls, 0);
}

/* The same page announced three times is one thing to do. */
static void repeated(void)
{
	bez_region_t region;
	unsigned char *at;
	pthread_t thread;
	int i;

	forge_former();
	chain_start();
	at = forge_region(2, &region);
	live_poison(at);
	thread = keep_worker_busy();
	for (i = 0; i < 3; i++)
		CHECK_EQ(forge(BUS_MCEERR_AO, at, 12), 0);
	CHECK_EQ(forge(BUS_MCEERR_AO, at + live_page(), 12), 0);
	atomic_store(&released, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	wait_for(BEZ_OUTCOME_STALE, 1);		/* the last of them */
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_STALE), 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 2);
}

/* -------------------------------------------------------- inside a source */

/* A notice interrupts a source: the source goes on, and delivers. */
static unsigned char *announced;

static int is_told(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	if (forge(BUS_MCEERR_AO, announced, 12))
		return -EIO;
	live_fill(dst, len, 0);
	return 0;
}

static void during_a_repair(void)
{
	const int *foreign = tap_data();
	struct bez_source from = bez_source_callback(is_told, NULL);
	unsigned char *at = live_pages(1);
	bez_region_t region;

	forge_former();
	chain_start();
	announced = *foreign ? live_pages(1) : forge_region(1, &region);
	if (!*foreign)
		live_poison(announced);
	live_region(at, live_page(), &from, "page");
	live_poison(at);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
	if (*foreign) {
		CHECK_EQ(forge_calls, 1);
		CHECK_EQ(forge_seen.si_code, BUS_MCEERR_AO);
		CHECK_EQ((long)forge_seen.si_addr, (long)announced);
		CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
	} else {
		wait_for(BEZ_OUTCOME_REPLACED, 2);
		CHECK_EQ(forge_calls, 0);
		CHECK_EQ(live_wrong(announced, live_page(), 1), 0);
	}
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEFAULT), 0);
}

/* Whoever touched the page has its claim, and waits for the worker. So the
 * worker may not wait for the claim: the deadline would be what ends it. */
static _Atomic int in_first, first_may_end, toucher;

static int hold_first(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)arg;
	if (!offset) {
		atomic_store(&in_first, 1);
		while (!atomic_load(&first_may_end))
			usleep(1000);
	}
	live_fill(dst, len, (unsigned int)(offset / live_page()));
	return 0;
}

static int is_set(void *arg)
{
	return atomic_load((_Atomic int *)arg);
}

static int toucher_waits(void *arg)
{
	(void)arg;
	return live_sleeps(atomic_load(&toucher));
}

static void *touch_third(void *at)
{
	atomic_store(&toucher, self());
	CHECK_EQ(live_wrong(at, live_page(), 2), 0);
	return NULL;
}

static void touched_meanwhile(void)
{
	struct bez_source from =
		bez_source_deferred(hold_first, NULL, 60000000000u);
	unsigned char *at = live_pages(3);
	pthread_t thread;
	int i;

	forge_former();
	chain_start();
	live_region(at, 3 * live_page(), &from, "page");
	for (i = 0; i < 3; i++)
		live_poison(at + i * live_page());
	CHECK_EQ(forge(BUS_MCEERR_AO, at, 12), 0);
	chain_until(is_set, &in_first, "the worker asks for the first");
	/* the first's place in the queue is free again, and is passed by */
	CHECK_EQ(forge(BUS_MCEERR_AO, at + live_page(), 12), 0);
	CHECK_EQ(forge(BUS_MCEERR_AO, at + 2 * live_page(), 12), 0);
	CHECK_EQ(pthread_create(&thread, NULL, touch_third,
				at + 2 * live_page()), 0);
	chain_until(toucher_waits, NULL, "the third is waited for");
	atomic_store(&first_may_end, 1);
	wait_for(BEZ_OUTCOME_REPLACED, 3);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	for (i = 0; i < 2; i++)
		CHECK_EQ(live_wrong(at + i * live_page(), live_page(),
				    (unsigned int)i), 0);
	CHECK_EQ(forge_calls, 0);
}

/* ---------------------------------------------------------------- foreign */

/* The program may have asked for early notices itself. */
static void foreign(void)
{
	unsigned char *at = live_pages(1);

	forge_former();
	chain_start();
	CHECK_EQ(forge(BUS_MCEERR_AO, at, 12), 0);
	CHECK_EQ(forge_calls, 1);
	CHECK_EQ(forge_seen.si_code, BUS_MCEERR_AO);
	CHECK_EQ((long)forge_seen.si_addr, (long)at);
	CHECK_EQ(forge_seen.si_addr_lsb, 12);
	CHECK_EQ(forge_last().region, 0);
	CHECK(!forge_last().name[0]);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 1);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
}

static int with;
static void (*former_action)(int);

static void tell(void *arg)
{
	signal(SIGBUS, former_action);
	if (with)
		chain_start();
	if (forge(BUS_MCEERR_AO, arg, 12))
		_exit(1);
	_exit(33);
}

static void foreign_default(void)
{
	struct chain_end bare, ours;

	former_action = SIG_DFL;
	bare = chain_trace(tell, live_pages(1));
	with = 1;
	ours = chain_trace(tell, live_pages(1));
	CHECK(WIFSIGNALED(bare.status) && WIFSIGNALED(ours.status));
	CHECK_EQ(WTERMSIG(ours.status), SIGBUS);
	CHECK_EQ(ours.info.si_code, BUS_MCEERR_AO);
	CHECK_EQ(ours.info.si_addr_lsb, bare.info.si_addr_lsb);
}

static void foreign_ignored(void)
{
	struct chain_end bare, ours;

	former_action = SIG_IGN;
	bare = chain_trace(tell, live_pages(1));
	with = 1;
	ours = chain_trace(tell, live_pages(1));
	CHECK(WIFEXITED(bare.status) && WEXITSTATUS(bare.status) == 33);
	CHECK(WIFEXITED(ours.status) && WEXITSTATUS(ours.status) == 33);
}

/* The worker gets the notices of the whole process because it asked for them:
 * also those that are nobody's. */
static int worker_is_told(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	if (forge(BUS_MCEERR_AO, arg, 12))
		return -EIO;
	live_fill(dst, len, 0);
	return 0;
}

static void foreign_to_the_worker(void)
{
	unsigned char *at = live_pages(1), *nobodys = live_pages(1);
	struct bez_source from = bez_source_deferred(worker_is_told, nobodys,
						     20000000000u);

	forge_former();
	chain_start();
	live_region(at, live_page(), &from, "page");
	live_poison(at);
	CHECK_EQ(live_wrong(at, live_page(), 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_NOTED), 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 0);
	CHECK_EQ(forge_calls, 0);
}

static const int lsb12 = 12, lsb21 = 21, lsb255 = 255, no = 0, yes = 1;

static const struct tap_case cases[] = {
	{ .name = "stale, lsb 12", .run = stale, .data = &lsb12 },
	{ .name = "stale, lsb 21", .run = stale, .data = &lsb21 },
	{ .name = "stale, lsb 255", .run = stale, .data = &lsb255 },
	{ .name = "lost: replaced by the worker",
	  .run = replaced_by_the_worker },
	{ .name = "lost: a notice by the kernel", .run = real_notice },
	{ .name = "lost: cannot be saved", .run = not_saved },
	{ .name = "lost: no worker", .run = no_worker },
	{ .name = "a burst, and more than fit", .run = burst },
	{ .name = "repeated", .run = repeated },
	{ .name = "during a repair", .run = during_a_repair, .data = &no },
	{ .name = "during a repair, foreign", .run = during_a_repair,
	  .data = &yes },
	{ .name = "touched meanwhile, a deferred source",
	  .run = touched_meanwhile },
	{ .name = "foreign", .run = foreign },
	{ .name = "foreign, default", .run = foreign_default },
	{ .name = "foreign, ignored", .run = foreign_ignored },
	{ .name = "foreign, to the worker", .run = foreign_to_the_worker },
};
TAP_MAIN(cases)
