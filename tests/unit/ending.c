/* SPDX-License-Identifier: MIT */
/* The action SHUTDOWN where the end itself does not come: the double keeps the
 * process from it. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../live/live.h"
#include "ladder.h"
#include "record/prepare.h"
#include "unit.h"
#include "worker/hooks.h"

static struct bz_mm *mm;
static unsigned char *at;
static int records;

static void begin(uint32_t flags, int kin)
{
	struct bez_options o = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	unit_need_poison();
	records = memfd_create("records", MFD_CLOEXEC);
	CHECK(records > 0);
	o.flags = BEZ_START_NO_WORKER | BEZ_START_SHUTDOWN_EXIT | flags;
	o.shutdown_status = 5;
	o.record_fd = records;
	o.kin_fd = kin;
	CHECK_EQ(bez_start(&o), 0);
	mm = atomic_load(&bz_core.mm);
	policy.actions[0] = BEZ_ACTION_SHUTDOWN;
	at = live_pages(1);
	CHECK_EQ(bez_region_add(at, unit_page(), &policy, &region), 0);
	live_poison(at);
}

static struct bz_result climb(uint32_t cause, int want)
{
	struct bz_walk *w = unit_enter(mm);
	struct bz_fault fault = { .taken_ns = bz_now_ns(),
				  .addr = (uint64_t)at, .cause = cause };
	struct bz_result result;

	CHECK_EQ(bz_ladder(mm, w, &fault, &result), want);
	bz_walk_leave(mm, w, NULL);
	return result;
}

/* Nobody has touched it: wait until somebody does. */
static void early_notice(void)
{
	struct bz_result r;

	begin(0, 0);
	r = climb(BEZ_CAUSE_POISON_AO, 0);
	CHECK_EQ(r.outcome, BEZ_OUTCOME_NOTED);
	CHECK_EQ(mm->shutdown, 0);
	CHECK_EQ(lseek(records, 0, SEEK_END), 384);
}

/* The next of the watched calls from *@n on that was @nr; to which descriptor. */
static long next(long nr, uint32_t *n)
{
	while (*n < double_traced()) {
		const struct double_call *c = double_trace((*n)++);

		if (c->nr == nr)
			return c->arg[0];
	}
	return -1;
}

/* Told, written, and on the disk in the end: a disk may be broken, too. */
static void order(void)
{
	int kin = memfd_create("kin", MFD_CLOEXEC), i;
	uint32_t n = 0;

	CHECK(kin > 0);
	begin(0, kin);
	double_watch();
	CHECK_EQ(climb(BEZ_CAUSE_ADRERR, -EFAULT).outcome,
		 BEZ_OUTCOME_SHUTDOWN);
	for (i = 0; i < 2; i++) {
		CHECK_EQ(next(SYS_write, &n), bz_recorder.kin.fd);
		CHECK_EQ(next(SYS_write, &n), bz_recorder.sink.fd);
	}
	CHECK_EQ(next(SYS_fdatasync, &n), bz_recorder.sink.fd);
	CHECK_EQ(next(SYS_fdatasync, &n), bz_recorder.kin.fd);
	CHECK_EQ(double_count(SYS_write, 0), 4);
	CHECK_EQ(lseek(kin, 0, SEEK_END), 2 * 384);
	CHECK_EQ(lseek(records, 0, SEEK_END), 2 * 384);
	CHECK_EQ(mm->shutdown, (uint32_t)gettid());
}

/* Whoever had begun is none of ours any more: then it is for us. */
static void left_behind(void)
{
	begin(0, 0);
	atomic_store(&mm->shutdown, unit_dead());
	CHECK_EQ(climb(BEZ_CAUSE_ADRERR, -EFAULT).outcome,
		 BEZ_OUTCOME_SHUTDOWN);
}

/* No second one by the same thread: a fault of the shutdown's own. */
static void twice(void)
{
	struct bz_result r;

	begin(0, 0);
	atomic_store(&mm->shutdown, (uint32_t)gettid());
	r = climb(BEZ_CAUSE_ADRERR, -EFAULT);
	CHECK_EQ(r.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(r.why, BEZ_OUTCOME_SHUTDOWN_TWICE);
}

/* Every call that its end makes of the kernel may fail: it comes all the same. */
static void calls_fail(void)
{
	uint32_t n;
	int kin = memfd_create("kin", MFD_CLOEXEC);

	begin(0, kin);
	for (n = 1;; n++) {
		atomic_store(&mm->shutdown, 0);
		double_reset();
		double_fail(n, EIO);
		double_watch();
		CHECK_EQ(climb(BEZ_CAUSE_ADRERR, -EFAULT).outcome,
			 BEZ_OUTCOME_SHUTDOWN);
		double_rest();
		if (!double_lies())
			break;
	}
	tap_diag("%u calls", n - 1);
	CHECK(n > 8);
}

static const struct tap_case cases[] = {
	{ .name = "an early notice ends nothing", .run = early_notice },
	{ .name = "the next of kin, the record, the disk", .run = order },
	{ .name = "begun by who is gone", .run = left_behind },
	{ .name = "not twice", .run = twice },
	{ .name = "whatever fails", .run = calls_fail },
};
TAP_MAIN(cases)
