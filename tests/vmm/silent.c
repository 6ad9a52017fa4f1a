/* SPDX-License-Identifier: MIT */
/*
 * What is lost lies under a mapping that nobody can touch: KVM_RUN says EFAULT, and not
 * where. The guest is told all the same, of the page that its instruction was about to
 * touch.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PAGE	5
#define LOST	(MACHINE_GPA + PAGE * 4096)
#define GOOD	(LOST + 4 * 4096)
#define LOAD	0xbd80000000000134
#define FETCH	0xbd80000000000150

static struct machine m;
static const struct machine_options covered = {
	.flags = BEZ_VM_NO_BROADCAST, .covers = 1,
};

static const struct way {
	enum toy_op op;
	uint64_t rdi, rsi, rcx;
} ways[] = {
	{ .op = TOY_LOAD, .rdi = LOST + 100 },
	{ .op = TOY_STORE, .rdi = LOST + 4095 },
	{ .op = TOY_ADD, .rdi = LOST },
	{ .op = TOY_WIDE, .rdi = LOST + 64 },
	{ .op = TOY_WIDE, .rdi = LOST - 1 },
	{ .op = TOY_STORE16, .rdi = LOST - 15, .rsi = GOOD },
	{ .op = TOY_COPY, .rdi = LOST + 7, .rsi = GOOD, .rcx = 64 },
	{ .op = TOY_COPY, .rdi = GOOD, .rsi = LOST + 7, .rcx = 64 },
	{ .op = TOY_CALL, .rdi = LOST + 32 },
};

/* Some KVM takes that for a device, and a store was done before it says so. */
static int is_done(const struct way *way)
{
	return !live_is_real() && (way->op == TOY_STORE ||
	       way->op == TOY_STORE16 ||
	       (way->op == TOY_COPY && way->rdi == GOOD));
}

static void make(void)
{
	machine_make(&m, &covered);
	CHECK_EQ(bez_lost_add(m.mem + PAGE * 4096, 4096), 0);
}

static void touched(void)
{
	const struct way *way = tap_data();
	const struct toy_mc *mc;
	struct kvm_regs before, after;
	uint64_t i;

	make();
	mc = toy_mc(&m.toy, 0);
	toy_begin(&m.toy, 0, way->op, way->rdi, way->rsi, way->rcx);
	toy_regs(&m.toy, 0, &before);
	for (i = 1; i <= (is_done(way) ? 1 : 2); i++) {
		CHECK_EQ(machine_run(&m, 0), TOY_MC);
		CHECK_EQ(mc->count, i);
		CHECK_EQ(mc->valid, 1);
		CHECK_EQ(mc->status, way->op == TOY_CALL ? FETCH : LOAD);
		CHECK_EQ(mc->addr, LOST);
		CHECK_EQ(mc->mcg_status, is_done(way) ? 6 : 7);
		if (way->op != TOY_CALL && !is_done(way))
			CHECK_EQ(mc->rip, toy_rip(way->op));
	}
	toy_regs(&m.toy, 0, &after);
	if (way->op == TOY_COPY && !is_done(way)) {		/* they are exchanged before */
		CHECK_EQ(after.rsi, before.rdi);
		CHECK_EQ(after.rdi, before.rsi);
	}
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(machine_last(&m)->gpa, LOST);
	CHECK(machine_last(&m)->hva == m.mem + PAGE * 4096);
	machine_unmake(&m);
}

/* What it had copied before is there, and nothing else. */
static void into_it(void)
{
	const unsigned char *to;
	size_t i;

	make();
	to = m.mem + (PAGE - 1) * 4096;
	toy_begin(&m.toy, 0, TOY_COPY, GOOD, LOST - 24, 64);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, LOST);
	for (i = 0; i < 4096; i++)
		CHECK_EQ(to[i], i < 4096 - 24 ? machine_byte(PAGE - 1) :
						machine_byte(PAGE + 4));
	machine_unmake(&m);
}

/* It stands at that instruction, and KVM says so: whatever it says here. */
static int efault(enum toy_op op, uint64_t rdi)
{
	struct kvm_regs regs;

	toy_begin(&m.toy, 0, op, rdi, 0, 0);
	toy_regs(&m.toy, 0, &regs);
	regs.rip = toy_rip(op);
	CHECK_EQ(ioctl(m.toy.vcpu[0], KVM_SET_REGS, &regs), 0);
	return bez_vcpu_deliver(m.vcpu[0], -EFAULT);
}

static void said(void)
{
	make();
	CHECK_EQ(efault(TOY_WIDE, LOST - 4), -EINTR);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 1);
	CHECK_EQ(machine_last(&m)->gpa, LOST);
	CHECK_EQ(machine_last(&m)->mci_status, LOAD);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	machine_unmake(&m);
}

/* Made good by another thread since: KVM_RUN once more, and no more than that. */
static void good_since(void)
{
	int i;

	make();
	CHECK_EQ(bez_lost_clear(m.mem + PAGE * 4096, 4096), 0);
	CHECK_EQ(efault(TOY_LOAD, LOST), -EINTR);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	/* of what is at once the same the monitor is told */
	for (i = 0; i < 1000 && efault(TOY_LOAD, LOST) == -EINTR; i++)
		continue;
	CHECK(i < 1000);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	CHECK_EQ(m.events, 0);
	machine_unmake(&m);
}

/* No page of the guest's that is lost is in it: it is the monitor's matter. */
static void not_lost(void)
{
	int r;

	make();
	CHECK_EQ(mprotect(m.mem + (PAGE + 1) * 4096, 4096, PROT_NONE), 0);
	toy_begin(&m.toy, 0, TOY_LOAD, LOST + 4096, 0, 0);
	r = machine_run(&m, 0);
	CHECK(r == -EFAULT || m.toy.run[0]->exit_reason == KVM_EXIT_MMIO);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	CHECK_EQ(m.events, 0);
	machine_unmake(&m);
}

/* The monitor has closed the page of the instruction itself: it cannot be read, and to
 * try would be the monitor's end. */
static void code_is_closed(void)
{
	unsigned char *code;
	int i;

	make();
	code = m.toy.low + (toy_rip(TOY_LOAD) & -4096ul);
	CHECK_EQ(mprotect(code, 4096, PROT_NONE), 0);
	for (i = 0; i < 1000 && efault(TOY_LOAD, LOST) == -EINTR; i++)
		continue;
	CHECK(i < 1000);
	CHECK_EQ(m.events, 0);
	CHECK_EQ(mprotect(code, 4096, PROT_READ | PROT_WRITE), 0);
	CHECK_EQ(efault(TOY_LOAD, LOST), -EINTR);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 1);
	machine_unmake(&m);
}

static const struct tap_case cases[] = {
	{ .name = "load", .run = touched, .data = &ways[0] },
	{ .name = "store", .run = touched, .data = &ways[1] },
	{ .name = "add", .run = touched, .data = &ways[2] },
	{ .name = "16 bytes", .run = touched, .data = &ways[3] },
	{ .name = "16 bytes, the last 15", .run = touched, .data = &ways[4] },
	{ .name = "16 bytes stored, the last", .run = touched,
	  .data = &ways[5] },
	{ .name = "copied from", .run = touched, .data = &ways[6] },
	{ .name = "copied to", .run = touched, .data = &ways[7] },
	{ .name = "call", .run = touched, .data = &ways[8] },
	{ .name = "copied up to it", .run = into_it },
	{ .name = "not lost", .run = not_lost },
	{ .name = "said", .run = said },
	{ .name = "its code is closed", .run = code_is_closed },
	{ .name = "made good since", .run = good_since },
};
TAP_MAIN(cases)
