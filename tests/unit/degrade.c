/* SPDX-License-Identifier: MIT */
/*
 * The action DEGRADE by itself: with each of its system calls failing once in each
 * way, what is in the inventory is closed, and what is closed anew is in the
 * inventory; for pages that are good; and with another thread at it.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../live/live.h"
#include "ladder.h"
#include "region/lost.h"
#include "unit.h"

#define PAGES	3
#define LOST	1

static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EINTR, EPERM, EBADF,
			      EFAULT, ENOSYS };

static unsigned char *at;
static struct bz_result result;
static int r;

static unsigned char *lost_page(void)
{
	return at + LOST * unit_page();
}

static void begin(uint32_t flags)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	unit_need_poison();
	at = live_pages(PAGES);
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	policy.flags = flags;
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, PAGES * unit_page(), &policy, &region), 0);
	unit_patience(100);
}

static void climb(uint32_t cause, uint8_t lsb)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_walk *w = unit_enter(mm);
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = (uint64_t)lost_page() + 5,
		.cause = cause,
		.lsb = lsb,
	};

	double_watch();
	r = bz_ladder(mm, w, &fault, &result);
	double_rest();
	CHECK(!w->mark && !w->placing && !w->claim[0]);
	bz_walk_leave(mm, w, NULL);
	CHECK(!bz_walk_any(mm));
}

static int entered(void)
{
	return bez_lost_in(lost_page(), unit_page());
}

/* What has to be covered: an instruction that must not run again. */
static void every_call(void)
{
	int cover = *(const int *)tap_data();
	uint32_t cause = cover ? BEZ_CAUSE_POISON_AR : BEZ_CAUSE_RECOVER;
	uint32_t n, calls, fds, maps, did = 0, did_not = 0;
	size_t e;

	begin(cover ? BEZ_POLICY_NO_RESTART : 0);
	if (!cover)
		live_poison(lost_page());
	/* it may have to learn what memory it is */
	climb(cause, 0);
	calls = double_calls() + 4;
	CHECK(entered());
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls; n++) {
			enum unit_state was, is;

			CHECK_EQ(bez_lost_clear(at, PAGES * unit_page()), 0);
			if (cover)
				live_fill(at, PAGES * unit_page(), 0);
			else
				live_poison(lost_page());
			fds = unit_fds();
			maps = unit_maps();
			was = unit_state(at, LOST);
			double_reset();
			double_fail(n, errors[e]);
			climb(cause, 0);
			is = unit_state(at, LOST);
			CHECK_EQ(unit_fds(), fds);
			CHECK_EQ(unit_state(at, LOST + 1), UNIT_GOOD);
			if (entered()) {
				CHECKF(is == UNIT_CLOSED,
				       "call %u says %s: entered, and open", n,
				       strerror(errors[e]));
				did++;
				continue;
			}
			CHECKF(is == was, "call %u says %s: not entered, "
			       "and not as it was", n, strerror(errors[e]));
			CHECK(unit_maps() <= maps);
			CHECK(result.outcome != BEZ_OUTCOME_DEGRADED &&
			      result.outcome != BEZ_OUTCOME_UNWOUND);
			did_not++;
		}
	CHECKF(did && (did_not || !cover), "%u, %u", did, did_not);
}

/* Somebody has opened it since: it is not lost. Unless that goes on and on. */
static void good(void)
{
	uint32_t i;

	begin(0);
	for (i = 0; i < 4000; i++) {
		climb(BEZ_CAUSE_POISON_AR, 12);
		CHECK_EQ(result.outcome, BEZ_OUTCOME_ALREADY_GOOD);
	}
	CHECK(!entered());
	CHECK_EQ(r, 0);
	for (i = 0; i < 10; i++)
		climb(BEZ_CAUSE_POISON_AR, 12);
	CHECK_EQ(result.why, BEZ_OUTCOME_LOOPING);
	CHECK(!entered());
	CHECK_EQ(unit_state(at, LOST), UNIT_GOOD);
}

/* A report that is wider than the page: it is bad though it can be read. */
static void wide(void)
{
	begin(0);
	climb(BEZ_CAUSE_POISON_AR, 21);
	CHECK(entered());
	CHECK_EQ(unit_state(at, LOST), UNIT_CLOSED);
	CHECK_EQ(unit_state(at, LOST + 1), UNIT_GOOD);
	CHECK_EQ(result.why, BEZ_OUTCOME_REFUSED_NO_SCOPE);
}

/* Another thread enters it right before this one has the claim. */
static void other_thread(long nr, const long arg[6])
{
	struct bz_extent x = { (uint64_t)lost_page(), unit_page() };
	struct bez_lost lost = { .addr = lost_page(), .width = unit_page() };
	struct bz_lost_at slot;

	(void)nr;
	(void)arg;
	if (entered())
		return;
	CHECK_EQ(bz_lost_take(x, &slot), 0);
	bz_lost_enter(&slot, &lost, BZ_AS_IT_WAS);
}

static void twice(void)
{
	begin(0);
	live_poison(lost_page());
	double_before(other_thread);
	climb(BEZ_CAUSE_RECOVER, 0);
	double_before(NULL);
	CHECK(entered());
	CHECK_EQ(r, -EAGAIN);
	CHECK_EQ(bez_lost_generation(), 1ull << 32 | 1);
	climb(BEZ_CAUSE_RECOVER, 0);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_DEGRADED);
	CHECK_EQ(bez_lost_generation(), 1ull << 32 | 1);
}

/* What the kernel does not call lost, though there was a signal, is not entered. */
static void not_said(void)
{
	static const struct {
		int err;
		enum bez_outcome why;
	} says[] = {
		{ EFAULT, BEZ_OUTCOME_REFUSED_KIND },
		{ EPERM, BEZ_OUTCOME_REFUSED_KIND },
		{ ENOMEM, BEZ_OUTCOME_REFUSED_UNMAPPED },
	};
	struct double_rule rule = { .nr = SYS_madvise,
				    .what = MADV_POPULATE_READ };
	size_t i;

	begin(0);
	for (i = 0; i < COUNT_OF(says); i++) {
		double_reset();
		rule.err = says[i].err;
		double_rule(&rule);
		climb(BEZ_CAUSE_ADRERR, 0);
		CHECKF(!entered(), "%s: entered", strerror(says[i].err));
		CHECK_EQ(result.why, says[i].why);
		CHECK_EQ(unit_state(at, LOST), UNIT_GOOD);
	}
	CHECK_EQ(bez_lost_generation(), 0);
}

/* Who tells of losses does not go on while one is being entered; so who gives that
 * up says so. */
static void gives_up(void)
{
	struct bz_mm *mm;
	uint32_t bell;

	begin(BEZ_POLICY_NO_RESTART);
	mm = atomic_load(&bz_core.mm);
	bell = atomic_load(&mm->bell);
	double_reset();
	double_rule(&(struct double_rule){ .nr = SYS_memfd_create,
					   .err = EMFILE });
	climb(BEZ_CAUSE_POISON_AR, 0);
	CHECK(!entered());
	CHECK_EQ(result.why, BEZ_OUTCOME_REFUSED_SYSTEM);
	CHECK(atomic_load(&mm->bell) != bell);
}

static const int covered = 1, kept;

static const struct tap_case cases[] = {
	{ .name = "each call fails", .run = every_call, .data = &kept },
	{ .name = "each call fails, with a cover", .run = every_call,
	  .data = &covered },
	{ .name = "a page that is good", .run = good },
	{ .name = "a page that is bad though it can be read", .run = wide },
	{ .name = "another thread was quicker", .run = twice },
	{ .name = "what the kernel does not say is lost", .run = not_said },
	{ .name = "one that was given up rings", .run = gives_up },
};

TAP_MAIN(cases)
