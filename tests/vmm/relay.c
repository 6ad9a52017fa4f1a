/* SPDX-License-Identifier: MIT */
/*
 * A guest meets a page that is lost, by each way of touching it; what it finds in its
 * registers, where it stands, and that it goes on.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define PAGE	5
#define OFFSET	16
#define AT	(machine_gpa(PAGE) + OFFSET)
#define INTEL_LOAD	0xbd80000000000134
#define INTEL_FETCH	0xbd80000000000150
#define RIPV	1
#define EIPV	2
#define MCIP	4

static struct machine m;

struct way {
	enum toy_op op;
	int store;			/* emulated poison: it is retired already */
	uint64_t rsi, rcx;
};

/* On a kernel that has the poison itself nothing of the instruction happens. */
static int retired(const struct way *way)
{
	return way->store && !live_is_real();
}

static void check_mc(uint64_t status, uint64_t mcg, uint64_t count)
{
	const struct toy_mc *mc = toy_mc(&m.toy, 0);

	CHECK_EQ(mc->count, count);
	CHECK_EQ(mc->valid, 1);
	CHECK_EQ(mc->bank, 9);
	CHECK_EQ(mc->status, status);
	CHECK_EQ(mc->addr, machine_gpa(PAGE));
	CHECK_EQ(mc->misc, 0x8c);
	CHECK_EQ(mc->mcg_status, mcg);
}

/* The guest has loaded it from page 1. */
static void check_xmm0(void)
{
	struct kvm_fpu fpu;
	size_t i;

	CHECK_EQ(ioctl(m.toy.vcpu[0], KVM_GET_FPU, &fpu), 0);
	for (i = 0; i < 16; i++)
		CHECK_EQ(fpu.xmm[0][i], machine_byte(1));
}

static void touched(void)
{
	const struct way *way = tap_data();
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST };
	struct kvm_regs before, after;
	const struct bez_vm_event *e;

	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	toy_begin(&m.toy, 0, TOY_STORE16, machine_gpa(30), machine_gpa(1), 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	toy_begin(&m.toy, 0, way->op, AT, way->rsi, way->rcx);
	toy_regs(&m.toy, 0, &before);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	check_xmm0();
	check_mc(way->op == TOY_CALL ? INTEL_FETCH : INTEL_LOAD,
		 retired(way) ? EIPV | MCIP : RIPV | EIPV | MCIP, 1);
	if (!retired(way) && way->op != TOY_CALL)
		CHECK_EQ(toy_mc(&m.toy, 0)->rip, toy_rip(way->op));
	toy_regs(&m.toy, 0, &after);
	if (way->op == TOY_COPY) {		/* with rsi and rdi exchanged */
		CHECK_EQ(after.rsi, before.rdi);
		CHECK_EQ(after.rdi, before.rsi);
		/* the handler has put it away: rdx, rcx, rax */
		memcpy(&after.rcx, m.toy.low + after.rsp + 8, 8);
		CHECK_EQ(after.rcx, before.rcx);
	}
	e = machine_last(&m);
	CHECK_EQ(e->outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(e->error, BEZ_VM_ERROR_SRAR);
	CHECK_EQ(e->gpa, machine_gpa(PAGE));
	CHECK(e->hva == m.mem + PAGE * 4096);
	CHECK_EQ(e->width, 4096);
	CHECK(e->vcpu == m.vcpu[0]);
	CHECK_EQ(e->bank, 9);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 1);
	CHECK(bez_vm_lost_in(m.vm, AT, 1));
	CHECK(!bez_vm_lost_in(m.vm, machine_gpa(PAGE + 1), 4096));
	/* of a retired store, the next: each time the same answer */
	if (retired(way)) {
		CHECK_EQ(machine_run(&m, 0), TOY_DONE);
		toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	}
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	check_mc(way->op == TOY_CALL ? INTEL_FETCH : INTEL_LOAD,
		 RIPV | EIPV | MCIP, 2);
	machine_unmake(&m);
}

/* What a copy had written before is there, and not one byte of anything else. */
static void copied(void)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST };
	unsigned char *to = m.mem + 20 * 4096;
	size_t i;

	machine_make(&m, &o);
	to = m.mem + 20 * 4096;
	machine_lose(&m, PAGE);
	/* 24 bytes before it, and some of it */
	toy_begin(&m.toy, 0, TOY_COPY, machine_gpa(PAGE) - 24, machine_gpa(20),
		  64);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	check_mc(INTEL_LOAD, RIPV | EIPV | MCIP, 1);
	for (i = 0; i < 4096; i++)
		CHECK_EQ(to[i], i < 24 ? machine_byte(PAGE - 1) :
					 machine_byte(20));
	machine_unmake(&m);
}

static void good_guest(void)
{
	const struct machine_options o = { .flags = 0 };
	struct kvm_regs regs;

	machine_make(&m, &o);
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(PAGE + 1), 0, 0);
	machine_lose(&m, PAGE);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	toy_regs(&m.toy, 0, &regs);
	CHECK_EQ(regs.rax, machine_byte(PAGE + 1));
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	CHECK_EQ(m.events, 0);
	machine_unmake(&m);
}

/* The monitor's own reading is short, and the guest hears nothing of it. */
static void monitor_reads(void)
{
	const struct machine_options o = { .flags = 0 };
	unsigned char got[3 * 4096];

	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	CHECK_EQ(bez_vm_read(m.vm, got, machine_gpa(PAGE - 1) + 96,
			     sizeof(got)), sizeof(got) - 4000);
	CHECK_EQ(bez_vm_write(m.vm, machine_gpa(PAGE + 1), got, 4096), 0);
	CHECK_EQ(bez_vm_write(m.vm, AT, got, 100), 100);
	CHECK_EQ(bez_vm_read(m.vm, got, machine_gpa(MACHINE_PAGES) - 10, 20),
		 10);
	CHECK_EQ(bez_vm_read(m.vm, got, 1ul << 40, 20), 20);
	CHECK(bez_vm_lost_in(m.vm, machine_gpa(PAGE), 4096));
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(PAGE + 2), 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	CHECK_EQ(m.events, 0);
	machine_unmake(&m);
}

static struct {
	uint64_t gpa, len;
	int calls;
} written;

static void wrote(struct bez_vm *vm, uint64_t gpa, uint64_t len, void *arg)
{
	(void)arg;
	CHECK(vm == m.vm);
	written.gpa = gpa;
	written.len = len;
	written.calls++;
}

/* What KVM's dirty log does not have: as much as was copied, and once. */
static void monitor_wrote(void)
{
	const struct machine_options o = { .wrote = wrote };
	unsigned char got[3 * 4096] = { 0 };

	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	CHECK_EQ(bez_vm_write(m.vm, machine_gpa(8) + 100, got, 5000), 0);
	CHECK_EQ(written.calls, 1);
	CHECK_EQ(written.gpa, machine_gpa(8) + 100);
	CHECK_EQ(written.len, 5000);
	/* up to what is lost */
	CHECK_EQ(bez_vm_write(m.vm, machine_gpa(PAGE) - 30, got, 4096), 4066);
	CHECK_EQ(written.calls, 2);
	CHECK_EQ(written.gpa, machine_gpa(PAGE) - 30);
	CHECK_EQ(written.len, 30);
	/* and of nothing, nothing */
	CHECK_EQ(bez_vm_write(m.vm, AT, got, 100), 100);
	CHECK_EQ(bez_vm_read(m.vm, got, machine_gpa(8), 100), 0);
	CHECK_EQ(written.calls, 2);
	machine_unmake(&m);
}

static const struct way ways[] = {
	{ .op = TOY_LOAD },
	{ .op = TOY_STORE, .store = 1 },
	{ .op = TOY_ADD },
	{ .op = TOY_WIDE },
	{ .op = TOY_COPY, .rsi = 0x200000 + 20 * 4096, .rcx = 64 },
	{ .op = TOY_CALL },
};

static const struct tap_case cases[] = {
	{ .name = "load", .run = touched, .data = &ways[0] },
	{ .name = "store", .run = touched, .data = &ways[1] },
	{ .name = "add", .run = touched, .data = &ways[2] },
	{ .name = "16 bytes", .run = touched, .data = &ways[3] },
	{ .name = "copy", .run = touched, .data = &ways[4] },
	{ .name = "call", .run = touched, .data = &ways[5] },
	{ .name = "copied before", .run = copied },
	{ .name = "good memory", .run = good_guest },
	{ .name = "the monitor reads", .run = monitor_reads },
	{ .name = "the monitor has written", .run = monitor_wrote },
};
TAP_MAIN(cases)
