/* SPDX-License-Identifier: MIT */
/*
 * Repairs on kernels that are older, narrower or in worse health than the one
 * that runs the test; and what anybody else can see of a page meanwhile.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "repair/repair.h"
#include "repairing.h"

/* ---------------------------------------------- which way, on which kernel */

struct kernel {
	uint32_t bits;
	uint32_t placement;
};

static void placement(void)
{
	const struct kernel *k = tap_data();
	struct bez_status status = { .size = sizeof(status) };

	if ((k->bits & DOUBLE_ONLY_DEVICE) &&
	    access("/dev/userfaultfd", R_OK | W_OK))
		tap_skip("no /dev/userfaultfd here: %s", strerror(errno));
	double_kernel(k->bits);
	double_watch();
	repair_begin(0);
	double_rest();
	CHECK_EQ(bez_status(&status), 0);
	CHECK_EQ(status.placement, k->placement);
	repair_lose();
	repair_climb();
	repair_judge("placement", 0, 0);
	CHECK_EQ(repaired.result.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(double_count(SYS_mremap, 0) != 0,
		 k->placement == BEZ_PLACEMENT_MREMAP);
}

static const struct kernel full = { 0, BEZ_PLACEMENT_UFFD },
	user = { DOUBLE_NOT_FULL, BEZ_PLACEMENT_UFFD_USER },
	device = { DOUBLE_ONLY_DEVICE, BEZ_PLACEMENT_UFFD },
	v6_1 = { DOUBLE_6_1, BEZ_PLACEMENT_UFFD },
	v5_10 = { DOUBLE_5_10, BEZ_PLACEMENT_UFFD },
	v5_10_user = { DOUBLE_5_10 | DOUBLE_NOT_FULL, BEZ_PLACEMENT_MREMAP },
	none = { DOUBLE_NO_UFFD, BEZ_PLACEMENT_MREMAP },
	filtered = { DOUBLE_ONLY_DEVICE | DOUBLE_NO_DEVICE,
		     BEZ_PLACEMENT_MREMAP };

/* ---------------------------------------------------- things go on failing */

struct bad {
	struct double_rule rule[3];
	uint32_t kernel;
	uint32_t outcome;		/* REPLACED, or why not */
	const char *flag;		/* of the page afterwards, in smaps */
	int no_flag;			/* or rather not */
};

static void fails(void)
{
	const struct bad *bad = tap_data();
	uint32_t i;

	repair_begin(0);
	repair_lose();
	double_kernel(bad->kernel);
	for (i = 0; i < COUNT_OF(bad->rule) && bad->rule[i].nr; i++)
		double_rule(&bad->rule[i]);
	repair_climb();
	CHECK(repaired.lies || !bad->rule[0].nr);
	CHECKF((repaired.result.why ? repaired.result.why :
		repaired.result.outcome) == bad->outcome, "\"%s\", because of "
	       "\"%s\"", bez_outcome_name(repaired.result.outcome),
	       bez_outcome_name(repaired.result.why));
	CHECK_EQ(unit_state(repair_at, REPAIR_LOST),
		 bad->outcome < BEZ_OUTCOME_REFUSED_KIND ? UNIT_GOOD :
							   UNIT_CLOSED);
	if (bad->flag)
		CHECK_EQ(unit_flag(repair_at + REPAIR_LOST * unit_page(),
				   bad->flag), !bad->no_flag);
	CHECK_EQ(unit_flag(repair_at + REPAIR_LOST * unit_page(), " um"), 0);
	/* and when the kernel is well again, so is the page */
	repair_mend();
}

#define COPY(how, many) \
	{ .nr = SYS_ioctl, .what = (long)UFFDIO_COPY, .nth = many, .err = how }
#define POISON(how) \
	{ .nr = SYS_ioctl, .what = (long)UFFDIO_POISON, .err = how }

static const struct bad
	/* closed again by a marker, and left readable */
	copy_fails = { { COPY(EPERM, 0) }, 0, BEZ_OUTCOME_REFUSED_SYSTEM,
		       " rd", 0 },
	copy_nomem = { { COPY(ENOMEM, 0) }, 0, BEZ_OUTCOME_REFUSED_NOMEM,
		       " rd", 0 },
	/* no markers there: no access at all */
	copy_fails_6_1 = { { COPY(EPERM, 0) }, DOUBLE_6_1,
			   BEZ_OUTCOME_REFUSED_SYSTEM, " rd", 1 },
	marker_fails = { { COPY(EINVAL, 0), POISON(EPERM) }, 0,
			 BEZ_OUTCOME_REFUSED_SYSTEM, " rd", 1 },
	/* the poison entry cannot be taken out: the other way */
	entry_stays = { { { .nr = SYS_madvise, .what = MADV_DONTNEED,
			    .err = EINVAL },
			  { .nr = SYS_madvise, .what = MADV_DONTNEED_LOCKED,
			    .err = EINVAL }, COPY(EEXIST, 0) },
			DOUBLE_FREE_KEEPS, BEZ_OUTCOME_REPLACED, NULL, 0 },
	free_refuses = { { { .nr = SYS_madvise, .what = MADV_FREE,
			     .err = EINVAL } },
			 0, BEZ_OUTCOME_REPLACED, NULL, 0 },
	free_keeps = { { { 0 } }, DOUBLE_FREE_KEEPS, BEZ_OUTCOME_REPLACED,
		       NULL, 0 },
	/* others are at it for a while: patience */
	busy = { { { .nr = SYS_ioctl, .what = (long)UFFDIO_REGISTER, .nth = 1,
		     .err = EBUSY },
		   { .nr = SYS_ioctl, .what = (long)UFFDIO_REGISTER, .nth = 1,
		     .err = EAGAIN }, COPY(EAGAIN, 1) },
		 0, BEZ_OUTCOME_REPLACED, NULL, 0 },
	maps_full = { { { .nr = SYS_ioctl, .what = (long)UFFDIO_REGISTER,
			  .err = ENOMEM } },
		      0, BEZ_OUTCOME_REFUSED_MAPS, NULL, 0 },
	copied_but = { { { .nr = SYS_ioctl, .what = (long)UFFDIO_COPY,
			   .nth = 1, .err = EINTR, .flags = DOUBLE_EXECUTE } },
		       0, BEZ_OUTCOME_ALREADY_GOOD, NULL, 0 },
	cannot_tell = { { { .nr = SYS_process_vm_readv, .err = ENOSYS } },
			DOUBLE_NO_POPULATE, BEZ_OUTCOME_REFUSED_KIND, NULL, 0 };

/* The order of a repair: nothing is emptied that is not registered, and what
 * was registered is registered no more. */
static void order(void)
{
	static const struct {
		long nr, what;
	} want[] = {
		{ SYS_madvise, MADV_POPULATE_READ }, { SYS_fcntl, F_GETOWN },
		{ SYS_ioctl, (long)UFFDIO_REGISTER },
		{ SYS_madvise, MADV_FREE }, { SYS_ioctl, (long)UFFDIO_COPY },
		{ SYS_ioctl, (long)UFFDIO_UNREGISTER },
		{ SYS_ioctl, (long)UFFDIO_WAKE },
	};
	uint32_t i;

	repair_begin(0);
	repair_lose();
	repair_climb();
	CHECK_EQ(double_traced(), COUNT_OF(want));
	for (i = 0; i < COUNT_OF(want); i++) {
		const struct double_call *c = double_trace(i);

		CHECK_EQ(c->nr, want[i].nr);
		CHECK(!want[i].what ||
		      c->arg[c->nr == SYS_madvise ? 2 : 1] == want[i].what);
		CHECK_EQ(c->result, c->nr == SYS_fcntl ? getpid() :
				    i ? 0 : -EHWPOISON);
	}
}

/* ----------------------------------------------- what others see meanwhile */

static uint32_t looks;

static void others_look(long nr, const long arg[6])
{
	(void)nr;
	(void)arg;
	looks++;
	CHECKF(unit_state(repair_at, REPAIR_LOST) != UNIT_WRONG,
	       "before call %u the page reads as something else", looks);
}

/* Somebody looks before every step. A userfaultfd in user mode says EFAULT to
 * the look where the full one would make it wait. */
static void never_wrong(void)
{
	const struct bad *bad = tap_data();

	double_kernel(bad->kernel);
	double_watch();
	repair_begin(bad->outcome);
	double_rest();
	repair_lose();
	if (bad->rule[0].nr)
		double_rule(&bad->rule[0]);
	double_before(others_look);
	repair_climb();
	CHECK(looks >= 6);
	repair_judge("looked at", 0, 0);
}

static const struct bad
	look_uffd = { { { 0 } }, DOUBLE_NOT_FULL, 0, NULL, 0 },
	look_failing = { { COPY(EPERM, 0) }, DOUBLE_NOT_FULL, 0, NULL, 0 },
	look_6_1 = { { COPY(EPERM, 0) }, DOUBLE_NOT_FULL | DOUBLE_NO_POISON, 0,
		     NULL, 0 },
	look_keeps = { { { 0 } }, DOUBLE_NOT_FULL | DOUBLE_FREE_KEEPS, 0, NULL,
		       0 },
	look_staged = { { { 0 } }, 0, BEZ_START_NO_UFFD, NULL, 0 };

static void take_target_out(long nr, const long arg[6])
{
	if (nr == SYS_mremap)
		munmap((void *)arg[4], (size_t)arg[2]);
}

/* mremap(2) may have taken the old mapping out when it fails: no hole may be
 * left, in which somebody else's mapping would land. */
static void moved_half_way(void)
{
	struct double_rule fails_then = { .nr = SYS_mremap, .err = ENOMEM };
	unsigned char *page;
	uint32_t maps;

	repair_begin(BEZ_START_NO_UFFD);
	page = repair_at + REPAIR_LOST * unit_page();
	repair_lose();
	maps = unit_maps();
	double_rule(&fails_then);
	double_before(take_target_out);
	repair_climb();
	CHECK_EQ(repaired.result.why, BEZ_OUTCOME_REFUSED_MAPS);
	CHECK_EQ(unit_state(repair_at, REPAIR_LOST), UNIT_CLOSED);
	CHECK_EQ(unit_flag(page, " rd"), 0);
	CHECK(unit_maps() <= maps + 2);
}

/* ---------------------------------------------------------- the descriptor */

/* bz_uffd_open() with each of its calls failing: open and known, or not. */
static void opening(void)
{
	/* EBADF is true or nothing: unit_path closes the descriptor for it */
	static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EINTR, EPERM,
				      ENOSYS, EMFILE };
	struct bz_mm *mm = unit_mm();
	uint32_t n, fds, opened = 0, failed = 0;
	size_t e;

	unit_need_poison();
	bz_core.flags = 0;
	fds = unit_fds();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n < 100; n++) {
			int open, done;

			double_reset();
			double_fail(n, errors[e]);
			double_watch();
			bz_uffd_open(mm);
			double_rest();
			done = !double_lies();
			open = atomic_load(&mm->uffd) > 0;
			CHECK_EQ(unit_fds(), fds + (uint32_t)open);
			CHECK_EQ(mm->placement != BEZ_PLACEMENT_MREMAP, open);
			CHECK_EQ(mm->uffd_busy, 0);
			opened += (uint32_t)open;
			failed += !open;
			bz_uffd_close(mm);
			CHECK_EQ(unit_fds(), fds);
			if (done)
				break;
		}
	CHECK(opened && failed);
}

/* -------------------------------------------------------- without an answer */

static const uint32_t by_uffd = 0, by_mremap = BEZ_START_NO_UFFD;

/* What the program has closed meanwhile is no loss, though the kernel reads it for
 * nobody; and what is lost is, though it is closed. */
static void closed_before_5_14(void)
{
	unsigned char *page;
	size_t len = unit_page();

	repair_begin(*(const uint32_t *)tap_data());
	page = repair_at + REPAIR_LOST * len;
	*page ^= 1;
	CHECK_EQ(mprotect(page, len, PROT_NONE), 0);
	double_kernel(DOUBLE_5_10);
	repair_climb();
	CHECK_EQ(repaired.result.outcome, BEZ_OUTCOME_ALREADY_GOOD);
	CHECK_EQ(mprotect(page, len, PROT_READ | PROT_WRITE), 0);
	CHECK_EQ(unit_state(repair_at, REPAIR_LOST), UNIT_WRONG);
	*page ^= 1;
	CHECK_EQ(unit_state(repair_at, REPAIR_LOST), UNIT_GOOD);
	repair_lose();
	CHECK_EQ(mprotect(page, len, PROT_NONE), 0);
	repair_climb();
	CHECK_EQ(repaired.result.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(mprotect(page, len, PROT_READ | PROT_WRITE), 0);
	CHECK_EQ(unit_state(repair_at, REPAIR_LOST), UNIT_GOOD);
}

/* -------------------------------------------------------- what is all there */

/* By the page tables, and on a kernel that cannot scan them. */
static void present(void)
{
	const struct double_rule old = { .nr = SYS_ioctl,
					 .what = (long)PAGEMAP_SCAN,
					 .err = ENOTTY };
	size_t page = unit_page();
	unsigned char *at;
	struct bz_extent x = { .width = 4 * page };
	int i;

	unit_need_poison();
	double_watch();
	for (i = 0; i < 2; i++) {
		at = live_pages(8);
		x.start = (uint64_t)at;
		CHECK_EQ(bz_probe_present(x), 1);
		/* it comes in, if it is only not there yet */
		CHECK_EQ(madvise(at + page, page, MADV_DONTNEED), 0);
		CHECK_EQ(bz_probe_present(x), 1);
		live_poison(at + 4 * page);
		CHECK_EQ(bz_probe_present(x), 1);
		live_poison(at + 3 * page);
		CHECK_EQ(bz_probe_present(x), 0);
		CHECK_EQ(munmap(at, page), 0);
		x = (struct bz_extent){ x.start, 2 * page };
		CHECK_EQ(bz_probe_present(x), 0);
		x.width = 4 * page;
		double_rule(&old);
	}
	CHECK(double_count(SYS_madvise, MADV_POPULATE_READ));
}

static const struct tap_case cases[] = {
	{ .name = "placement: full", .run = placement, .data = &full },
	{ .name = "placement: user mode", .run = placement, .data = &user },
	{ .name = "placement: the device", .run = placement, .data = &device },
	{ .name = "placement: 6.1", .run = placement, .data = &v6_1 },
	{ .name = "placement: 5.10", .run = placement, .data = &v5_10 },
	{ .name = "placement: 5.10, no privilege", .run = placement,
	  .data = &v5_10_user },
	{ .name = "placement: no userfaultfd", .run = placement,
	  .data = &none },
	{ .name = "placement: filtered", .run = placement, .data = &filtered },
	{ .name = "copy fails", .run = fails, .data = &copy_fails },
	{ .name = "copy has no memory", .run = fails, .data = &copy_nomem },
	{ .name = "copy fails on 6.1", .run = fails, .data = &copy_fails_6_1 },
	{ .name = "copy and marker fail", .run = fails, .data = &marker_fails },
	{ .name = "the entry stays", .run = fails, .data = &entry_stays },
	{ .name = "MADV_FREE refuses", .run = fails, .data = &free_refuses },
	{ .name = "MADV_FREE keeps the entry", .run = fails,
	  .data = &free_keeps },
	{ .name = "others are busy", .run = fails, .data = &busy },
	{ .name = "too many mappings", .run = fails, .data = &maps_full },
	{ .name = "copied, but interrupted", .run = fails,
	  .data = &copied_but },
	{ .name = "the kernel cannot tell", .run = fails,
	  .data = &cannot_tell },
	{ .name = "the order of a repair", .run = order },
	{ .name = "never wrong: userfaultfd", .run = never_wrong,
	  .data = &look_uffd },
	{ .name = "never wrong: copy fails", .run = never_wrong,
	  .data = &look_failing },
	{ .name = "never wrong: copy fails on 6.1", .run = never_wrong,
	  .data = &look_6_1 },
	{ .name = "never wrong: entry kept", .run = never_wrong,
	  .data = &look_keeps },
	{ .name = "never wrong: mremap", .run = never_wrong,
	  .data = &look_staged },
	{ .name = "mremap fails half-way", .run = moved_half_way },
	{ .name = "closed, before 5.14", .run = closed_before_5_14,
	  .data = &by_uffd },
	{ .name = "closed, before 5.14, mremap", .run = closed_before_5_14,
	  .data = &by_mremap },
	{ .name = "what is all there", .run = present },
	{ .name = "opening fails at every call", .run = opening },
};
TAP_MAIN(cases)
