/* SPDX-License-Identifier: MIT */
/*
 * The relay of a region by itself: what it is asked, by whom and when, what it
 * finds held meanwhile, and what its answer makes of the access.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>
#include <sys/mman.h>

#include "../live/live.h"
#include "fault/fault.h"
#include "ladder.h"
#include "region/region.h"
#include "unit.h"

#define PAGES	3
#define LOST	1
#define FIX	0x1000			/* where a copy goes on */

static unsigned char *at;
static bez_region_t region;
static struct bz_result result;
static struct bz_walk *walk;
static int r;

static int answer, asked, was_claimed, was_marked, was_free;
static struct bez_lost told;
static const void *told_context;

static unsigned char *lost_page(void)
{
	return at + LOST * unit_page();
}

/* Another thread may have the page meanwhile. */
static int others_can_claim(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_walk *other = bz_walk_enter(mm, BZ_WALK_ANYBODY, NULL, 0);
	struct bz_extent x = { (uint64_t)lost_page(), unit_page() };
	struct bz_conflict conflict;
	int free;

	if (!other)
		return 0;
	free = bz_claim(mm, other, x, &conflict) == BZ_CLAIMED;
	if (free)
		bz_walk_unclaim(other, 1);
	bz_walk_leave(mm, other, NULL);
	return free;
}

static int relay(const struct bez_lost *lost, const void *context, void *arg)
{
	asked++;
	told = *lost;
	told_context = context;
	was_claimed = walk->claim[0] || walk->claim[1] || walk->placing;
	was_marked = walk->mark != 0;
	was_free = others_can_claim();
	return arg == &answer ? answer : -1;
}

static const struct bez_relay ours = { .relay = relay, .arg = &answer };

static void begin(uint32_t flags, uint8_t first, uint8_t second)
{
	struct bez_policy policy = BEZ_POLICY_INIT;

	unit_need_poison();
	at = live_pages(PAGES);
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	policy.flags = flags;
	policy.actions[0] = first;
	policy.actions[1] = second;
	policy.relay = &ours;
	CHECK_EQ(bez_region_add(at, PAGES * unit_page(), &policy, &region), 0);
	unit_patience(100);
}

static void climb_as(struct bz_fault *fault)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);

	walk = unit_enter(mm);
	fault->taken_ns = bz_now_ns();
	r = bz_ladder(mm, walk, fault, &result);
	CHECK(!walk->placing && !walk->claim[0] && !walk->guard);
	bz_walk_leave(mm, walk, NULL);
	CHECK(!bz_walk_any(mm));
}

/* By an instruction at offset @touch of the page, or a notice. */
static void climb(uint32_t cause, size_t touch)
{
	ucontext_t here;
	struct bz_fault fault = {
		.addr = (uint64_t)lost_page() + touch,
		.cause = cause,
		.context = cause == BEZ_CAUSE_POISON_AR ? &here : NULL,
	};

	CHECK_EQ(getcontext(&here), 0);
	climb_as(&fault);
	CHECK(!asked || told_context == fault.context);
}

static void add_fails(const struct bez_policy *policy, int want)
{
	bez_region_t id = 77;

	CHECK_EQ(bez_region_add(at, unit_page(), policy, &id), want);
	CHECK_EQ(id, 77);
}

/* ------------------------------------------------------------------ cases */

static void policies(void)
{
	static const struct bez_relay none = { .relay = NULL };
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t id;

	CHECK(!policy.relay);
	at = live_pages(PAGES);
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	policy.relay = &ours;
	add_fails(&policy, -EINVAL);
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_SHUTDOWN;
	add_fails(&policy, -EINVAL);
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	policy.relay = &none;
	add_fails(&policy, -EINVAL);
	policy.relay = &ours;
	CHECK_EQ(bez_region_add(at, unit_page(), &policy, &id), 0);
	CHECK_EQ(bez_region_remove(id), 0);
}

/* A program that was built when there was no such field. */
static void old_size(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;

	unit_need_poison();
	at = live_pages(PAGES);
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	policy.size = offsetof(struct bez_policy, relay);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.relay = &ours;		/* it is something else there */
	CHECK_EQ(bez_region_add(at, PAGES * unit_page(), &policy, &region), 0);
	live_poison(lost_page());
	answer = 1;
	climb(BEZ_CAUSE_POISON_AR, 5);
	CHECK_EQ(asked, 0);
	CHECK_EQ(result.why, BEZ_OUTCOME_REFUSED_NO_SCOPE);
}

static void takes(void)
{
	struct bez_region_info info = { .size = sizeof(info) };
	int i;

	begin(0, BEZ_ACTION_REPLACE, BEZ_ACTION_DEGRADE);
	live_poison(lost_page());
	answer = 1;
	for (i = 1; i <= 3; i++) {
		climb(BEZ_CAUSE_POISON_AR, (size_t)i);
		CHECK_EQ(r, 0);
		CHECK_EQ(asked, i);
		CHECK_EQ(result.outcome, BEZ_OUTCOME_RELAYED);
		CHECK_EQ(result.action, BEZ_ACTION_DEGRADE);
		CHECK_EQ(result.why, BEZ_OUTCOME_SOURCE_NONE);
		CHECK(!result.scope);
		CHECK(!result.done_ns == (i > 1));
		CHECKF(!was_claimed, "asked with a claim, %d", i);
		CHECKF(was_free, "another could not claim it, %d", i);
		CHECKF(was_marked, "the region could go meanwhile, %d", i);
		CHECK(told.touched == lost_page() + i);
		CHECK(told.addr == lost_page());
		CHECK_EQ(told.width, unit_page());
		CHECK_EQ(told.region, region);
		CHECK_EQ(told.seq, 1);
		CHECK_EQ(told.cause, BEZ_CAUSE_POISON_AR);
		CHECK_EQ(told.why, BEZ_OUTCOME_SOURCE_NONE);
	}
	CHECK_EQ(bez_lost_in(lost_page(), 1), 1);
	CHECK_EQ(unit_state(at, LOST), UNIT_CLOSED);
	CHECK_EQ(bez_region_info(region, &info), 0);
	CHECK_EQ(info.faults, 3);
	CHECK_EQ(info.not_replaced, 3);
	CHECK_EQ(info.replaced, 0);
}

static void declines(void)
{
	volatile int caught = 0;

	begin(0, BEZ_ACTION_DEGRADE, 0);
	live_poison(lost_page());
	climb(BEZ_CAUSE_POISON_AR, 5);
	CHECK_EQ(asked, 1);
	CHECK_EQ(r, -EFAULT);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(result.why, BEZ_OUTCOME_REFUSED_NO_SCOPE);
	BEZ_TRY {
		climb(BEZ_CAUSE_POISON_AR, 6);
		CHECK_EQ(result.outcome, BEZ_OUTCOME_UNWOUND);
		CHECK(result.scope->lost.touched == lost_page() + 6);
		/* who takes it does not leave by the scope that there is */
		answer = 1;
		climb(BEZ_CAUSE_POISON_AR, 7);
		CHECK_EQ(result.outcome, BEZ_OUTCOME_RELAYED);
		CHECK(!result.scope);
	} BEZ_CATCH(lost) {
		caught += lost != NULL;
	}
	CHECK_EQ(caught, 0);
	CHECK_EQ(asked, 3);
}

/* Whose way out is another. */
static void not_asked(void)
{
	struct bz_fault copy = { .cause = BEZ_CAUSE_POISON_AR, .fix = FIX };
	struct bz_mm *mm;
	struct bz_walk *w;

	begin(0, BEZ_ACTION_DEGRADE, 0);
	mm = atomic_load(&bz_core.mm);
	answer = 1;
	live_poison(lost_page());
	climb(BEZ_CAUSE_RECOVER, 0);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_DEGRADED);
	CHECK_EQ(asked, 0);
	copy.addr = (uint64_t)lost_page();
	climb_as(&copy);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_COPY_SHORT);
	CHECK_EQ(asked, 0);
	/* inside a fault */
	w = unit_enter(mm);
	copy.fix = 0;
	walk = unit_enter(mm);
	CHECK(walk == w);
	CHECK_EQ(w->depth, 2);
	r = bz_ladder(mm, w, &copy, &result);
	bz_walk_leave(mm, w, NULL);
	bz_walk_leave(mm, w, NULL);
	CHECK_EQ(result.why, BEZ_OUTCOME_REFUSED_NO_SCOPE);
	CHECK_EQ(asked, 0);
}

/* Told of each; nobody has to go on. */
static void notices(void)
{
	begin(0, BEZ_ACTION_DEGRADE, 0);
	live_poison(lost_page());
	for (answer = 0; answer < 2; answer++) {
		climb(BEZ_CAUSE_POISON_AO, 0);
		CHECK_EQ(asked, answer + 1);
		CHECK(!told_context);
		CHECK_EQ(told.cause, BEZ_CAUSE_POISON_AO);
		CHECK(told.touched == lost_page());
		CHECK(!was_claimed && was_free && was_marked);
		CHECK_EQ(result.outcome, answer ? BEZ_OUTCOME_RELAYED :
						  BEZ_OUTCOME_DEGRADED);
		CHECK_EQ(r, answer ? 0 : -EFAULT);
	}
	/* the access that follows is another */
	answer = 1;
	climb(BEZ_CAUSE_POISON_AR, 9);
	CHECK_EQ(asked, 3);
	CHECK(told_context);
	CHECK_EQ(told.cause, BEZ_CAUSE_POISON_AO);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_RELAYED);
}

/* What must not run again is asked for as well, be the page good by now. */
static void no_restart(void)
{
	begin(BEZ_POLICY_NO_RESTART, BEZ_ACTION_DEGRADE, 0);
	live_fill(at, PAGES * unit_page(), 3);
	answer = 1;
	climb(BEZ_CAUSE_POISON_AR, 5);
	CHECK_EQ(asked, 1);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_RELAYED);
	CHECK(told.addr == lost_page());
	CHECK(told.touched == lost_page() + 5);
	CHECK_EQ(told.region, region);
	CHECK(!bez_lost_in(at, PAGES * unit_page()));
	CHECK_EQ(live_wrong(at, PAGES * unit_page(), 3), 0);
	live_poison(lost_page());
	climb(BEZ_CAUSE_POISON_AR, 6);
	CHECK_EQ(asked, 2);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_RELAYED);
	CHECK(bez_lost_in(lost_page(), 1));
}

/* A page that can be read, and no such promise: nobody is asked. */
static void good(void)
{
	begin(0, BEZ_ACTION_DEGRADE, 0);
	answer = 1;
	climb(BEZ_CAUSE_POISON_AR, 5);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_ALREADY_GOOD);
	CHECK_EQ(asked, 0);
}

static const struct tap_case cases[] = {
	{ .name = "what a policy may say", .run = policies },
	{ .name = "a policy from before there was one", .run = old_size },
	{ .name = "it takes each access, with nothing held", .run = takes },
	{ .name = "it declines: a scope, or the next action",
	  .run = declines },
	{ .name = "copies, bez_recover() and faults inside faults",
	  .run = not_asked },
	{ .name = "early notices", .run = notices },
	{ .name = "what must not run again", .run = no_restart },
	{ .name = "a page that is good", .run = good },
};

TAP_MAIN(cases)
