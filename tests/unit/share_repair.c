/* SPDX-License-Identifier: MIT */
/*
 * A repair of shared memory, by the ladder and without a signal, whichever system
 * call fails: the page is good or a hole, and no lock is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../live/live.h"
#include "ladder.h"
#include "region/region.h"
#include "unit.h"

#define PAGES	4

static unsigned char *at, *copy;
static int file = -1;

static size_t length(void)
{
	return PAGES * unit_page();
}

static unsigned char *map(int fd, int flags)
{
	unsigned char *p = mmap(NULL, length(), PROT_READ | PROT_WRITE,
				flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

	CHECK(p != MAP_FAILED);
	live_fill(p, length(), 0);
	return p;
}

static void begin(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	unit_need_poison();
	unit_page();
	options.flags = BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL;
	CHECK_EQ(bez_start(&options), 0);
	file = memfd_create("share", MFD_CLOEXEC);
	CHECK(file >= 0);
	CHECK_EQ(ftruncate(file, (off_t)length()), 0);
	at = map(file, MAP_SHARED);
	copy = map(-1, MAP_PRIVATE);
}

static struct bez_policy policy;
static struct bez_shared shared;
static struct bez_source from;
static struct bz_mm *mm;
static bez_region_t region;

static void register_it(uint32_t flags, uint32_t how)
{
	mm = atomic_load(&bz_core.mm);
	shared = (struct bez_shared)BEZ_SHARED_INIT;
	from = bez_source_mirror(copy);
	shared.fd = file;
	shared.flags = flags;
	policy.shared = &shared;
	policy.source = &from;
	policy.flags = how;
	CHECK_EQ(bez_region_add(at, length(), &policy, &region), 0);
}

static void registered_with(uint32_t flags, uint32_t how)
{
	policy = (struct bez_policy)BEZ_POLICY_INIT;
	begin();
	register_it(flags, how);
}

static void registered(uint32_t flags)
{
	registered_with(flags, 0);
}

static void degraded(uint32_t flags)
{
	policy = (struct bez_policy)BEZ_POLICY_INIT;
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	begin();
	register_it(flags, 0);
}

static void empty(void)
{
	CHECK_EQ(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)unit_page(), (off_t)unit_page()), 0);
}

static struct bz_result climb(void)
{
	struct bz_walk *w = unit_enter(mm);
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = (uint64_t)at + unit_page() + 9,
		.cause = BEZ_CAUSE_ADRERR,
		.si_code = BUS_ADRERR,
	};
	struct bz_result result;

	memset(mm->repeats, 0, sizeof(mm->repeats));
	double_watch();
	bz_ladder(mm, w, &fault, &result);
	double_rest();
	CHECK(!w->mark && !w->placing && !w->claim[0]);
	bz_walk_leave(mm, w, NULL);
	return result;
}

/* Does the file have a hole at the page, good bytes, or anything else? */
static enum unit_state file_state(void)
{
	unsigned char page[65536];
	off_t hole = lseek(file, (off_t)unit_page(), SEEK_HOLE);
	size_t i, wrong = 0;

	if (hole == (off_t)unit_page())
		return UNIT_CLOSED;
	CHECK_EQ(pread(file, page, unit_page(), (off_t)unit_page()),
		 unit_page());
	for (i = 0; i < unit_page(); i++)
		wrong += page[i] != live_byte(unit_page() + i, 0);
	return wrong ? UNIT_WRONG : UNIT_GOOD;
}

static int lock_is_free(void)
{
	struct flock lock = { .l_type = F_WRLCK };

	CHECK_EQ(fcntl(file, F_OFD_GETLK, &lock), 0);
	return lock.l_type == F_UNLCK;
}

/* The page is good or a hole, and no lock is left; whichever call failed. */
static void repair_fails(void)
{
	static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EIO, ENOENT,
				      EFAULT, EEXIST };
	uint32_t n, saved = 0, refused = 0;
	size_t e;

	registered(BEZ_SHARED_FENCED);
	unit_patience(100);
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1;; n++) {
			struct bz_result r;
			int good, unlock;

			empty();
			double_reset();
			double_fail(n, errors[e]);
			r = climb();
			if (!double_lies())
				break;
			good = r.outcome == BEZ_OUTCOME_REPLACED;
			CHECKF(file_state() != UNIT_WRONG,
			       "call %u says %s: zeros", n,
			       strerror(errors[e]));
			CHECKF(!good || file_state() == UNIT_GOOD,
			       "call %u says %s: \"%s\", and no page", n,
			       strerror(errors[e]), bez_outcome_name(r.outcome));
			/* an unlock that fails is the one that may leave it */
			unlock = double_trace(double_traced() - 1)->lied;
			CHECKF(lock_is_free() || unlock,
			       "call %u says %s: locked", n,
			       strerror(errors[e]));
			saved += (uint32_t)good;
			refused += r.why != 0;
			double_reset();
			climb();
			CHECK_EQ(file_state(), UNIT_GOOD);
			CHECK(lock_is_free());
		}
	tap_diag("%u saved, %u refused", saved, refused);
	CHECK(saved && refused);
}

static struct bz_result poisoned(long nr, long what, int err)
{
	struct double_rule lost = { .nr = SYS_madvise,
				    .what = MADV_POPULATE_READ,
				    .err = EHWPOISON };
	struct double_rule rule = { .nr = nr, .what = what, .err = err };
	struct bz_result r;

	double_reset();
	double_rule(&lost);
	if (nr)
		double_rule(&rule);
	r = climb();
	double_reset();
	return r;
}

/* Poison, which the double says is there: punched out, and filled. */
static void poison(void)
{
	registered(BEZ_SHARED_FENCED);
	CHECK_EQ(poisoned(SYS_fallocate, 0, EPERM).why,
		 BEZ_OUTCOME_REFUSED_SYSTEM);
	CHECK_EQ(file_state(), UNIT_GOOD);
	CHECK_EQ(poisoned(SYS_ioctl, (long)UFFDIO_COPY, ENOSPC).why,
		 BEZ_OUTCOME_REFUSED_NOMEM);
	CHECK_EQ(file_state(), UNIT_CLOSED);
	CHECK_EQ(poisoned(SYS_fcntl, F_OFD_SETLK, ENOLCK).why,
		 BEZ_OUTCOME_REFUSED_SYSTEM);
	CHECK(lock_is_free());
	/* by what it was lost is found out, and it is filled once */
	CHECK_EQ(climb().outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(climb().outcome, BEZ_OUTCOME_ALREADY_GOOD);
	memset(at + unit_page(), 1, unit_page());
	CHECK_EQ(poisoned(0, 0, 0).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(file_state(), UNIT_GOOD);
}

/* Before 5.14, which have no word for poison: asked by reading. */
static void old_kernel(void)
{
	struct bz_result first;

	registered(BEZ_SHARED_FENCED);
	empty();
	double_kernel(DOUBLE_5_10);
	first = climb();
	CHECK_EQ(first.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(first.cause, BEZ_CAUSE_HOLE);
	CHECK_EQ(file_state(), UNIT_GOOD);
	at[unit_page()] ^= 1;
	double_kernel(DOUBLE_5_10);
	CHECK_EQ(climb().outcome, BEZ_OUTCOME_ALREADY_GOOD);
	at[unit_page()] ^= 1;
	empty();
	double_kernel(DOUBLE_5_10 | DOUBLE_NO_READV);
	CHECK_EQ(climb().why, BEZ_OUTCOME_REFUSED_KIND);
	CHECK_EQ(file_state(), UNIT_CLOSED);
}

/* The fence around it is our own, and no reason to leave it alone: the page
 * becomes this process's, and what is beside it stays behind the fence. */
static void cut_and_detached(void)
{
	size_t page = unit_page();
	struct bz_result r;
	struct stat st;

	registered_with(BEZ_SHARED_FENCED, BEZ_POLICY_DETACH);
	CHECK_EQ(ftruncate(file, (off_t)page), 0);
	r = climb();
	CHECK_EQ(r.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(r.cause, BEZ_CAUSE_CUT);
	CHECK(lock_is_free());
	CHECK_EQ(unit_state(at, 1), UNIT_GOOD);
	CHECK_EQ(unit_flag(at + page, "um"), 0);
	CHECK_EQ(unit_flag(at, "um"), 1);
	CHECK_EQ(unit_flag(at + 2 * page, "um"), 1);
	/* the file does not come back, and what is written does not reach it */
	CHECK_EQ(fstat(file, &st), 0);
	CHECK_EQ(st.st_size, page);
	CHECK_EQ(ftruncate(file, (off_t)length()), 0);
	CHECK_EQ(unit_state(at, 1), UNIT_GOOD);
	at[page] ^= 1;
	CHECK_EQ(lseek(file, (off_t)page, SEEK_DATA), -1);
	/* and is lost as memory of its own */
	live_poison(at + page);
	CHECK_EQ(climb().outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(unit_state(at, 1), UNIT_GOOD);
}

static int is_lost(void)
{
	return bez_lost_in(at + unit_page(), unit_page());
}

/* A cover goes when the file is opened again, and its fence has to come back. */
static void fence_fails(void)
{
	const struct double_rule once = { .nr = SYS_ioctl, .nth = 2,
					  .what = (long)UFFDIO_REGISTER,
					  .err = ENOMEM }, again = once;
	struct double_rule no_cover = { .nr = SYS_memfd_create, .err = EMFILE };
	uint32_t i;
	int r;

	degraded(BEZ_SHARED_FENCED);
	for (i = 0; i < 4; i++) {
		empty();
		CHECK_EQ(bez_recover(at + unit_page(), 1), -EFAULT);
		CHECK(is_lost());
		double_reset();
		if (i > 0)
			double_rule(&once);
		/* it does not see what the first one answered */
		if (i > 1)
			double_rule(&again);
		if (i > 2)
			double_rule(&no_cover);
		double_watch();
		r = bez_lost_fill(at, length(), copy);
		double_rest();
		CHECK_EQ(double_lies(), i);
		double_reset();
		CHECK_EQ(r, i > 1 ? -EIO : 0);
		CHECK_EQ(is_lost(), i > 1);
		CHECK_EQ(unit_state(at, 1), i > 1 ? UNIT_CLOSED : UNIT_GOOD);
		CHECK_EQ(unit_state(at, 2), UNIT_GOOD);
		CHECK(lock_is_free());
		if (i > 2)
			break;
		CHECK_EQ(bez_lost_fill(at, length(), copy), 0);
		CHECK_EQ(unit_flag(at + unit_page(), "um"), 1);
		CHECK_EQ(unit_state(at, 1), UNIT_GOOD);
		CHECK(!is_lost());
	}
}

static const struct tap_case cases[] = {
	{ .name = "each call of a repair fails", .run = repair_fails,
	  .timeout_s = 110 },
	{ .name = "poison", .run = poison },
	{ .name = "old kernel", .run = old_kernel },
	{ .name = "cut and detached", .run = cut_and_detached },
	{ .name = "opened again, and no fence", .run = fence_fails },
};
TAP_MAIN(cases)
