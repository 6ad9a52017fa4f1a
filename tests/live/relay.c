/* SPDX-License-Identifier: MIT */
/*
 * The relay of a region, by real signals: of a load, of a system call that a
 * signal has ended, of early notices; and a relay that meets losses itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "forge.h"
#include "kinds_help.h"
#include "live.h"
#include "replace_see.h"
#include "scope_help.h"

/* What one of them was asked, and answers. */
struct record {
	_Atomic int asked;
	_Atomic int takes;
	struct bez_lost lost;
	const void *volatile context;
	volatile uint64_t ip;
	volatile int tid;
	volatile int calls;		/* what bez_region_remove() says in it */
};

static struct record record;

static int relay(const struct bez_lost *lost, const void *context, void *arg)
{
	const ucontext_t *uc = context;
	struct record *r = arg;

	r->lost = *lost;
	r->context = context;
#if defined(__x86_64__)
	r->ip = uc ? (uint64_t)uc->uc_mcontext.gregs[REG_RIP] : 0;
#else
	r->ip = uc ? uc->uc_mcontext.pc : 0;
#endif
	r->tid = (int)syscall(SYS_gettid);
	r->calls = bez_region_remove(lost->region);
	atomic_fetch_add(&r->asked, 1);
	return atomic_load(&r->takes);
}

static const struct bez_relay ours = { .relay = relay, .arg = &record };

static bez_region_t add(void *addr, size_t len, const struct bez_relay *which)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r = 0;

	policy.name = "relayed";
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.relay = which;
	CHECK_EQ(bez_region_add(addr, len, &policy, &r), 0);
	return r;
}

static void begin(const struct bez_relay *which)
{
	page = live_page();
	at = live_pages(PAGES);
	see_install();
	see_start(0);
	region = add(at, PAGES * page, which);
	live_poison(at + LOST * page);
}

/* ----------------------------------------------------------------- a load */

static void declines(void)
{
	struct bez_lost lost = { 0 };
	struct bez_event e;
	unsigned char byte;
	int i;

	begin(&ours);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(scope_left(at + TOUCH + i, &lost), 1);
		CHECK_EQ(record.asked, i + 1);
		CHECK(lost.touched == at + TOUCH + i);
		CHECK_EQ(memcmp(&lost, &record.lost, sizeof(lost)), 0);
		CHECK_EQ(record.tid, gettid());
		CHECK(record.context && record.ip);
		CHECK_EQ(record.calls, -EDEADLK);
		e = see_event(at + TOUCH);
		CHECK_EQ(e.outcome, BEZ_OUTCOME_UNWOUND);
	}
	CHECK_EQ(see_lost(at + TOUCH, &byte), 1);
	CHECK_EQ(record.asked, 4);
	CHECK_EQ(see_event(at + TOUCH).why, BEZ_OUTCOME_REFUSED_NO_SCOPE);
	CHECK_EQ(scope_left(at, &lost), 0);
	CHECK_EQ(record.asked, 4);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_RELAYED), 0);
}

/* The owner has the content again, once it was asked so often: 1 has the load
 * run again each time. */
#define OFTEN	50

static _Atomic int cleared;

static void *clears(void *arg)
{
	CHECK_EQ(bez_thread_attach(), 0);
	while (atomic_load(&record.asked) < OFTEN)
		sched_yield();
	CHECK_EQ(bez_lost_fill(at + LOST * page, page, arg), 0);
	atomic_store(&cleared, 1);
	return NULL;
}

static void runs_again(void)
{
	unsigned char *good = live_pages(PAGES) + LOST * live_page();
	pthread_t thread;

	begin(&ours);
	atomic_store(&record.takes, 1);
	CHECK_EQ(pthread_create(&thread, NULL, clears, good), 0);
	CHECK_EQ(live_read(at + TOUCH), live_byte(TOUCH, 0));
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(record.asked >= OFTEN);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_RELAYED), record.asked);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_UNWOUND), 0);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	CHECK_EQ(bez_lost_in(at, PAGES * page), 0);
}

/* ----------------------------------------------------------- a system call */

static _Atomic int is_out;
static volatile int was, error, caught, sleeper;

/*
 * What the kernel sends a thread whose system call has met poison of which EFAULT
 * does not tell, a virtual processor's, say: it comes while the thread is in a
 * system call that waits for something else, and ends that.
 */
static void *waits(void *arg)
{
	struct pollfd never = { .fd = -1 };
	struct timespec long_enough = { .tv_sec = 100 };
	sigset_t bus, none;

	(void)arg;
	sigemptyset(&none);
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	CHECK_EQ(bez_thread_attach(), 0);
	sleeper = gettid();
	BEZ_TRY {
		pthread_sigmask(SIG_BLOCK, &bus, NULL);
		CHECK_EQ(forge(BUS_MCEERR_AR, at + TOUCH, 12), 0);
		was = ppoll(&never, 1, &long_enough, &none);
		error = errno;
	} BEZ_CATCH(lost) {
		caught += lost->touched == at + TOUCH;
	}
	atomic_fetch_add(&is_out, 1);
	return NULL;
}

static void wait_in_a_call(void)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, waits, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(is_out, 1);
}

static void in_a_call(void)
{
	int takes = *(const int *)tap_data();
	struct bez_event e;

	begin(&ours);
	atomic_store(&record.takes, takes);
	wait_in_a_call();
	CHECK_EQ(record.asked, 1);
	CHECK_EQ(record.tid, sleeper);
	CHECK(record.lost.touched == at + TOUCH);
	CHECK_EQ(record.lost.cause, BEZ_CAUSE_POISON_AR);
	CHECK_EQ(caught, !takes);
	if (takes) {
		CHECK_EQ(was, -1);
		CHECK_EQ(error, EINTR);
	}
	e = see_event(at + TOUCH);
	CHECK_EQ(e.tid, sleeper);
	CHECK_EQ(e.action, BEZ_ACTION_DEGRADE);
	CHECK_EQ(e.outcome, takes ? BEZ_OUTCOME_RELAYED : BEZ_OUTCOME_UNWOUND);
	CHECK_EQ(bez_lost_in(at + TOUCH, 1), 1);
}

/* They say so themselves, before the page is entered and afterwards. */
static void other_ways(void)
{
	unsigned char byte;

	begin(&ours);
	atomic_store(&record.takes, 1);
	CHECK_EQ(bez_copy(&byte, at + TOUCH, 1), 1);
	CHECK_EQ(record.asked, 0);
	CHECK_EQ(bez_lost_in(at + TOUCH, 1), 1);
	CHECK_EQ(bez_copy(&byte, at + TOUCH, 1), 1);
	CHECK_EQ(bez_recover(at, PAGES * page), -EFAULT);
	CHECK_EQ(record.asked, 0);
}

/* -------------------------------------------------------------- early notices */

static _Atomic int want;

static int was_asked(void *arg)
{
	(void)arg;
	return atomic_load(&record.asked) >= atomic_load(&want);
}

static int worker(void)
{
	struct bez_status status = { .size = sizeof(status) };

	CHECK_EQ(bez_status(&status), 0);
	return status.worker_tid;
}

static void noticed(unsigned char *where, int often, int takes)
{
	enum bez_outcome is = takes ? BEZ_OUTCOME_RELAYED :
				      BEZ_OUTCOME_DEGRADED;

	atomic_store(&record.takes, takes);
	atomic_store(&want, often);
	CHECK_EQ(forge(BUS_MCEERR_AO, where, 12), 0);
	chain_until(was_asked, NULL, "the relay is told");
	CHECK_EQ(record.asked, often);
	CHECK_EQ(record.tid, worker());
	CHECK(!record.context);
	CHECK(record.lost.touched == where);
	CHECK_EQ(record.calls, -EDEADLK);
	CHECK_EQ(forge_event(worker(), is).region, record.lost.region);
}

/* It may be the kernel that keeps it closed, or a cover. */
static void notices(void)
{
	const struct kinds_kind *kind = tap_data();
	unsigned char *page_at;
	struct kinds_memory m;
	size_t offset;

	forge_former();
	kinds_make(kind, &m);
	page = m.width;
	offset = 2 * m.width;
	page_at = m.at + offset;
	chain_start();
	add(m.at, m.len, &ours);
	kinds_lose(&m, offset);
	noticed(page_at, 1, 1);
	CHECK_EQ(record.lost.cause, BEZ_CAUSE_POISON_AO);
	CHECK(record.lost.addr == page_at);
	CHECK_EQ(record.lost.width, m.width);
	CHECK_EQ(bez_lost_in(page_at, 1), 1);
	CHECK_EQ((uint32_t)bez_lost_generation(), 1);
	noticed(page_at, 2, 1);
	noticed(page_at, 3, 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_STALE), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 1);
	CHECK_EQ(forge_calls, 0);
	/* of what is good nobody is told */
	CHECK_EQ(forge(BUS_MCEERR_AO, m.at, 12), 0);
	forge_event(worker(), BEZ_OUTCOME_STALE);
	CHECK_EQ(record.asked, 3);
	kinds_unlink(&m);
}

/* --------------------------------------------------- what it meets itself */

static unsigned char *touches;
static volatile unsigned char read_there;

static int touch(const struct bez_lost *lost, const void *context, void *arg)
{
	(void)lost;
	(void)context;
	atomic_fetch_add((_Atomic int *)arg, 1);
	read_there = live_read(touches);
	return 1;
}

static _Atomic int touched;
static const struct bez_relay hurt = { .relay = touch, .arg = &touched };

/* Another that is lost, or the very page: then it has not answered. */
static void meets_a_loss(void)
{
	const size_t *where = tap_data();
	struct bez_lost lost = { 0 };
	uint64_t mask = scope_mask();
	int i;

	begin(&hurt);
	if (*where != LOST)
		live_poison(at + *where * page);
	touches = at + *where * page + 5;
	for (i = 1; i <= 3; i++) {
		CHECK_EQ(scope_left(at + TOUCH, &lost), 1);
		CHECK_EQ(touched, i);
		CHECK(lost.touched == at + TOUCH);
		CHECK_EQ(scope_mask(), mask);
	}
	CHECK_EQ((uint32_t)bez_lost_generation(), *where != LOST ? 2 : 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_RELAYED), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_UNWOUND), 3);
}

/* What can be replaced is, and the answer counts. */
static void meets_one_that_is_replaced(void)
{
	unsigned char *other, *mirror;
	struct bez_source from;

	begin(&hurt);
	other = live_pages(2);
	mirror = live_pages(2);
	from = bez_source_mirror(mirror);
	live_region(other, 2 * page, &from, "other");
	live_poison(other);
	touches = other + 9;
	wait_in_a_call();
	CHECK_EQ(touched, 1);
	CHECK_EQ(read_there, live_byte(9, 0));
	CHECK_EQ(caught, 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_RELAYED), 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
}

/* What says who is to be asked is lost. */
static void is_lost_itself(void)
{
	struct bez_relay *own;
	struct bez_lost lost = { 0 };

	page = live_page();
	own = (struct bez_relay *)live_pages(1);
	*own = ours;
	begin(own);
	add(own, page, NULL);
	live_poison(own);
	CHECK_EQ(scope_left(at + TOUCH, &lost), 1);
	CHECK(lost.addr == at + LOST * page);
	CHECK_EQ(record.asked, 0);
	CHECK_EQ(bez_lost_in(own, 1), 1);
}

/* --------------------------------------------------------------- many threads */

static _Atomic int inside, open_door, removed;
static _Atomic int remover;

static int stays(const struct bez_lost *lost, const void *context, void *arg)
{
	(void)lost;
	(void)context;
	(void)arg;
	atomic_fetch_add(&inside, 1);
	while (!atomic_load(&open_door))
		sched_yield();
	/* what it was given is still there */
	return !atomic_load(&removed);
}

static const struct bez_relay slow = { .relay = stays };

static void *removes(void *arg)
{
	(void)arg;
	atomic_store(&remover, (int)syscall(SYS_gettid));
	CHECK_EQ(bez_region_remove(region), 0);
	atomic_store(&removed, 1);
	return NULL;
}

/* Two are asked at once, who both have met the page, and the region goes after
 * both. */
static void removal_waits(void)
{
	pthread_t first, second, third;

	begin(&slow);
	CHECK_EQ(pthread_create(&first, NULL, waits, NULL), 0);
	/* who comes while it is being entered is sent back, to meet it again; but no
	 * signal of ours is sent twice */
	while (atomic_load(&inside) < 1)
		sched_yield();
	CHECK_EQ(pthread_create(&second, NULL, waits, NULL), 0);
	while (atomic_load(&inside) < 2)
		sched_yield();
	CHECK_EQ(pthread_create(&third, NULL, removes, NULL), 0);
	while (!live_sleeps(atomic_load(&remover)) && !removed)
		sched_yield();
	CHECK_EQ(removed, 0);
	CHECK_EQ(is_out, 0);
	atomic_store(&open_door, 1);
	CHECK_EQ(pthread_join(first, NULL), 0);
	CHECK_EQ(pthread_join(second, NULL), 0);
	CHECK_EQ(pthread_join(third, NULL), 0);
	CHECK_EQ(caught, 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_RELAYED), 2);
}

/* ------------------------------------------------------------------ children */

static void child(void)
{
	struct bez_lost lost = { 0 };

	CHECK_EQ(scope_left(at + TOUCH, &lost), 1);
	CHECK_EQ(record.asked, 2);
	CHECK_EQ(record.tid, gettid());
	CHECK(record.lost.touched == at + TOUCH);
}

static void in_a_child(void)
{
	struct bez_lost lost = { 0 };

	begin(&ours);
	CHECK_EQ(scope_left(at + TOUCH, &lost), 1);
	live_in_child(child);
	CHECK_EQ(record.asked, 1);
}

static const int no, yes = 1;
static const size_t other_page = LOST + 2, same_page = LOST;

static const struct tap_case cases[] = {
	{ .name = "it declines: the scope, and each access asks it anew",
	  .run = declines },
	{ .name = "it takes a load, which runs again until it is good",
	  .run = runs_again },
	{ .name = "a call that a signal has ended goes on", .run = in_a_call,
	  .data = &yes },
	{ .name = "a call that a signal has ended, to a scope",
	  .run = in_a_call, .data = &no },
	{ .name = "copies and bez_recover() do not ask", .run = other_ways },
	{ .name = "early notices: told of each", .run = notices,
	  .data = &kinds_anon },
	{ .name = "early notices: told of each, under a cover", .run = notices,
	  .data = &kinds_memfd },
	{ .name = "it meets another lost page", .run = meets_a_loss,
	  .data = &other_page },
	{ .name = "it meets the very page", .run = meets_a_loss,
	  .data = &same_page },
	{ .name = "it meets a page that is replaced",
	  .run = meets_one_that_is_replaced },
	{ .name = "it is in a lost page itself", .run = is_lost_itself },
	{ .name = "two at once, and the removal waits for both",
	  .run = removal_waits },
	{ .name = "in a child", .run = in_a_child },
};

TAP_MAIN(cases)
