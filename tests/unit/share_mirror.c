/* SPDX-License-Identifier: MIT */
/*
 * A huge page of a file, and a mirror that is lost in the very moment in which it
 * is copied from: the next sources are asked when the bad page has been punched
 * out already. What could be salvaged before is a hole then, and no source.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../live/kinds_help.h"
#include "../live/live.h"
#include "huge.h"
#include "ladder.h"
#include "unit.h"

static unsigned char *at, *copy;
static int file, asked;

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)arg;
	asked++;
	memcpy(dst, kinds_bytes(0) + offset, len);
	return 0;
}

static unsigned char *map(int flags, int fd)
{
	unsigned char *p = mmap(NULL, KINDS_HUGE, PROT_READ | PROT_WRITE,
				flags, fd, 0);

	CHECKF(p != MAP_FAILED, "%s", strerror(errno));
	return p;
}

static void begin(void)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source list[3], from;
	bez_region_t region;

	huge_need(3);
	unit_need_poison();
	unit_page();
	file = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	CHECK(file >= 0);
	CHECK_EQ(ftruncate(file, (off_t)KINDS_HUGE), 0);
	at = map(MAP_SHARED, file);
	memset(at, 0x5a, KINDS_HUGE);
	copy = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memset(copy, 0x33, KINDS_HUGE);
	list[0] = bez_source_mirror(copy);
	list[1] = bez_source_salvage();
	list[2] = bez_source_callback(fill, NULL);
	from = bez_source_first_of(list, 3);
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	shared.flags = BEZ_SHARED_EXCLUSIVE;
	shared.fd = file;
	policy.shared = &shared;
	policy.source = &from;
	CHECK_EQ(bez_region_add(at, KINDS_HUGE, &policy, &region), 0);
	unit_patience(60);
}

static int punched;

/* Into the hole comes a mirror that has just been lost. */
static void lose_mirror(long nr, const long arg[6])
{
	if (nr != SYS_ioctl || arg[1] != (long)UFFDIO_COPY || punched++)
		return;
	live_poison(copy + 100 * unit_page());
}

static void from_the_hole(void)
{
	struct double_rule lost = { .nr = SYS_madvise, .nth = 1,
				    .what = MADV_POPULATE_READ,
				    .err = EHWPOISON };
	struct bz_fault fault = { .cause = BEZ_CAUSE_ADRERR, .si_code = 2 };
	struct bz_result result;
	struct bz_walk *w;

	begin();
	fault.addr = (uint64_t)at + 9;
	fault.taken_ns = bz_now_ns();
	/* poison, also when its entry was dropped: a rule for each look. The
	 * third is at the mirror, which is good. */
	double_rule(&lost);
	double_rule(&lost);
	double_before(lose_mirror);
	w = unit_enter(atomic_load(&bz_core.mm));
	double_watch();
	bz_ladder(atomic_load(&bz_core.mm), w, &fault, &result);
	double_rest();
	bz_walk_leave(atomic_load(&bz_core.mm), w, NULL);
	CHECK(punched);
	CHECK_EQ(double_count(SYS_fallocate, 0), 1);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(result.source, BEZ_SOURCE_CALLBACK);
	CHECK_EQ(asked, 1);
	CHECK_EQ(memcmp(at, kinds_bytes(0), KINDS_HUGE), 0);
}

static const struct tap_case cases[] = {
	{ .name = "what was punched out is no source", .run = from_the_hole },
};
TAP_MAIN(cases)
