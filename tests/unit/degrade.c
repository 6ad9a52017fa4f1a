/* SPDX-License-Identifier: MIT */
/*
 * The action DEGRADE by itself: with each of its system calls failing once in each
 * way, what is in the inventory is closed, and what is closed anew is in the
 * inventory; for pages that are good; and with another thread at it.
 */
#include <errno.h>
#include <string.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../live/live.h"
#include "fault/fault.h"
#include "ladder.h"
#include "region/lost.h"
#include "region/region.h"
#include "unit.h"

#define PAGES	3
#define LOST	1
#define WIDE	21			/* bits of a report: more than a page */

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
		.addr = (uint64_t)lost_page() + 5,
		.cause = cause,
		.lsb = lsb,
	};

	double_watch();
	fault.taken_ns = bz_now_ns();
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

/* What has to be covered: a page that is bad though it can be read. */
static void every_call(void)
{
	int cover = *(const int *)tap_data();
	uint32_t cause = cover ? BEZ_CAUSE_POISON_AR : BEZ_CAUSE_RECOVER;
	uint8_t lsb = cover ? WIDE : 0;
	uint32_t n, calls, fds, maps, did = 0, did_not = 0;
	size_t e;

	begin(0);
	if (!cover)
		live_poison(lost_page());
	/* it may have to learn what memory it is */
	climb(cause, lsb);
	calls = double_calls() + 4;
	CHECK(entered());
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls; n++) {
			enum unit_state was, is;

			CHECK_EQ(bez_lost_clear(at, PAGES * unit_page()), 0);
			/* a report of what was cleared is in doubt */
			memset((void *)atomic_load(&bz_core.mm)->mended, 0,
			       sizeof(((struct bz_mm *)0)->mended));
			if (cover)
				live_fill(at, PAGES * unit_page(), 0);
			else if (!live_lost(lost_page()))
				live_poison(lost_page());
			fds = unit_fds();
			maps = unit_maps();
			was = unit_state(at, LOST);
			double_reset();
			double_fail(n, errors[e]);
			climb(cause, lsb);
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
	double_stop_clock();		/* however slow the machine is */
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
	climb(BEZ_CAUSE_POISON_AR, WIDE);
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

/* Where it fails, the next action is not in its way: [DEGRADE, REPLACE]. */
static void then_replace(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	uint32_t n, calls, did = 0;
	bez_region_t region;

	unit_need_poison();
	at = live_pages(PAGES);
	from = bez_source_mirror(live_pages(PAGES));
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	policy.source = &from;
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.actions[1] = BEZ_ACTION_REPLACE;
	CHECK_EQ(bez_region_add(at, PAGES * unit_page(), &policy, &region), 0);
	live_poison(lost_page());
	climb(BEZ_CAUSE_RECOVER, 0);
	calls = double_calls();
	CHECK(entered());
	for (n = 1; n <= calls; n++) {
		CHECK_EQ(bez_lost_clear(at, PAGES * unit_page()), 0);
		live_poison(lost_page());
		double_reset();
		double_fail(n, ENOSYS);
		climb(BEZ_CAUSE_RECOVER, 0);
		CHECKF(result.why != BEZ_OUTCOME_OWN_CLAIM, "call %u", n);
		did += result.outcome == BEZ_OUTCOME_REPLACED;
		CHECK(entered() || unit_state(at, LOST) == UNIT_GOOD);
	}
	CHECKF(did, "of %u calls", calls);
}

/* ------------------------------------------- what must not run again, and others */

static struct bz_walk *other;
static int mends;

/* Another thread repairs the page, and is done when this one waits for it. */
static void other_repairs(long nr, const long arg[6])
{
	if (nr != SYS_futex || arg[1] != FUTEX_WAIT_PRIVATE ||
	    !atomic_load(&other->claim[0]))
		return;
	if (mends) {
		CHECK_EQ(madvise(lost_page(), unit_page(), MADV_DONTNEED), 0);
		live_fill(at, PAGES * unit_page(), 0);
	}
	bz_walk_unclaim(other, 1);
}

static void begin_with_other(void)
{
	struct bz_extent x = { 0, unit_page() };
	struct bz_conflict conflict;
	struct bz_mm *mm;

	begin(BEZ_POLICY_NO_RESTART);
	live_poison(lost_page());
	mm = atomic_load(&bz_core.mm);
	other = bz_walk_enter(mm, BZ_WALK_ANYBODY, NULL, 0);
	CHECK(other);
	x.start = (uint64_t)lost_page();
	CHECK_EQ(bz_claim(mm, other, x, &conflict), BZ_CLAIMED);
	double_before(other_repairs);
}

static void climb_in_a_scope(uint8_t lsb)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	volatile int caught = 0;

	BEZ_TRY {
		struct bz_walk *w = unit_enter(mm);
		struct bz_fault fault = {
			.taken_ns = bz_now_ns(),
			.addr = (uint64_t)lost_page() + 5,
			.cause = BEZ_CAUSE_POISON_AR,
			.lsb = lsb,
		};

		double_watch();
		r = bz_ladder(mm, w, &fault, &result);
		double_rest();
		CHECK(!w->mark && !w->placing && !w->claim[0]);
		bz_walk_leave(mm, w, NULL);
		CHECKF(result.outcome == BEZ_OUTCOME_UNWOUND, "%s",
		       bez_outcome_name(result.outcome));
		CHECK(result.scope->lost.addr == lost_page());
		CHECK_EQ(result.scope->lost.width, unit_page());
		CHECK(result.scope->lost.touched == lost_page() + 5);
		CHECK(result.scope->lost.region != 0);
	} BEZ_CATCH(lost) {
		caught += lost != NULL;
	}
	CHECK_EQ(caught, 0);
}

static const struct waited {
	int mends;
	uint8_t lsb;
} mended = { 1, 0 }, not_mended = { 0, 0 }, wide_mended = { 1, WIDE };

/* It is good when this one has waited: out all the same, but it is not lost. */
static void waited(void)
{
	const struct waited *how = tap_data();

	mends = how->mends;
	begin_with_other();
	climb_in_a_scope(how->lsb);
	CHECK_EQ(atomic_load(&other->claim[0]), 0);
	CHECK_EQ(entered(), !mends);
	CHECK_EQ(unit_state(at, LOST), mends ? UNIT_GOOD : UNIT_CLOSED);
	bz_walk_leave(atomic_load(&bz_core.mm), other, NULL);
}

/* Another has replaced it and gone before this one came to claim it, and the
 * program has written to it since: out, and all of that is there. */
static void replaced_before(void)
{
	begin(BEZ_POLICY_NO_RESTART);
	live_fill(at, PAGES * unit_page(), 3);
	climb_in_a_scope(0);
	CHECK(!entered());
	CHECK_EQ(bez_lost_generation(), 0);
	CHECK(unit_state(at, LOST) != UNIT_CLOSED);
	CHECK_EQ(live_wrong(at, PAGES * unit_page(), 3), 0);
}

/* Its owner clears it while this one comes to it. */
static void cleared(void)
{
	struct bz_mm *mm;
	struct bz_walk *w;
	struct bz_hit hit;
	struct bz_fault fault = { .cause = BEZ_CAUSE_POISON_AR };
	struct bz_loss loss = { .known = 1 };
	enum bez_outcome did;

	begin(BEZ_POLICY_NO_RESTART);
	mm = atomic_load(&bz_core.mm);
	fault.taken_ns = bz_now_ns();
	fault.addr = (uint64_t)lost_page() + 5;
	loss.x.start = (uint64_t)lost_page();
	loss.x.width = unit_page();
	memset(&result, 0, sizeof(result));
	BEZ_TRY {
		w = unit_enter(mm);
		CHECK_EQ(bz_region_mark(w), 1);
		CHECK_EQ(bz_region_find(fault.addr, &hit), 0);
		did = bz_degrade(mm, w, &fault, 1, &hit, &loss, &result);
		bz_walk_unmark(w);
		bz_walk_leave(mm, w, NULL);
		CHECK_EQ(did, BEZ_OUTCOME_UNWOUND);
		CHECK(result.scope->lost.addr == lost_page());
	} BEZ_CATCH(lost) {
		CHECK(!lost);
	}
	CHECK(!entered());
}

#define OFTEN	20

static uint32_t waits;

/* Another thread has it whenever this one comes, and can not mend it. */
static void other_is_quicker(long nr, const long arg[6])
{
	struct bz_extent x = { (uint64_t)lost_page(), unit_page() };
	struct bz_conflict conflict;

	if (nr == SYS_madvise && waits < OFTEN && !atomic_load(&other->claim[0]))
		CHECK_EQ(bz_claim(atomic_load(&bz_core.mm), other, x,
				  &conflict), BZ_CLAIMED);
	if (nr != SYS_futex || arg[1] != FUTEX_WAIT_PRIVATE ||
	    !atomic_load(&other->claim[0]))
		return;
	waits++;
	bz_walk_unclaim(other, 1);
}

/* bez_recover() has tried when it has had the page for itself. */
static void recover_waits(void)
{
	begin_with_other();
	double_before(other_is_quicker);
	double_watch();
	r = bez_recover(lost_page(), unit_page());
	double_rest();
	CHECK_EQ(waits, OFTEN);
	CHECK_EQ(r, -EFAULT);
	CHECK(entered());
	bz_walk_leave(atomic_load(&bz_core.mm), other, NULL);
}

/* What the kernel does not call lost, though there was a signal, is not entered. */
static void not_said(void)
{
	static const struct {
		int err;
		enum bez_outcome why;
		int again;		/* so often: who watches it may fill it */
	} says[] = {
		{ EFAULT, BEZ_OUTCOME_REFUSED_KIND, 3 },
		{ EPERM, BEZ_OUTCOME_REFUSED_KIND, 0 },
		{ ENOMEM, BEZ_OUTCOME_REFUSED_UNMAPPED, 0 },
	};
	struct double_rule rule = { .nr = SYS_madvise,
				    .what = MADV_POPULATE_READ };
	size_t i;
	int n;

	begin(0);
	for (i = 0; i < COUNT_OF(says); i++) {
		double_reset();
		rule.err = says[i].err;
		double_rule(&rule);
		for (n = 0; n < says[i].again; n++) {
			climb(BEZ_CAUSE_ADRERR, 0);
			CHECK_EQ(result.outcome, BEZ_OUTCOME_ASKED_AGAIN);
			CHECK(!entered());
		}
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

	begin(0);
	mm = atomic_load(&bz_core.mm);
	bell = atomic_load(&mm->bell);
	double_reset();
	double_rule(&(struct double_rule){ .nr = SYS_memfd_create,
					   .err = EMFILE });
	climb(BEZ_CAUSE_POISON_AR, WIDE);
	CHECK(!entered());
	CHECK_EQ(result.why, BEZ_OUTCOME_REFUSED_SYSTEM);
	CHECK(atomic_load(&mm->bell) != bell);
}

/* ------------------------------------------------------------- opened again */

static size_t meanwhile;

/* Another thread loses a page of which the range has but a part. */
static void loses_another(long nr, const long arg[6])
{
	struct bz_extent x = { (uint64_t)(at + meanwhile * unit_page()),
			       unit_page() };
	struct bez_lost lost = { .addr = at + meanwhile * unit_page(),
				 .width = unit_page() };
	struct bz_lost_at slot;

	(void)nr;
	(void)arg;
	if (bez_lost_in(lost.addr, 1))
		return;
	live_poison(lost.addr);
	CHECK_EQ(bz_lost_take(x, &slot), 0);
	bz_lost_enter(&slot, &lost, BZ_AS_IT_WAS);
}

/* What belongs into the other part is not the owner's, and not next to it. */
static void half_meanwhile(void)
{
	size_t half = unit_page() / 2, from_end;
	unsigned char *from = live_pages(PAGES);

	meanwhile = *(const int *)tap_data() ? LOST + 1 : LOST - 1;
	from_end = meanwhile > LOST ? 0 : half;
	begin(0);
	live_poison(lost_page());
	climb(BEZ_CAUSE_RECOVER, 0);
	double_reset();
	double_before(loses_another);
	double_watch();
	r = bez_lost_fill(at + from_end, PAGES * unit_page() - half,
			  from + from_end);
	double_rest();
	double_before(NULL);
	CHECK_EQ(r, -EINVAL);
	CHECK(!entered());
	CHECK_EQ(unit_state(at, LOST), UNIT_GOOD);
	CHECK_EQ(unit_state(at, meanwhile), UNIT_CLOSED);
	CHECK_EQ(bez_lost_in(at, PAGES * unit_page()), 1);
	CHECK_EQ(bez_lost_fill(at, PAGES * unit_page(), from), 0);
	CHECK_EQ(unit_state(at, meanwhile), UNIT_GOOD);
}

/* What the program has closed meanwhile says nothing of what lies behind. */
static void closed(void)
{
	begin(0);
	live_poison(lost_page());
	climb(BEZ_CAUSE_RECOVER, 0);
	CHECK_EQ(mprotect(lost_page(), unit_page(), PROT_NONE), 0);
	CHECK_EQ(bez_lost_clear(at, PAGES * unit_page()), -EOPNOTSUPP);
	CHECK(entered());
	CHECK_EQ(bez_lost_fill(at, PAGES * unit_page(), live_pages(PAGES)),
		 -EOPNOTSUPP);
	CHECK(entered());
	CHECK_EQ(mprotect(lost_page(), unit_page(), PROT_READ | PROT_WRITE), 0);
	CHECK_EQ(unit_state(at, LOST), UNIT_CLOSED);
	CHECK_EQ(bez_lost_clear(at, PAGES * unit_page()), 0);
	CHECK(!entered());
	CHECK_EQ(live_read(lost_page()), 0);
	/* before 5.14 no such question has an answer, and it is read instead */
	live_poison(lost_page());
	climb(BEZ_CAUSE_RECOVER, 0);
	CHECK(entered());
	CHECK_EQ(madvise(lost_page(), unit_page(), MADV_DONTNEED), 0);
	double_reset();
	double_kernel(DOUBLE_NO_POPULATE);
	double_watch();
	r = bez_lost_clear(at, PAGES * unit_page());
	double_rest();
	CHECK_EQ(r, 0);
	CHECK(!entered());
}

static const int covered = 1, kept;

static const struct tap_case cases[] = {
	{ .name = "each call fails", .run = every_call, .data = &kept },
	{ .name = "each call fails, with a cover", .run = every_call,
	  .data = &covered },
	{ .name = "a page that is good", .run = good },
	{ .name = "a page that is bad though it can be read", .run = wide },
	{ .name = "another thread was quicker", .run = twice },
	{ .name = "it fails, and the next action does it",
	  .run = then_replace },
	{ .name = "no restart, and another repairs it", .run = waited,
	  .data = &mended },
	{ .name = "no restart, and another repairs it, a wide report",
	  .run = waited, .data = &wide_mended },
	{ .name = "no restart, and another could not", .run = waited,
	  .data = &not_mended },
	{ .name = "no restart, and another had replaced it",
	  .run = replaced_before },
	{ .name = "no restart, and it was cleared", .run = cleared },
	{ .name = "a wait for another is no try", .run = recover_waits },
	{ .name = "what the kernel does not say is lost", .run = not_said },
	{ .name = "one that was given up rings", .run = gives_up },
	{ .name = "closed by the program meanwhile", .run = closed },
	{ .name = "half of one is lost meanwhile, at the start",
	  .run = half_meanwhile, .data = &kept },
	{ .name = "half of one is lost meanwhile, at the end",
	  .run = half_meanwhile, .data = &covered },
};

TAP_MAIN(cases)
