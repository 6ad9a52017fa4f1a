/* SPDX-License-Identifier: MIT */
/*
 * The inventory: a slot is given up and used again at each instruction of who tells
 * of what was in it. What is in it then is told, once.
 */
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "../live/live.h"
#include "ladder.h"
#include "region/lost.h"
#include "region/region.h"
#include "region/table.h"
#include "unit.h"

#define PAGES	2
#define MOST	20000		/* instructions */

static unsigned char *at;
static bez_region_t region;
static struct bz_lost_at first;
static uint32_t told[PAGES];

static struct bz_lost_at enter(size_t n)
{
	struct bz_extent x = { (uint64_t)(at + n * unit_page()), unit_page() };
	struct bez_lost lost = { .addr = (void *)x.start, .width = x.width,
				 .region = region };
	struct bz_lost_at slot;

	if (bz_lost_take(x, &slot))
		return (struct bz_lost_at){ .slot = UINT32_MAX };
	bz_lost_enter(&slot, &lost, BZ_AS_IT_WAS);
	return slot;
}

static void on_lost(const struct bez_lost *lost, void *arg)
{
	(void)arg;
	told[(size_t)((unsigned char *)lost->addr - at) / unit_page()]++;
}

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && \
	!defined(__SANITIZE_THREAD__)

#define TRAP	0x100l		/* in the flags: after each instruction */

static uint32_t steps, swap_at, other_slot;

static void on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	if (++steps != swap_at)
		return;
	other_slot = bz_lost_remove(&first) ? enter(1).slot : UINT32_MAX;
	uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
}

/* Below a red zone. */
#define FLAGS(change)				\
	"leaq -128(%%rsp), %%rsp\n\t"		\
	"pushfq\n\t" change ", (%%rsp)\n\t"	\
	"popfq\n\t"				\
	"leaq 128(%%rsp), %%rsp"

static int tell_step_by_step(struct bz_mm *mm)
{
	int did;

	__asm__ volatile(FLAGS("orq $0x100") : : : "memory", "cc");
	did = bz_tell_losses(mm);
	__asm__ volatile(FLAGS("andq $~0x100") : : : "memory", "cc");
	return did;
}

static void each_instruction(void)
{
	struct sigaction action = { .sa_sigaction = on_step };
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bz_mm *mm;
	struct bz_region *r;

	at = live_pages(PAGES);
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, PAGES * unit_page(), &policy, &region), 0);
	mm = atomic_load(&bz_core.mm);
	r = bz_region_by_id(region);
	r->on_lost = on_lost;
	action.sa_flags = SA_SIGINFO;
	CHECK_EQ(sigaction(SIGTRAP, &action, NULL), 0);
	for (swap_at = 1; swap_at < MOST; swap_at++) {
		steps = 0;
		memset(told, 0, sizeof(told));
		first = enter(0);
		CHECK_EQ(first.slot, 0);
		tell_step_by_step(mm);
		if (steps < swap_at)
			break;
		while (bz_tell_losses(mm))
			continue;
		CHECK_EQ(other_slot, 0);
		CHECKF(told[0] <= 1 && told[1] == 1,
		       "at instruction %u: told %u and %u times", swap_at,
		       told[0], told[1]);
		bz_lost_forget(region);
	}
	CHECKF(swap_at > 100 && swap_at < MOST, "%u instructions", swap_at);
	tap_diag("%u instructions", swap_at);
	CHECK_EQ(told[0], 1);
}

#else

static void each_instruction(void)
{
	(void)enter;
	(void)on_lost;
	(void)first;
	tap_skip("steps through x86-64 code as it is, without a sanitizer");
}

#endif

static const struct tap_case cases[] = {
	{ .name = "a place that is used again", .run = each_instruction },
};

TAP_MAIN(cases)
