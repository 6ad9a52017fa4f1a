/* SPDX-License-Identifier: MIT */
/*
 * bez_lost_add() by itself: with each of its system calls failing once in each way,
 * what is in the inventory is closed, and what is not is as it was; with another
 * thread at the page; and with no room for one more.
 */
#include <errno.h>
#include <string.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../live/live.h"
#include "fault/fault.h"
#include "region/lost.h"
#include "region/region.h"
#include "unit.h"

#define PAGES	3
#define LOST	1

static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EINTR, EPERM, EBADF,
			      EFAULT, ENOSYS };

static unsigned char *at;
static int r;

static unsigned char *lost_page(void)
{
	return at + LOST * unit_page();
}

static void begin_with(uint32_t flags)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	unit_need_poison();
	at = live_pages(PAGES);
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL | flags);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, PAGES * unit_page(), &policy, &region), 0);
	unit_patience(100);
}

static void begin(void)
{
	begin_with(0);
}

static void add(void)
{
	double_watch();
	r = bez_lost_add(lost_page(), unit_page());
	double_rest();
	CHECK(!bz_walk_any(atomic_load(&bz_core.mm)));
}

static int entered(void)
{
	return bez_lost_in(lost_page(), unit_page());
}

static void every_call(void)
{
	uint32_t n, calls, fds, maps, did = 0, did_not = 0;
	size_t e;

	begin_with(*(const uint32_t *)tap_data());
	add();
	CHECK_EQ(r, 0);
	calls = double_calls();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls; n++) {
			enum unit_state is;

			CHECK_EQ(bez_lost_clear(at, PAGES * unit_page()), 0);
			live_fill(at, PAGES * unit_page(), 0);
			fds = unit_fds();
			maps = unit_maps();
			double_reset();
			double_fail(n, errors[e]);
			add();
			is = unit_state(at, LOST);
			CHECK_EQ(unit_fds(), fds);
			CHECK_EQ(unit_state(at, LOST + 1), UNIT_GOOD);
			CHECK_EQ(entered(), !r);
			if (!r) {
				CHECKF(is == UNIT_CLOSED,
				       "call %u says %s: entered, and open", n,
				       strerror(errors[e]));
				did++;
				continue;
			}
			CHECKF(is == UNIT_GOOD, "call %u says %s: not entered, "
			       "and not as it was", n, strerror(errors[e]));
			CHECK(unit_maps() <= maps);
			did_not++;
		}
	CHECKF(did && did_not, "%u, %u", did, did_not);
}

/* ------------------------------------------------------- another thread at it */

static struct bz_walk *other;
static int enters;

static const int never, leaves = 1, had_entered = 2, at_once = 3;

static void enter(void)
{
	struct bz_extent x = { (uint64_t)lost_page(), unit_page() };
	struct bez_lost lost = { .addr = lost_page(), .width = unit_page(),
				 .cause = BEZ_CAUSE_POISON_AR };
	struct bz_lost_at slot;

	CHECK_EQ(bz_lost_take(x, &slot), 0);
	bz_lost_enter(&slot, &lost, BZ_AS_IT_WAS);
}

/* It is done when this one waits for it, or has begun to look what memory that
 * is. */
static void other_enters(long nr, const long arg[6])
{
	int waits = nr == SYS_futex && arg[1] == FUTEX_WAIT_PRIVATE &&
		    atomic_load(&other->claim[0]);

	if (enters == at_once && nr == SYS_openat && !entered())
		enter();
	if (!waits || !enters)
		return;
	if (enters == had_entered)
		enter();
	bz_walk_unclaim(other, 1);
}

static void taken(void)
{
	struct bz_extent x = { 0, unit_page() };
	struct bz_conflict conflict;
	struct bez_lost lost = { 0 };
	uint64_t walk = 0;

	begin();
	enters = *(const int *)tap_data();
	bz_core.claim_wait_ns = 1000000;
	other = bz_walk_enter(atomic_load(&bz_core.mm), BZ_WALK_ANYBODY, NULL,
			      0);
	CHECK(other);
	x.start = (uint64_t)lost_page();
	if (enters != at_once)
		CHECK_EQ(bz_claim(atomic_load(&bz_core.mm), other, x,
				  &conflict), BZ_CLAIMED);
	double_before(other_enters);
	double_watch();
	r = bez_lost_add(lost_page(), unit_page());
	double_rest();
	double_before(NULL);
	CHECK_EQ(r, enters ? 0 : -EAGAIN);
	CHECK_EQ(entered(), enters != 0);
	CHECK_EQ(unit_state(at, LOST), enters == leaves ? UNIT_CLOSED :
							  UNIT_GOOD);
	if (enters) {
		CHECK_EQ((uint32_t)bez_lost_generation(), 1);
		CHECK_EQ(bez_lost_next(&walk, &lost), 0);
		CHECK_EQ(lost.cause, enters > 1 ? BEZ_CAUSE_POISON_AR :
						  BEZ_CAUSE_SAID);
	}
	bz_walk_unclaim(other, 1);
	bz_walk_leave(atomic_load(&bz_core.mm), other, NULL);
}

/* --------------------------------------------------------------------- no room */

/* Taken by those who have not entered it yet, and so not counted; or all of it. */
static void no_room(void)
{
	uint32_t want = *(const int *)tap_data() ?
			BZ_LOST_CHUNK * BZ_LOST_CHUNKS : BZ_LOST_CHUNK, i;
	struct bz_extent x = { 0, unit_page() };
	struct bez_lost lost = { .width = unit_page() };
	struct bz_lost_at slot;

	begin();
	for (i = 0; i < want; i++) {
		x.start = (uint64_t)(i + 1) * unit_page();
		lost.addr = (void *)x.start;
		CHECK_EQ(bz_lost_take(x, &slot), 0);
		if (want == BZ_LOST_CHUNK)
			continue;
		bz_lost_enter(&slot, &lost, BZ_AS_IT_WAS);
		bz_region_lost_room();
	}
	add();
	CHECK_EQ(r, want == BZ_LOST_CHUNK ? -ENOMEM : -ENOSPC);
	CHECK(!entered());
	CHECK_EQ(unit_state(at, LOST), UNIT_GOOD);
}

static const uint32_t poison, cover = BEZ_START_NO_UFFD;

static const struct tap_case cases[] = {
	{ .name = "each call fails, poison", .run = every_call, .data = &poison },
	{ .name = "each call fails", .run = every_call, .data = &cover },
	{ .name = "another has it all the time", .run = taken, .data = &never },
	{ .name = "another has it for a while", .run = taken, .data = &leaves },
	{ .name = "another has entered it", .run = taken,
	  .data = &had_entered },
	{ .name = "another enters it while this one looks", .run = taken,
	  .data = &at_once },
	{ .name = "no room for one more", .run = no_room, .data = &never },
	{ .name = "the inventory is full", .run = no_room, .data = &leaves },
};

TAP_MAIN(cases)
