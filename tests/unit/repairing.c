/* SPDX-License-Identifier: MIT */
#include "repairing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

unsigned char *repair_at, *repair_copy;
struct repaired repaired;

void repair_begin(uint32_t flags)
{
	struct bez_source from;

	unit_need_poison();
	repair_at = live_pages(REPAIR_PAGES);
	repair_copy = live_pages(REPAIR_PAGES);
	from = bez_source_mirror(repair_copy);
	live_start(flags | BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	live_region(repair_at, REPAIR_PAGES * unit_page(), &from, "placed");
	unit_patience(120);
}

static unsigned char *lost_page(void)
{
	return repair_at + REPAIR_LOST * unit_page();
}

void repair_lose(void)
{
	live_poison(lost_page());
	CHECK_EQ(unit_state(repair_at, REPAIR_LOST), UNIT_CLOSED);
}

void repair_climb(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_walk *w = unit_enter(mm);
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = (uint64_t)lost_page(),
		.cause = BEZ_CAUSE_ADRERR,
		.si_code = BUS_ADRERR,
	};

	/* so many repairs of one page would look like a loop */
	memset(mm->repeats, 0, sizeof(mm->repeats));
	double_watch();
	repaired.r = bz_ladder(mm, w, &fault, &repaired.result);
	repaired.calls = double_calls();
	repaired.lies = double_lies();
	double_rest();
	CHECK(!w->mark && !w->placing && !w->claim[0]);
	bz_walk_leave(mm, w, NULL);
	CHECK(!bz_walk_any(mm));
}

long repair_liar(void)
{
	uint32_t i;

	for (i = 0; i < double_traced(); i++)
		if (double_trace(i)->lied)
			return double_trace(i)->nr;
	return -1;
}

static int lied_about(long nr)
{
	uint32_t i;

	for (i = 0; i < double_traced(); i++)
		if (double_trace(i)->lied && double_trace(i)->nr == nr)
			return 1;
	return 0;
}

static int is_refusal(uint16_t why)
{
	return why >= BEZ_OUTCOME_REFUSED_KIND &&
	       why <= BEZ_OUTCOME_REFUSED_SYSTEM;
}

/* Does the outcome name what went wrong? @nr: the call that failed. */
static int proper(uint16_t why, long nr, int err)
{
	switch (why) {
	case BEZ_OUTCOME_REFUSED_UNMAPPED:
		/* madvise(2) of a hole */
		return nr == SYS_madvise && err == ENOMEM;
	case BEZ_OUTCOME_REFUSED_MAPS:
		/* madvise(2) says EAGAIN for it */
		return err == ENOMEM || (err == EAGAIN && nr == SYS_madvise);
	case BEZ_OUTCOME_REFUSED_NOMEM:
		return err == ENOMEM;
	case BEZ_OUTCOME_REFUSED_KIND:
		/* it can be read neither way, and not because of poison */
		return nr == SYS_madvise || nr == SYS_process_vm_readv;
	case BEZ_OUTCOME_REFUSED_ATTRS:
		/* these pages have an advice: no huge pages */
		return nr == SYS_madvise && err != ENOMEM && err != EAGAIN;
	case BEZ_OUTCOME_REFUSED_SYSTEM:
		return nr != SYS_madvise;
	default:
		return 0;
	}
}

void repair_judge(const char *what, uint32_t n, int err)
{
	enum unit_state state = unit_state(repair_at, REPAIR_LOST);
	int saved = repaired.result.outcome == BEZ_OUTCOME_REPLACED ||
		    repaired.result.outcome == BEZ_OUTCOME_ALREADY_GOOD;
	uint16_t why = repaired.result.why;
	char when[128];
	size_t i;

	snprintf(when, sizeof(when), "%s: call %u (%s) says %s", what, n,
		 double_name(repair_liar()), strerror(err));
	CHECKF(state != UNIT_WRONG, "%s: it reads as something else", when);
	/* a kernel that says "no access" to the question whether it is lost:
	 * then the access is what answers, the next time */
	if (repaired.result.outcome == BEZ_OUTCOME_ALREADY_GOOD &&
	    lied_about(SYS_madvise) && state == UNIT_CLOSED)
		return;
	CHECKF(saved == (state == UNIT_GOOD), "%s: it is %s, and \"%s\"", when,
	       state == UNIT_GOOD ? "good" : "closed",
	       bez_outcome_name(repaired.result.outcome));
	CHECK_EQ(repaired.r, saved ? 0 : -EFAULT);
	if (!saved)
		CHECKF(repaired.lies > 1 ? is_refusal(why) :
		       proper(why, repair_liar(), err),
		       "%s: because of \"%s\"", when, bez_outcome_name(why));
	for (i = 0; i < REPAIR_PAGES; i++)
		CHECKF(i == REPAIR_LOST ||
		       unit_state(repair_at, i) == UNIT_GOOD,
		       "%s: page %zu went, too", when, i);
	/* -1: nothing is there any more, which is closed enough */
	CHECKF(unit_flag(lost_page(), " um") <= 0, "%s: still registered",
	       when);
}

void repair_mend(void)
{
	unsigned char *page = lost_page();

	double_reset();
	if (unit_state(repair_at, REPAIR_LOST) != UNIT_GOOD) {
		if (mprotect(page, unit_page(), PROT_READ | PROT_WRITE))
			CHECK(mmap(page, unit_page(), PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				   0) == page);
		if (unit_state(repair_at, REPAIR_LOST) == UNIT_CLOSED)
			repair_climb();
	}
	/* a page that were registered still would make us wait for ever */
	CHECK_EQ(madvise(page, unit_page(), MADV_DONTNEED), 0);
	CHECK_EQ(live_read(page), 0);
	memcpy(page, repair_copy + REPAIR_LOST * unit_page(), unit_page());
	CHECK_EQ(unit_state(repair_at, REPAIR_LOST), UNIT_GOOD);
}
