/* SPDX-License-Identifier: MIT */
/*
 * A mark that moves while a removal looks for it: from a row that has yet to
 * be looked at to one that has been. The row of the walker lies in a page
 * without access, and the fault of the look itself moves the mark.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "region/region.h"
#include "unit.h"

static struct bz_mm *mm;
static struct bz_walk *worker, *walker, *other;
static _Atomic int moved, dropped;

static char *page_of(const struct bz_walk *w)
{
	return (char *)((uintptr_t)w & -unit_page());
}

/* As run_request() and a walker that gives up do it. */
static void move_mark(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if ((char *)((uintptr_t)info->si_addr & -unit_page()) !=
	    page_of(walker) || moved) {
		signal(sig, SIG_DFL);
		return;
	}
	mprotect(page_of(walker), unit_page(), PROT_READ | PROT_WRITE);
	atomic_store(&worker->mark, atomic_load(&walker->mark));
	atomic_store(&walker->mark, 0);
	moved = 1;
}

/* The removal sleeps for another reader, who leaves: it looks again, and that
 * is the look that we wait for. */
static void before_sleep(long nr, const long arg[6])
{
	(void)arg;
	if (nr != SYS_futex || !atomic_load(&other->mark))
		return;
	if (mprotect(page_of(walker), unit_page(), PROT_NONE))
		return;
	bz_walk_unmark(other);
}

/* The function has come back. */
static void *drops(void *arg)
{
	(void)arg;
	while (!atomic_load(&worker->waiters) || !moved)
		sched_yield();
	dropped = 1;
	bz_walk_unmark(worker);
	return NULL;
}

static struct bz_walk *enter(uint32_t tid)
{
	struct bz_walk *w = bz_walk_enter(mm, tid, NULL, 0);

	CHECK(w);
	return w;
}

static void moves(void)
{
	struct sigaction action = { .sa_sigaction = move_mark,
				    .sa_flags = SA_SIGINFO };
	struct bez_policy policy = BEZ_POLICY_INIT;
	uint32_t tid = 100000000;
	bez_region_t region;
	pthread_t thread;
	void *at;

	mm = unit_mm();
	unit_patience(30);
	at = mmap(NULL, unit_page(), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	CHECK_EQ(bez_region_add(at, unit_page(), &policy, &region), 0);
	other = enter(tid++);
	worker = enter(tid++);
	do
		walker = enter(tid++);
	while (page_of(walker) <= page_of(worker + 1));
	bz_region_mark(other);
	bz_region_mark(walker);
	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
	CHECK_EQ(pthread_create(&thread, NULL, drops, NULL), 0);
	double_before(before_sleep);
	double_watch();
	CHECK_EQ(bez_region_remove(region), 0);
	double_reset();
	CHECK(moved);
	CHECK(dropped);
	pthread_join(thread, NULL);
	CHECK(!worker->waiters && !walker->waiters && !other->waiters);
	CHECK_EQ(bz_region_total(), 0);
}

static const struct tap_case cases[] = {
	{ .name = "a mark moves behind the look", .run = moves },
};
TAP_MAIN(cases)
