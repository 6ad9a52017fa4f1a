/* SPDX-License-Identifier: MIT */
/*
 * A report that is wider than its page is the only word of what is bad in a huge page
 * that did not split; and it may be older than what another thread has put there
 * since. The other one mends the page when this one is in its handler, and has not
 * come to claim it: then what the program wrote meanwhile is neither lost nor
 * overwritten; and what is as bad as before is not taken for good for ever.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../live/live.h"
#include "fault/fault.h"
#include "ladder.h"
#include "region/lost.h"
#include "region/region.h"
#include "unit.h"

#define BUCKETS	((size_t)BZ_MENDED)
#define PAGES	(BUCKETS + 3)
#define LOST	1
#define TOLD	3			/* pages that are looked at */
#define WIDE	21
#define WRITTEN	3			/* seed of what is written later */

static unsigned char *at;
static struct bz_result result;

static unsigned char *lost_page(void)
{
	return at + LOST * unit_page();
}

static void begin_at(unsigned char *memory, const uint8_t actions[2],
		     uint32_t flags)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;

	at = memory;
	from = bez_source_mirror(live_pages(PAGES));
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	policy.flags = flags;
	policy.source = &from;
	memcpy(policy.actions, actions, 2);
	CHECK_EQ(bez_region_add(at, PAGES * unit_page(), &policy, &region), 0);
	unit_patience(100);
}

static void begin(const uint8_t actions[2], uint32_t flags)
{
	unit_need_poison();
	begin_at(live_pages(PAGES), actions, flags);
}

static enum bez_outcome climb_at(uint64_t addr, uint32_t cause, uint8_t lsb,
				 uint64_t now_ns)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_walk *w = unit_enter(mm);
	struct bz_fault fault = {
		.taken_ns = now_ns,
		.addr = addr,
		.cause = cause,
		.lsb = lsb,
	};

	memset(&result, 0, sizeof(result));
	bz_ladder(mm, w, &fault, &result);
	bz_walk_leave(mm, w, NULL);
	return (enum bez_outcome)result.outcome;
}

static enum bez_outcome climb(unsigned char *addr, uint32_t cause, uint8_t lsb)
{
	return climb_at((uint64_t)addr + 5, cause, lsb, bz_now_ns());
}

static enum bez_outcome climb_ar(uint8_t lsb)
{
	return climb(lost_page(), BEZ_CAUSE_POISON_AR, lsb);
}

static int entered(void)
{
	return bez_lost_in(lost_page(), unit_page());
}

static void in_thread(void *(*fn)(void *))
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, fn, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* It meets the loss, mends it or has its owner do that, and the program writes. */
static void *mend(void *arg)
{
	enum bez_outcome did;

	live_poison(lost_page());
	did = climb_ar(12);
	if (did != BEZ_OUTCOME_REPLACED) {
		CHECK(entered());
		CHECK_EQ(bez_lost_clear(lost_page(), unit_page()), 0);
	}
	live_fill(at, TOLD * unit_page(), WRITTEN);
	return arg;
}

static int mended;

static void meanwhile(long nr, const long arg[6])
{
	(void)arg;
	/* what memory is it? asked before it is claimed */
	if (nr != SYS_openat || mended)
		return;
	mended = 1;
	in_thread(mend);
}

static void overtake(void)
{
	mended = 0;
	double_reset();
	double_before(meanwhile);
	double_watch();
	climb_ar(WIDE);
	double_rest();
	double_before(NULL);
	CHECK(mended);
}

static void as_written(void)
{
	CHECK(!entered());
	CHECK_EQ(live_wrong(at, TOLD * unit_page(), WRITTEN), 0);
}

static const uint8_t replaces[2] = { BEZ_ACTION_REPLACE, BEZ_ACTION_DEGRADE },
		     degrades[2] = { BEZ_ACTION_DEGRADE };

static void overtaken(void)
{
	begin(tap_data(), 0);
	overtake();
	CHECK_EQ(result.outcome, BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
}

/* What must not run again leaves, and nothing is lost. */
static void no_restart(void)
{
	begin(degrades, BEZ_POLICY_NO_RESTART);
	overtake();
	CHECK_EQ(result.why, BEZ_OUTCOME_REFUSED_NO_SCOPE);
	as_written();
}

static int dealt_with(const uint8_t *actions)
{
	if (actions == replaces)
		return result.outcome == BEZ_OUTCOME_REPLACED &&
		       unit_state(at, LOST) == UNIT_GOOD;
	return entered() && unit_state(at, LOST) == UNIT_CLOSED;
}

static void *climb_narrow(void *arg)
{
	CHECK_EQ(climb_ar(12), BEZ_OUTCOME_ALREADY_GOOD);
	return arg;
}

/* It was bad all the same: the kernel says so again, to the thread that went on,
 * whose word it is; another one's may be old. */
static void said_again(void)
{
	begin(tap_data(), 0);
	overtake();
	in_thread(climb_narrow);
	as_written();
	climb_ar(12);
	CHECK(dealt_with(tap_data()));
}

/* ... but not of what was mended after that. */
static void mended_again(void)
{
	begin(tap_data(), 0);
	overtake();
	in_thread(mend);
	CHECK_EQ(climb_ar(12), BEZ_OUTCOME_ALREADY_GOOD);
	CHECK_EQ(climb_ar(WIDE), BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
	climb_ar(WIDE);
	CHECK(dealt_with(tap_data()));
}

/* Nothing was ever mended: the report stands, early or not. */
static void first(void)
{
	static const uint32_t causes[] = { BEZ_CAUSE_POISON_AR,
					   BEZ_CAUSE_POISON_AO };
	const uint8_t *actions = tap_data();
	size_t i;

	begin(actions, 0);
	for (i = 0; i < COUNT_OF(causes); i++) {
		if (entered())
			CHECK_EQ(bez_lost_clear(lost_page(), unit_page()), 0);
		memset((void *)atomic_load(&bz_core.mm)->mended, 0,
		       sizeof(((struct bz_mm *)0)->mended));
		live_fill(at, TOLD * unit_page(), WRITTEN);
		climb(lost_page(), causes[i], WIDE);
		CHECKF(dealt_with(actions), "cause %u", causes[i]);
	}
}

/* What was entered with a cover in its place, and cleared. */
static void cover_cleared(void)
{
	begin(degrades, 0);
	climb_ar(WIDE);
	CHECK(entered());
	CHECK_EQ(bez_lost_clear(lost_page(), unit_page()), 0);
	live_fill(at, TOLD * unit_page(), WRITTEN);
	CHECK_EQ(climb_ar(WIDE), BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
}

/* An early notice may lie about for long, whoever serves it. */
static void notices(void)
{
	int i;

	begin(tap_data(), 0);
	in_thread(mend);
	climb_ar(WIDE);
	for (i = 0; i < 3; i++)
		CHECK_EQ(climb(lost_page(), BEZ_CAUSE_POISON_AO, WIDE),
			 BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
}

/* Who goes on inside of another fault may have an old report of the same page
 * further up. */
static void nested(void)
{
	struct bz_walk *w;

	begin(tap_data(), 0);
	in_thread(mend);
	w = unit_enter(atomic_load(&bz_core.mm));
	CHECK_EQ(climb_ar(WIDE), BEZ_OUTCOME_ALREADY_GOOD);
	bz_walk_leave(atomic_load(&bz_core.mm), w, NULL);
	CHECK_EQ(climb_ar(WIDE), BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
}

/* A page of the same bucket is in doubt once; and that says nothing of the first. */
static void same_bucket(void)
{
	unsigned char *twin;

	begin(tap_data(), 0);
	twin = lost_page() + BUCKETS * unit_page();
	in_thread(mend);
	CHECK_EQ(climb(twin, BEZ_CAUSE_POISON_AR, WIDE),
		 BEZ_OUTCOME_ALREADY_GOOD);
	CHECK_EQ(climb_ar(12), BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
	climb(twin, BEZ_CAUSE_POISON_AR, 12);
	CHECK(result.outcome == BEZ_OUTCOME_REPLACED ||
	      bez_lost_in(twin, unit_page()));
	CHECK_EQ(climb_ar(12), BEZ_OUTCOME_ALREADY_GOOD);
}

/* Of what was wider all pages were mended, and no other. */
static void all_of_it(void)
{
	struct bz_mm *mm = unit_mm();
	struct bz_walk *w = unit_enter(mm);
	size_t page = unit_page(), i;
	struct bz_extent huge = { 512 * page, 512 * page };

	bz_mended(mm, huge);
	for (i = 511; i <= 1024; i++) {
		struct bz_extent x = { i * page, page };
		struct bz_fault fault = { .addr = x.start, .lsb = WIDE,
					  .cause = BEZ_CAUSE_POISON_AR };
		int whole = i >= 512 && i < 1024;

		CHECKF(bz_bad_anyway(mm, w, &fault, x, 0) == !whole,
		       "page %zu", i);
	}
	bz_walk_leave(mm, w, NULL);
}

/* Other processes mend shared memory, and nobody here is told. */
static void shared(void)
{
	size_t len = PAGES * unit_page();
	unsigned char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	unit_need_poison();
	CHECK(memory != MAP_FAILED);
	begin_at(memory, degrades, 0);
	live_fill(at, TOLD * unit_page(), WRITTEN);
	CHECK_EQ(climb_ar(WIDE), BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
	climb_ar(12);
	CHECK(entered());
}

#define SECOND	1100000000ull		/* and more than 2^30 */

/* One page, by its start, which is good: as before Linux 6.11 of a huge page that
 * stays mapped. */
static enum bez_outcome told_at(uint64_t now_ns)
{
	return climb_at((uint64_t)lost_page(), BEZ_CAUSE_POISON_AR, 12, now_ns);
}

static void *told_of_it(void *arg)
{
	CHECK_EQ(told_at(bz_now_ns()), BEZ_OUTCOME_ALREADY_GOOD);
	return arg;
}

#define ROUNDS	8			/* so many are no chance */

static void told_again(void)
{
	uint64_t now;
	int i;

	begin(tap_data(), 0);
	live_fill(at, TOLD * unit_page(), WRITTEN);
	now = bz_now_ns();
	for (i = 0; i < ROUNDS; i++)
		CHECK_EQ(told_at(now + (uint64_t)i * SECOND),
			 BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
	told_at(now + (uint64_t)i * SECOND);
	CHECK(dealt_with(tap_data()));
}

/* Too long ago, also where a clock of few bits would be as it was; of a touch; to
 * another thread; and what comes after that begins anew. */
static void told_then(void)
{
	uint64_t now, later;
	int i;

	begin(tap_data(), 0);
	live_fill(at, TOLD * unit_page(), WRITTEN);
	now = bz_now_ns();
	for (i = 0; i < ROUNDS; i++)
		told_at(now);
	CHECK_EQ(climb_at((uint64_t)lost_page() + 5, BEZ_CAUSE_POISON_AR, 12,
			  now), BEZ_OUTCOME_ALREADY_GOOD);
	for (later = 8; later <= 4096; later *= 2)
		CHECKF(told_at(now + later * SECOND) == BEZ_OUTCOME_ALREADY_GOOD,
		       "after %llu s", (unsigned long long)later);
	CHECK_EQ(told_at(now + (255ull << 30)), BEZ_OUTCOME_ALREADY_GOOD);
	for (i = 0; i < ROUNDS - 1; i++)
		told_at(now);
	in_thread(told_of_it);
	CHECK_EQ(told_at(now), BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
}

/* A wide report that came late, and hours after it another one, of something else
 * that the program has mended itself. */
static void told_wide(void)
{
	uint64_t now;

	begin(tap_data(), 0);
	overtake();
	now = bz_now_ns();
	CHECK_EQ(told_at(now + 8 * SECOND), BEZ_OUTCOME_ALREADY_GOOD);
	CHECK_EQ(climb_at((uint64_t)lost_page() + 5, BEZ_CAUSE_POISON_AR, 12,
			  now + 8 * SECOND), BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
}

static void told_and_mended(void)
{
	int i;

	begin(tap_data(), 0);
	for (i = 0; i < ROUNDS; i++)
		CHECK_EQ(told_at(bz_now_ns()), BEZ_OUTCOME_ALREADY_GOOD);
	in_thread(mend);
	for (i = 0; i < ROUNDS; i++)
		CHECK_EQ(told_at(bz_now_ns()), BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
	told_at(bz_now_ns());
	CHECK(dealt_with(tap_data()));
}

/* What others mend may be old news every time. Nobody said that it is shared. */
static void told_shared(void)
{
	unsigned char *memory = mmap(NULL, PAGES * unit_page(),
				     PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int i;

	unit_need_poison();
	CHECK(memory != MAP_FAILED);
	begin_at(memory, tap_data(), 0);
	live_fill(at, TOLD * unit_page(), WRITTEN);
	for (i = 0; i < 2 * ROUNDS; i++)
		CHECK_EQ(told_at(bz_now_ns()), BEZ_OUTCOME_ALREADY_GOOD);
	as_written();
}

#define BOTH(what, fn)							\
	{ .name = what ", replaced", .run = fn, .data = replaces },	\
	{ .name = what ", entered", .run = fn, .data = degrades }

static const struct tap_case cases[] = {
	BOTH("overtaken by another thread", overtaken),
	{ .name = "overtaken, no restart", .run = no_restart },
	BOTH("the kernel says it again", said_again),
	BOTH("mended again", mended_again),
	BOTH("nothing was mended", first),
	{ .name = "a cover was cleared", .run = cover_cleared },
	BOTH("early notices", notices),
	BOTH("inside another fault", nested),
	BOTH("another page of the bucket", same_bucket),
	{ .name = "a huge page", .run = all_of_it },
	{ .name = "shared memory", .run = shared },
	BOTH("one page, told again", told_again),
	BOTH("one page, told long ago", told_then),
	BOTH("one page, told again and mended", told_and_mended),
	BOTH("told of more long ago", told_wide),
	{ .name = "one page of shared memory, degraded", .run = told_shared,
	  .data = degrades },
	{ .name = "one page of shared memory, replaced or degraded",
	  .run = told_shared, .data = replaces },
};

TAP_MAIN(cases)
