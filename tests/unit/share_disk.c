/* SPDX-License-Identifier: MIT */
/*
 * A page of a shared file on a disk that was lost before it was written back: the
 * file has older bytes, and is believed only if a digest says that they are the
 * right ones. Whoever uses it alone may write it anew; never beyond its end. That
 * the page is poisoned is what the double says: such memory takes no marker.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../live/live.h"
#include "ladder.h"
#include "region/region.h"
#include "unit.h"

#define PAGES	4
#define LOST	2
#define page	unit_page()

static unsigned char *at, *copy;
static int file;
static uint64_t digests[PAGES];
static struct bz_mm *mm;

enum from { ITSELF, MIRROR };

static void begin(enum from what, uint32_t flags, const uint64_t *check,
		  uint32_t policy_flags, size_t bytes)
{
	char name[] = "/var/tmp/bezoar-disk-XXXXXX";
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;
	struct statfs fs;
	size_t i;

	options.flags = BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL;
	CHECK_EQ(bez_start(&options), 0);
	mm = atomic_load(&bz_core.mm);
	file = mkstemp(name);
	if (file < 0 || fstatfs(file, &fs) || fs.f_type == TMPFS_MAGIC)
		tap_skip("/var/tmp is on no disk here");
	unlink(name);
	copy = live_pages(PAGES);
	for (i = 0; i < PAGES; i++)
		digests[i] = bez_digest(copy + i * page, page);
	CHECK_EQ(pwrite(file, copy, bytes, 0), bytes);
	at = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, file,
		  0);
	CHECK(at != MAP_FAILED);
	from = what == ITSELF ? bez_source_file(file, 0) :
				bez_source_mirror(copy);
	shared.fd = file;
	shared.flags = flags;
	policy.shared = &shared;
	policy.source = &from;
	policy.digests = check;
	policy.flags = policy_flags;
	CHECK_EQ(bez_region_add(at, PAGES * page, &policy, &region), 0);
}

static void is_poison(void)
{
	struct double_rule lost = { .nr = SYS_madvise,
				    .what = MADV_POPULATE_READ,
				    .err = EHWPOISON };

	double_rule(&lost);
}

static struct bz_result climb(void)
{
	struct bz_walk *w = unit_enter(mm);
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = (uint64_t)at + LOST * page + 9,
		.cause = BEZ_CAUSE_ADRERR,
		.si_code = BUS_ADRERR,
	};
	struct bz_result result;

	memset(mm->repeats, 0, sizeof(mm->repeats));
	double_watch();
	bz_ladder(mm, w, &fault, &result);
	double_rest();
	bz_walk_leave(mm, w, NULL);
	return result;
}

static uint32_t drops(void)
{
	return double_count(SYS_madvise, MADV_DONTNEED_LOCKED) +
	       double_count(SYS_madvise, MADV_DONTNEED);
}

/* Of the page that is lost. */
static size_t wrong_in_file(size_t bytes)
{
	unsigned char now[65536];
	size_t i, wrong = 0;

	CHECK_EQ(pread(file, now, page, (off_t)(LOST * page)), bytes);
	for (i = 0; i < bytes; i++)
		wrong += now[i] != live_byte(LOST * page + i, 0);
	return wrong;
}

static void older(void)
{
	CHECK_EQ(pwrite(file, "older", 5, (off_t)(LOST * page + 11)), 5);
}

static void stale(void)
{
	begin(ITSELF, 0, NULL, 0, PAGES * page);
	is_poison();
	CHECK_EQ(climb().why, BEZ_OUTCOME_SOURCE_STALE);
	CHECK_EQ(drops(), 0);
	CHECK_EQ(double_count(SYS_pwrite64, 0), 0);
}

static void stale_exclusive(void)
{
	begin(ITSELF, BEZ_SHARED_EXCLUSIVE, NULL, 0, PAGES * page);
	is_poison();
	CHECK_EQ(climb().why, BEZ_OUTCOME_SOURCE_STALE);
	CHECK_EQ(drops(), 0);
}

/* The bytes are there: all that goes is what hides them. */
static void matching(void)
{
	struct bz_result r;

	begin(ITSELF, 0, digests, 0, PAGES * page);
	is_poison();
	r = climb();
	CHECK_EQ(r.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(r.source, BEZ_SOURCE_FILE);
	CHECK_EQ(drops(), 1);
	CHECK_EQ(double_count(SYS_pwrite64, 0), 0);
	double_reset();
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
}

static void not_matching(void)
{
	begin(ITSELF, 0, digests, 0, PAGES * page);
	older();
	is_poison();
	CHECK_EQ(climb().why, BEZ_OUTCOME_SOURCE_DIGEST);
	CHECK_EQ(drops(), 0);
	CHECK_EQ(double_count(SYS_pwrite64, 0), 0);
}

static void mirror(void)
{
	begin(MIRROR, BEZ_SHARED_EXCLUSIVE, NULL, 0, PAGES * page);
	older();
	is_poison();
	CHECK_EQ(climb().outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(double_count(SYS_pwrite64, 0), 1);
	CHECK_EQ(drops(), 1);
	double_reset();
	CHECK_EQ(wrong_in_file(page), 0);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
}

/* Others may have written to the file since. */
static void mirror_alone(void)
{
	begin(MIRROR, 0, NULL, 0, PAGES * page);
	older();
	is_poison();
	CHECK_EQ(climb().why, BEZ_OUTCOME_REFUSED_SHARED);
	CHECK_EQ(double_count(SYS_pwrite64, 0), 0);
	CHECK_EQ(drops(), 0);
	double_reset();
	CHECK_EQ(wrong_in_file(page), 5);
}

/* The file ends within the page, and still does afterwards. */
static void end_of_file(void)
{
	struct stat st;

	begin(MIRROR, BEZ_SHARED_EXCLUSIVE, NULL, 0, LOST * page + 100);
	older();
	is_poison();
	CHECK_EQ(climb().outcome, BEZ_OUTCOME_REPLACED);
	double_reset();
	CHECK_EQ(fstat(file, &st), 0);
	CHECK_EQ(st.st_size, LOST * page + 100);
	CHECK_EQ(wrong_in_file(100), 0);
}

/* It lost the page while that was looked at. */
static void cut_meanwhile(void)
{
	begin(MIRROR, BEZ_SHARED_EXCLUSIVE, NULL, 0, PAGES * page);
	CHECK_EQ(ftruncate(file, (off_t)page), 0);
	is_poison();
	CHECK_EQ(climb().why, BEZ_OUTCOME_REFUSED_SYSTEM);
	CHECK_EQ(double_count(SYS_pwrite64, 0), 0);
	CHECK_EQ(drops(), 0);
}

static void writing_fails(void)
{
	static const int errors[] = { EIO, ENOSPC, EBADF, EDQUOT };
	struct double_rule rule = { .nr = SYS_pwrite64, .nth = 1,
				    .err = EINTR };
	struct double_rule nothing = { .nr = SYS_pwrite64,
				       .flags = DOUBLE_EXECUTE };
	size_t e;

	begin(MIRROR, BEZ_SHARED_EXCLUSIVE, NULL, 0, PAGES * page);
	older();
	for (e = 0; e < COUNT_OF(errors); e++) {
		rule.err = errors[e];
		is_poison();
		double_rule(&rule);
		CHECK_EQ(climb().why, BEZ_OUTCOME_REFUSED_SYSTEM);
		CHECK_EQ(drops(), 0);
		double_reset();
		CHECK_EQ(wrong_in_file(page), 5);
	}
	is_poison();
	double_rule(&nothing);
	CHECK_EQ(climb().why, BEZ_OUTCOME_REFUSED_SYSTEM);
	CHECK_EQ(drops(), 0);
	double_reset();
	rule.err = EINTR;
	is_poison();
	double_rule(&rule);
	CHECK_EQ(climb().outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(double_count(SYS_pwrite64, 0), 2);
	double_reset();
	CHECK_EQ(wrong_in_file(page), 0);
}

/* A file of the program's may be locked by the program. */
static void locked_by_the_program(void)
{
	struct flock lock = { .l_type = F_WRLCK };

	begin(ITSELF, 0, digests, 0, PAGES * page);
	CHECK_EQ(fcntl(file, F_OFD_SETLK, &lock), 0);
	is_poison();
	CHECK_EQ(climb().outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(double_count(SYS_fcntl, F_OFD_SETLK), 0);
}

/* No poison: the file was cut, or its disk says no. */
static void cut(void)
{
	struct bz_result r;

	unit_need_poison();
	begin(MIRROR, BEZ_SHARED_EXCLUSIVE, NULL, 0, PAGES * page);
	CHECK_EQ(ftruncate(file, (off_t)page), 0);
	r = climb();
	CHECK_EQ(r.why, BEZ_OUTCOME_REFUSED_DETACH);
	CHECK_EQ(r.cause, BEZ_CAUSE_CUT);
}

static void cut_and_detached(void)
{
	struct bz_result r;
	struct stat st;
	size_t i, wrong = 0;

	unit_need_poison();
	begin(MIRROR, BEZ_SHARED_EXCLUSIVE, NULL, BEZ_POLICY_DETACH,
	      PAGES * page);
	CHECK_EQ(ftruncate(file, (off_t)page), 0);
	r = climb();
	CHECK_EQ(r.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(r.cause, BEZ_CAUSE_CUT);
	for (i = LOST * page; i < (LOST + 1) * page; i++)
		wrong += live_read(at + i) != live_byte(i, 0);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(fstat(file, &st), 0);
	CHECK_EQ(st.st_size, page);
}

static void unreadable(void)
{
	struct double_rule bad = { .nr = SYS_madvise,
				   .what = MADV_POPULATE_READ, .err = EFAULT };
	struct bz_result r;

	begin(MIRROR, BEZ_SHARED_EXCLUSIVE, NULL, 0, PAGES * page);
	double_rule(&bad);
	r = climb();
	CHECK_EQ(r.why, BEZ_OUTCOME_REFUSED_DETACH);
	CHECK_EQ(r.cause, BEZ_CAUSE_UNREADABLE);
	CHECK_EQ(drops(), 0);
}

static const struct tap_case cases[] = {
	{ .name = "the file itself, and no digest", .run = stale },
	{ .name = "the same, exclusive", .run = stale_exclusive },
	{ .name = "the file itself, and it matches", .run = matching },
	{ .name = "the file itself, and it does not", .run = not_matching },
	{ .name = "mirror, exclusive", .run = mirror },
	{ .name = "mirror, not exclusive", .run = mirror_alone },
	{ .name = "end of file", .run = end_of_file },
	{ .name = "cut meanwhile", .run = cut_meanwhile },
	{ .name = "writing fails", .run = writing_fails },
	{ .name = "locked by the program", .run = locked_by_the_program },
	{ .name = "cut", .run = cut },
	{ .name = "cut and detached", .run = cut_and_detached },
	{ .name = "unreadable", .run = unreadable },
};
TAP_MAIN(cases)
