/* SPDX-License-Identifier: MIT */
/*
 * One repair of each kind of private memory, again and again, with each of its
 * system calls failing once in each way. Whatever happens: it has its bytes, or
 * all of it is closed; never the file's, never zeros, never a hole; and nothing
 * is left over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../live/kinds_help.h"
#include "../live/live.h"
#include "huge.h"
#include "ladder.h"
#include "unit.h"

static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EINTR, EBADF, EEXIST,
			      ENOSYS };

static const struct variant {
	const struct kinds_kind *kind;
	uint32_t start;			/* BEZ_START_* */
	uint32_t kernel;		/* DOUBLE_* */
	uint32_t policy;		/* BEZ_POLICY_* */
	int locked, cut, empty_pool;
	uint16_t outcome;		/* if nothing fails */
} *variant(void)
{
	return tap_data();
}

static struct kinds_memory m;
static bez_region_t region;
static struct bz_result result;

static void make(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	static struct bez_source from;

	kinds_make(variant()->kind, &m);
	kinds_bytes(0);
	if (variant()->locked)
		CHECK_EQ(syscall(SYS_mlock, m.at, m.len), 0);
	from = bez_source_mirror(kinds_bytes(0));
	policy.source = &from;
	policy.flags = variant()->policy;
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), 0);
	if (variant()->cut)
		CHECK_EQ(ftruncate(m.fd, (off_t)m.width), 0);
	else
		kinds_lose(&m, m.width);
	if (variant()->empty_pool)
		huge_drain();
}

static void unmake(void)
{
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(munmap(m.at, m.len), 0);
	kinds_unlink(&m);
	if (m.fd >= 0)
		close(m.fd);
	if (variant()->empty_pool)
		huge_refill();
}

static void climb(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_walk *w = unit_enter(mm);
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = (uint64_t)m.at + m.width + 9,
		.cause = BEZ_CAUSE_ADRERR,
		.si_code = 2,
	};

	memset(mm->repeats, 0, sizeof(mm->repeats));
	double_watch();
	bz_ladder(mm, w, &fault, &result);
	double_rest();
	CHECK(!w->mark && !w->placing && !w->claim[0]);
	bz_walk_leave(mm, w, NULL);
	CHECK(!bz_walk_any(mm));
}

/* How it can be read, without touching it: page by page. */
static enum unit_state state_of(size_t from, size_t to)
{
	static unsigned char buf[65536];
	size_t page = unit_page(), at, good = 0, closed = 0;

	for (at = from; at < to; at += page) {
		struct iovec here = { buf, page }, there = { m.at + at, page };
		ssize_t r = process_vm_readv(getpid(), &here, 1, &there, 1, 0);

		if (r < 0)
			closed++;
		else if (r == (ssize_t)page &&
			 !memcmp(buf, kinds_bytes(0) + at, page))
			good++;
		else
			return UNIT_WRONG;
	}
	/* a part of it is neither */
	return !closed ? UNIT_GOOD : !good ? UNIT_CLOSED : UNIT_WRONG;
}

static int said_no_access(void)
{
	uint32_t i;

	for (i = 0; i < double_traced(); i++)
		if (double_trace(i)->lied && double_trace(i)->nr == SYS_madvise)
			return 1;
	return 0;
}

static long liar(void)
{
	uint32_t i;

	for (i = 0; i < double_traced(); i++)
		if (double_trace(i)->lied)
			return double_trace(i)->nr;
	return -1;
}

static void judge(uint32_t n, int err)
{
	enum unit_state state = state_of(m.width, 2 * m.width);
	int saved = result.outcome == BEZ_OUTCOME_REPLACED ||
		    result.outcome == BEZ_OUTCOME_ALREADY_GOOD;
	char when[96];

	snprintf(when, sizeof(when), "call %u (%s) says %s", n,
		 double_name(liar()), err ? strerror(err) : "nothing");
	CHECKF(state != UNIT_WRONG, "%s: it reads as something else (\"%s\", "
	       "\"%s\")", when, bez_outcome_name(result.outcome),
	       bez_outcome_name(result.why));
	/* "no access", said of what is lost: the access is what answers then */
	if ((result.outcome == BEZ_OUTCOME_ALREADY_GOOD || !result.outcome) &&
	    said_no_access() && state == UNIT_CLOSED)
		return;
	CHECKF(saved == (state == UNIT_GOOD), "%s: it is %s, and \"%s\", \"%s\"",
	       when, state == UNIT_GOOD ? "good" : "closed",
	       bez_outcome_name(result.outcome), bez_outcome_name(result.why));
	CHECKF(state_of(0, m.width) == UNIT_GOOD, "%s: before it", when);
	if (!variant()->cut)
		CHECKF(state_of(2 * m.width, m.len) == UNIT_GOOD,
		       "%s: behind it", when);
	CHECKF(unit_flag(m.at + m.width, " um") <= 0 &&
	       unit_flag(m.at + m.width, " ui") <= 0, "%s: still watched",
	       when);
}

static void once(uint32_t n, int err)
{
	make();
	double_reset();
	double_kernel(variant()->kernel);
	if (n)
		double_fail(n, err);
	climb();
}

static void every_call(void)
{
	uint32_t n, calls, fds, maps, replaced = 0, refused = 0;
	size_t e;

	if (variant()->kind->huge)
		huge_need(8);
	unit_need_poison();
	if (!variant()->cut)
		kinds_can_be_lost(variant()->kind);
	live_start(variant()->start | BEZ_START_NO_WORKER |
		   BEZ_START_NO_EARLY_KILL);
	unit_patience(280);
	once(0, 0);
	judge(0, 0);
	unmake();
	fds = unit_fds();
	once(0, 0);
	CHECK_EQ(result.outcome == BEZ_OUTCOME_DEFAULT ? result.why :
		 result.outcome, variant()->outcome);
	calls = double_calls();
	judge(0, 0);
	unmake();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls; n++) {
			make();
			maps = unit_maps();
			double_reset();
			double_kernel(variant()->kernel);
			double_fail(n, errors[e]);
			climb();
			judge(n, errors[e]);
			replaced += result.outcome == BEZ_OUTCOME_REPLACED;
			refused += result.outcome == BEZ_OUTCOME_DEFAULT;
			CHECKF(unit_maps() <= maps + 2, "call %u (%s) says %s: "
			       "%u mappings, were %u", n, double_name(liar()),
			       strerror(errors[e]), unit_maps(), maps);
			/* a descriptor that is said to be closed is taken for
			 * closed, and rightly so */
			fds += liar() == SYS_fcntl && errors[e] == EBADF;
			double_reset();
			unmake();
			CHECKF(unit_fds() <= fds, "call %u says %s: a "
			       "descriptor was left open", n,
			       strerror(errors[e]));
		}
	tap_diag("%u calls; replaced %u times, refused %u times", calls,
		 replaced, refused);
	CHECK(refused);
}

#define CASE(what, kind, ...)						\
	{ .name = what, .run = every_call, .timeout_s = 300,		\
	  .data = &(const struct variant){ &kinds_##kind, __VA_ARGS__ } }
#define MREMAP	.start = BEZ_START_NO_UFFD
#define GOOD	.outcome = BEZ_OUTCOME_REPLACED

static const struct tap_case cases[] = {
	CASE("locked", anon, .locked = 1, GOOD),
	CASE("locked, mremap", anon, .locked = 1, MREMAP, GOOD),
	CASE("memfd, copied", memfd_cow, GOOD),
	CASE("memfd, copied and locked", memfd_cow, .locked = 1, GOOD),
	CASE("tmpfs, copied, mremap", tmpfs_cow, MREMAP, GOOD),
	CASE("cut", disk, .cut = 1, GOOD),
	CASE("cut, copied", disk_cow, .cut = 1, MREMAP, GOOD),
	CASE("hugetlb", huge, GOOD),
	CASE("hugetlb, mremap", huge, MREMAP, GOOD),
	CASE("hugetlb that cannot be moved", huge, MREMAP,
	     .kernel = DOUBLE_NO_HUGE_MOVE,
	     .outcome = BEZ_OUTCOME_REFUSED_HUGE),
	CASE("base pages can", huge, MREMAP, .kernel = DOUBLE_NO_HUGE_MOVE,
	     .policy = BEZ_POLICY_BASE_PAGES, GOOD),
	CASE("hugetlb memfd, copied", huge_memfd_cow, GOOD),
	CASE("no huge page", huge_unreserved, .empty_pool = 1,
	     .outcome = BEZ_OUTCOME_REFUSED_HUGE),
	CASE("no huge page, 6.1", huge_unreserved, .empty_pool = 1,
	     .kernel = DOUBLE_6_1, .outcome = BEZ_OUTCOME_REFUSED_HUGE),
	CASE("base pages", huge_unreserved, .empty_pool = 1,
	     .policy = BEZ_POLICY_BASE_PAGES, GOOD),
	CASE("base pages, 6.1", huge_unreserved, .empty_pool = 1,
	     .policy = BEZ_POLICY_BASE_PAGES, .kernel = DOUBLE_6_1, GOOD),
	CASE("base pages, mremap", huge_unreserved, .empty_pool = 1,
	     .policy = BEZ_POLICY_BASE_PAGES, MREMAP, GOOD),
};
TAP_MAIN(cases)
