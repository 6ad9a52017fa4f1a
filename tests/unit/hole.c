/* SPDX-License-Identifier: MIT */
/*
 * Fourth room: a page that is mapped again where nothing was, with each of the
 * system calls failing once in each way. Whatever happens, the page has its
 * bytes or nobody can read it; nothing is left over.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../live/live.h"
#include "ladder.h"
#include "unit.h"

#define PAGES	5
#define HOLE	2

static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EINTR, EPERM, EBADF,
			      EEXIST, ENOSYS };

static unsigned char *at;
static struct bz_result result;
static uint32_t start_flags;
static int r;

static unsigned char *hole(void)
{
	return at + HOLE * unit_page();
}

static void begin(int alone)
{
	struct bez_source from = bez_source_mirror(live_pages(PAGES));

#if !defined(__x86_64__)
	tap_skip("qemu-user, where this runs, has mappings of its own");
#endif
	at = live_pages(PAGES);
	/* an attribute to keep: one more call */
	CHECK_EQ(madvise(at, PAGES * unit_page(), MADV_DONTDUMP), 0);
	live_start(BEZ_START_NO_WORKER | BEZ_START_SEGV_DOOR | start_flags);
	live_region(at, PAGES * unit_page(), &from, "hole");
	if (alone)
		CHECK_EQ(munmap(at, PAGES * unit_page()), 0);
	unit_patience(60);
}

static void climb(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_walk *w = unit_enter(mm);
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = (uint64_t)hole(),
		.cause = BEZ_CAUSE_SEGV,
		.si_code = SEGV_MAPERR,
	};

	memset(mm->repeats, 0, sizeof(mm->repeats));
	/* what is said to have failed has not left a hole on the bench */
	memset(bz_core.bench_gone, 0, sizeof(bz_core.bench_gone));
	double_watch();
	r = bz_ladder(mm, w, &fault, &result);
	double_rest();
	CHECK(!w->mark && !w->placing && !w->claim[0]);
	bz_walk_leave(mm, w, NULL);
	CHECK(!bz_walk_any(mm));
}

static const struct double_call *liar(void)
{
	uint32_t i;

	for (i = 0; i < double_traced(); i++)
		if (double_trace(i)->lied)
			return double_trace(i);
	CHECKF(0, "no call was lied about");
	return NULL;
}

static void judge(uint32_t n, int err, int alone)
{
	enum unit_state state = unit_state(at, HOLE);
	const char *what = double_name(liar()->nr);

	CHECKF(state != UNIT_WRONG, "call %u (%s) says %s: it reads as "
	       "something else", n, what, strerror(err));
	/* a place that is taken is so by somebody else */
	if (result.outcome == BEZ_OUTCOME_ALREADY_GOOD)
		CHECKF(err == EEXIST && liar()->nr == SYS_mmap,
		       "call %u (%s) says %s: already good", n, what,
		       strerror(err));
	else
		CHECKF((result.outcome == BEZ_OUTCOME_REPLACED) ==
		       (state == UNIT_GOOD), "call %u (%s) says %s: %s", n,
		       what, strerror(err), bez_outcome_name(result.outcome));
	if (result.outcome == BEZ_OUTCOME_DEFAULT)
		CHECKF(result.why >= BEZ_OUTCOME_REFUSED_KIND &&
		       result.why <= BEZ_OUTCOME_REFUSED_SYSTEM,
		       "call %u (%s) says %s: %s", n, what, strerror(err),
		       bez_outcome_name(result.why));
	CHECK(alone || unit_state(at, HOLE - 1) == UNIT_GOOD);
}

static void every_call(void)
{
	int alone = *(const int *)tap_data();
	uint32_t n, calls, fds, maps, replaced = 0, refused = 0;
	size_t e;

	begin(alone);
	CHECK_EQ(munmap(hole(), unit_page()), 0);
	climb();
	CHECK_EQ(r, 0);
	CHECK_EQ(result.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(unit_state(at, HOLE), UNIT_GOOD);
	CHECK_EQ(unit_flag(hole(), " dd"), !alone);
	calls = double_calls();
	CHECK_EQ(munmap(hole(), unit_page()), 0);
	fds = unit_fds();
	maps = unit_maps();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls; n++) {
			double_reset();
			double_fail(n, errors[e]);
			climb();
			CHECK_EQ(double_lies(), 1);
			judge(n, errors[e], alone);
			replaced += result.outcome == BEZ_OUTCOME_REPLACED;
			refused += result.outcome == BEZ_OUTCOME_DEFAULT;
			double_reset();
			CHECK_EQ(munmap(hole(), unit_page()), 0);
			CHECKF(unit_fds() <= fds, "call %u says %s: a "
			       "descriptor was left open", n,
			       strerror(errors[e]));
			CHECKF(unit_maps() <= maps + 2, "call %u says %s: %u "
			       "mappings, were %u", n, strerror(errors[e]),
			       unit_maps(), maps);
		}
	tap_diag("%u calls; replaced %u times, refused %u times", calls,
		 replaced, refused);
	CHECK(replaced && refused);
}

/* Another thread is quicker, at each of the calls: what it maps stays. */
static uint32_t before_call, calls_seen;

static void maps_there(long nr, const long arg[6])
{
	(void)nr;
	(void)arg;
	if (++calls_seen == before_call)
		CHECK(mmap(hole(), unit_page(), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			   -1, 0) == hole() || errno == EEXIST);
}

static void never_over_another(void)
{
	uint32_t good = 0, ours = 0;
	unsigned char byte;

	begin(0);
	for (before_call = 1; before_call < 100; before_call++) {
		CHECK_EQ(munmap(hole(), unit_page()), 0);
		double_reset();
		calls_seen = 0;
		double_before(maps_there);
		climb();
		double_reset();
		CHECK_EQ(r, 0);
		byte = live_read(hole() + 5);
		if (result.outcome == BEZ_OUTCOME_ALREADY_GOOD) {
			good++;
			CHECKF(!byte, "before call %u", before_call);
		} else {
			CHECK_EQ(result.outcome, BEZ_OUTCOME_REPLACED);
			CHECK_EQ(byte, live_byte(HOLE * unit_page() + 5, 0));
			ours++;
		}
		if (calls_seen < before_call)
			break;
	}
	tap_diag("%u times its mapping, %u times ours", good, ours);
	CHECK(good > 3 && ours);
}

/* What was closed there when it was touched is gone by the time it is looked at:
 * it is a hole, and comes in by the door. */
static uint32_t opened;

static void opens(long nr, const long arg[6])
{
	(void)nr;
	(void)arg;
	if (!opened++)
		CHECK_EQ(munmap(hole(), unit_page()), 0);
}

static void closed_for_a_moment(void)
{
	unsigned char byte;

	begin(0);
	CHECK(mmap(hole(), unit_page(), PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == hole());
	double_before(opens);
	double_watch();
	byte = live_read(hole() + 5);
	double_rest();
	CHECK(opened);
	CHECK_EQ(byte, live_byte(HOLE * unit_page() + 5, 0));
	CHECK_EQ(unit_state(at, HOLE), UNIT_GOOD);
}

/* SIGSEGV of what is mapped: lost, where the kernel itself could not read it; or
 * closed by the program, which stays. */
static void mapped(void)
{
	static const struct {
		uint32_t kernel;
		long no_proc;
	} kernels[] = { { 0, 0 }, { DOUBLE_5_10, 0 }, { DOUBLE_5_10, 1 } };
	size_t i;

	unit_need_poison();
	start_flags = BEZ_START_NO_UFFD;
	begin(0);
	for (i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		struct double_rule rule = { .nr = SYS_openat, .err = ENOENT };

		double_reset();
		double_kernel(kernels[i].kernel);
		if (kernels[i].no_proc)
			double_rule(&rule);
		*hole() ^= 1;
		CHECK_EQ(mprotect(hole(), unit_page(), PROT_NONE), 0);
		climb();
		CHECK_EQ(result.outcome, BEZ_OUTCOME_ALREADY_GOOD);
		CHECK_EQ(unit_state(at, HOLE), UNIT_CLOSED);
		CHECK_EQ(mprotect(hole(), unit_page(), PROT_READ | PROT_WRITE),
			 0);
		CHECK_EQ(unit_state(at, HOLE), UNIT_WRONG);
		*hole() ^= 1;
		if (kernels[i].no_proc)
			continue;
		live_poison(hole());
		climb();
		CHECK_EQ(result.outcome, BEZ_OUTCOME_REPLACED);
		CHECK_EQ(unit_state(at, HOLE), UNIT_GOOD);
	}
}

static const int with_neighbours = 0, alone = 1;

static const struct tap_case cases[] = {
	{ .name = "each call fails", .run = every_call,
	  .data = &with_neighbours },
	{ .name = "each call fails: nothing else is mapped", .run = every_call,
	  .data = &alone },
	{ .name = "never over another's mapping", .run = never_over_another },
	{ .name = "closed for a moment", .run = closed_for_a_moment },
	{ .name = "mapped", .run = mapped },
};
TAP_MAIN(cases)
