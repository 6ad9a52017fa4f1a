/* SPDX-License-Identifier: MIT */
/*
 * A guest that is not in long mode: firmware, a boot loader, a kernel of 32 bits. What KVM
 * has begun to emulate cannot be undone there, so the monitor is told that it cannot go
 * on, and no byte that nobody wrote reaches a register. All else is as in long mode.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define CODE	0x40000u	/* in the guest's low memory */
#define DATA	0x50000u
#define PAGES	0x60000u	/* its page directory */
#define RAX	0x77u

#define CR0_PE	1u
#define CR0_ET	(1u << 4)
#define CR0_PG	(1u << 31)
#define CR4_PSE	(1u << 4)
#define CR4_MCE	(1u << 6)

static struct machine m;

static const struct mode {
	uint32_t cr0, cr4;
	int bits;
} modes[] = {
	{ 0, 0, 16 },
	{ CR0_PE, 0, 32 },
	{ CR0_PE | CR0_PG, CR4_PSE, 32 },
};

/* Code at @at, data at DATA, both at the same linear address. */
static void enter(const struct mode *mode, uint64_t at)
{
	const int wide = mode->bits == 32;
	struct kvm_segment s = {
		.limit = wide ? 0xffffffff : 0xffff, .present = 1, .s = 1,
		.db = (uint8_t)wide, .g = (uint8_t)wide, .type = 3,
	};
	struct kvm_regs regs = { .rax = RAX, .rflags = 2 };
	struct kvm_sregs sregs;

	CHECK_EQ(ioctl(m.toy.vcpu[0], KVM_GET_SREGS, &sregs), 0);
	sregs.efer = 0;
	sregs.cr0 = mode->cr0 | CR0_ET;
	sregs.cr3 = PAGES;
	sregs.cr4 = mode->cr4 | CR4_MCE;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.cs = s;
	sregs.cs.type = 11;
	sregs.cs.selector = wide ? 8 : (uint16_t)(at >> 4);
	sregs.cs.base = wide ? 0 : at;
	sregs.ds.selector = wide ? 16 : DATA >> 4;
	sregs.ds.base = wide ? 0 : DATA;
	regs.rip = wide ? at : 0;
	regs.rbx = wide ? DATA : 0;
	CHECK_EQ(ioctl(m.toy.vcpu[0], KVM_SET_SREGS, &sregs), 0);
	CHECK_EQ(ioctl(m.toy.vcpu[0], KVM_SET_REGS, &regs), 0);
}

/* Once it runs: some that know 64-bit guests take the paging away. */
static void need(const struct mode *mode)
{
	struct kvm_sregs sregs;

	enter(mode, CODE);
	toy_run(&m.toy, 0);
	CHECK_EQ(ioctl(m.toy.vcpu[0], KVM_GET_SREGS, &sregs), 0);
	if ((sregs.cr0 ^ mode->cr0) & CR0_PG)
		tap_skip("this KVM runs no guest of 32 bits with paging");
	enter(mode, CODE);
}

static void make(const struct mode *mode, uint64_t at, int covers)
{
	/* mov (%bx), %al or mov (%ebx), %al; out %al, $TOY_DONE */
	const unsigned char code[] = {
		0x8a, mode->bits == 32 ? 0x03 : 0x07, 0xe6, TOY_DONE,
	};
	const uint32_t all = 0x83;	/* 4 MiB, there, may be written */
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST,
					   .covers = covers };

	machine_make(&m, &o);
	memcpy(m.toy.low + CODE, code, sizeof(code));
	memcpy(m.toy.low + PAGES, &all, sizeof(all));
	m.toy.low[DATA] = 0x5c;
	need(mode);
	enter(mode, at);
}

static int until_told(void)
{
	int r;

	do {
		r = bez_vcpu_run(m.vcpu[0]);
	} while (r == -EINTR && !m.events);
	return r;
}

static void loads(void)
{
	const struct mode *mode = tap_data();
	struct kvm_regs regs;
	int r;

	/* the same with memory that is there */
	make(mode, CODE, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	toy_regs(&m.toy, 0, &regs);
	CHECK_EQ(regs.rax, 0x5c);
	enter(mode, CODE);
	live_poison(m.toy.low + DATA);
	r = until_told();
	toy_regs(&m.toy, 0, &regs);
	CHECK_EQ(regs.rax, RAX);
	CHECK_EQ(m.events, 1);
	CHECK_EQ(machine_last(&m)->gpa, DATA);
	if (live_is_real()) {
		CHECK_EQ(r, -EINTR);
		CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 1);
		CHECK_EQ(toy_msr(&m.toy, 0, 0x17a), 7);
	} else {
		CHECK_EQ(r, -EHWPOISON);
		CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_GAVE_UP), 1);
		CHECK_EQ(machine_last(&m)->reason, -EOPNOTSUPP);
	}
	machine_unmake(&m);
}

/* Code that is lost has not begun: there is nothing to undo. */
static void fetches(void)
{
	make(tap_data(), DATA, 0);
	live_poison(m.toy.low + DATA);
	CHECK_EQ(until_told(), -EINTR);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 1);
	CHECK_EQ(machine_last(&m)->gpa, DATA);
	CHECK_EQ(machine_last(&m)->mci_status, 0xbd80000000000150);
	CHECK_EQ(toy_msr(&m.toy, 0, 0x17a), 7);
	machine_unmake(&m);
}

/* Closed by a mapping: KVM says EFAULT, and not where. */
static void covered(uint64_t at, uint64_t status)
{
	struct kvm_regs regs;

	make(tap_data(), at, 1);
	CHECK_EQ(bez_lost_add(m.toy.low + DATA, 4096), 0);
	CHECK_EQ(until_told(), -EINTR);
	toy_regs(&m.toy, 0, &regs);
	CHECK_EQ(regs.rax, RAX);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 1);
	CHECK_EQ(machine_last(&m)->gpa, DATA);
	CHECK_EQ(machine_last(&m)->mci_status, status);
	CHECK_EQ(toy_msr(&m.toy, 0, 0x17a), 7);
	machine_unmake(&m);
}

static void loads_covered(void)
{
	if (!live_is_real())
		tap_skip("this KVM takes it for a device");
	covered(CODE, 0xbd80000000000134);
}

static void fetches_covered(void)
{
	covered(DATA, 0xbd80000000000150);
}

static const struct tap_case cases[] = {
	{ .name = "load, real mode", .run = loads, .data = &modes[0] },
	{ .name = "load, no paging", .run = loads, .data = &modes[1] },
	{ .name = "load, 32-bit paging", .run = loads, .data = &modes[2] },
	{ .name = "fetch, real mode", .run = fetches, .data = &modes[0] },
	{ .name = "fetch, no paging", .run = fetches, .data = &modes[1] },
	{ .name = "fetch, 32-bit paging", .run = fetches, .data = &modes[2] },
	{ .name = "covered, real mode", .run = loads_covered,
	  .data = &modes[0] },
	{ .name = "covered, no paging", .run = loads_covered,
	  .data = &modes[1] },
	{ .name = "covered, 32-bit paging", .run = loads_covered,
	  .data = &modes[2] },
	{ .name = "fetch, covered, real mode", .run = fetches_covered,
	  .data = &modes[0] },
	{ .name = "fetch, covered, no paging", .run = fetches_covered,
	  .data = &modes[1] },
	{ .name = "fetch, covered, 32-bit paging", .run = fetches_covered,
	  .data = &modes[2] },
};
TAP_MAIN(cases)
