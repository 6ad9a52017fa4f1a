/* SPDX-License-Identifier: MIT */
/*
 * What is to be known of a vCPU before it is told: by one KVM_RUN that comes back at once,
 * or by three calls where KVM cannot do that. Both say the same, nothing of it stays, and
 * who wants the vCPU's thread meanwhile gets it.
 */
#define _GNU_SOURCE
#include "fake_kvm.h"

#include "tap.h"
#include "vmm/vmm.h"

#include <bezoar/vmm.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES	8
#define GPA	0x100000ull
#define LOST	3
#define DATA	0xbd80000000000134ull	/* SDM vol. 3B, table 15-20 */
#define FETCH	0xbd80000000000150ull

static struct bez_vm *vm;
static struct bez_vcpu *vcpu;
static struct kvm_run *run;
static unsigned char *mem;

static void make(int has_sync)
{
	struct bez_vm_options o = {
		.size = sizeof(o), .kvm_fd = FAKE_KVM, .vm_fd = FAKE_VM,
		.patience_ns = ~0ull >> 1, .flags = BEZ_VM_NO_BROADCAST,
	};

	fake_reset();
	fake.has_sync = has_sync ? 7 : 3;
	mem = fake_machine(&o, GPA, PAGES, &vm);
	fake.run = run = fake_pages(1);
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, run, &vcpu), 0);
	CHECK_EQ(bez_lost_add(mem + LOST * 4096, 4096), 0);
}

static void unmake(void)
{
	CHECK_EQ(bez_vcpu_remove(vcpu), 0);
	CHECK_EQ(bez_vm_destroy(vm), 0);
	CHECK_EQ(bez_stop(), 0);
	munmap(mem, PAGES * 4096);
	munmap(run, 4096);
}

static void meet(void)
{
	CHECK_EQ(fake_meet(vm, FAKE_VCPU, mem + LOST * 4096), 1);
}

/* ------------------------------------------------------------------- fetched */

static void stands_at(uint64_t at, uint64_t status, int has_sync)
{
	make(has_sync);
	fake.is_64 = 1;
	fake.rip = fake.linear = 0x7f1234567fff;
	fake.at = at;
	meet();
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.raised, 1);
	CHECK_EQ(fake.status[fake.last_bank], status);
	CHECK_EQ(fake.runs, has_sync);
	unmake();
}

/* The signal is the same for both: who stands in the page has not had it. */
static void fetched(void)
{
	int has_sync;

	for (has_sync = 0; has_sync < 2; has_sync++) {
		stands_at(GPA + LOST * 4096 + 4095, FETCH, has_sync);
		stands_at(GPA + LOST * 4096 - 1, DATA, has_sync);
		stands_at(GPA + PAGES * 4096, DATA, has_sync);
		stands_at(0, DATA, has_sync);	/* is not mapped */
	}
}

/* In old modes code has a base, and addresses are of 32 bits. */
static void segments(void)
{
	static const struct {
		uint64_t rip, base, linear;
		int is_64;
	} at[] = {
		{ 0x1000, 0x20000, 0x21000, 0 },
		{ 0x1000, 0xfffff000, 0, 0 },
		{ 0x7f0000001000, 0x20000, 0x7f0000001000, 1 },
	};
	size_t i;

	for (i = 0; i < 2 * sizeof(at) / sizeof(at[0]); i++) {
		make(i % 2);
		fake.rip = at[i / 2].rip;
		fake.cs_base = at[i / 2].base;
		fake.linear = at[i / 2].linear;
		fake.is_64 = at[i / 2].is_64;
		fake.at = GPA + LOST * 4096;
		meet();
		CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
		CHECK_EQ(fake.status[fake.last_bank], FETCH);
		unmake();
	}
}

/* ------------------------------------------------------------ what stays of it */

static void nothing_stays(void)
{
	make(1);
	run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	meet();
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.raised, 1);
	CHECK_EQ(fake.runs, 1);
	CHECK_EQ(fake.entered, 0);
	CHECK_EQ(run->kvm_valid_regs, KVM_SYNC_X86_REGS);
	CHECK_EQ(run->immediate_exit, 0);
	/* what the monitor has set is its own */
	run->immediate_exit = 1;
	fake.mcg_status = 0;
	memset(fake.status, 0, sizeof(fake.status));
	meet();
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.raised, 2);
	CHECK_EQ(run->immediate_exit, 1);
	unmake();
}

static void kicks(struct kvm_run *of)
{
	(void)of;
	fake.in_run = NULL;
	CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_CORRECTED, GPA), 0);
}

/* All of a kick falls in between. */
static void a_kick(void)
{
	make(1);
	fake.in_run = kicks;
	meet();
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.raised, 1);
	CHECK_EQ(run->immediate_exit, 1);
	CHECK_EQ(bez_vcpu_run(vcpu), -EINTR);
	CHECK_EQ(fake.entered, 0);
	CHECK_EQ(bez_vm_outcome_count(vm, BEZ_VM_OUTCOME_DELIVERED), 2);
	CHECK_EQ(run->immediate_exit, 0);
	unmake();
}

/* It has stored immediate_exit, and not yet that it was it. */
static void half_a_kick(void)
{
	make(1);
	atomic_store(&vcpu->kickers, 1);
	meet();
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.raised, 1);
	CHECK_EQ(run->immediate_exit, 1);
	atomic_store(&vcpu->kickers, 0);
	unmake();
}

static const struct tap_case cases[] = {
	{ .name = "fetched", .run = fetched },
	{ .name = "segments", .run = segments },
	{ .name = "nothing stays", .run = nothing_stays },
	{ .name = "a kick", .run = a_kick },
	{ .name = "half a kick", .run = half_a_kick },
};
TAP_MAIN(cases)
