/* SPDX-License-Identifier: MIT */
/*
 * Where KVM says that it was, whose machine checks the guest understands by its CPUID,
 * and who is told: a test of each with KVM doubled, as no one machine has them all.
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

#define PAGES	16
#define GPA	0x100000ull
#define LOST	3

static struct bez_vm *vm;
static struct bez_vcpu *vcpu;
static struct kvm_run *run;
static unsigned char *mem;
static struct bez_vm_event last;

static void told(const struct bez_vm_event *event, void *arg)
{
	(void)arg;
	last = *event;
}

static void make(uint32_t flags)
{
	struct bez_vm_options o = {
		.size = sizeof(o), .kvm_fd = FAKE_KVM, .vm_fd = FAKE_VM,
		.event = told, .patience_ns = ~0ull >> 1, .flags = flags,
	};

	mem = fake_machine(&o, GPA, PAGES, &vm);
	run = fake_pages(1);
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

static void meets(void)
{
	CHECK_EQ(fake_meet(vm, FAKE_VCPU, mem + LOST * 4096), 1);
}

/* ------------------------------------------------------- what KVM says of where */

/* KVM_EXIT_MEMORY_FAULT, Linux 6.8: Documentation/virt/kvm/api.rst. */
static int faults(uint64_t fault_flags, uint64_t gpa, int ran)
{
	const uint64_t where[] = { fault_flags, gpa, 4096 };

	fake.mcg_status = 0;
	memset(fake.status, 0, sizeof(fake.status));
	memset(&last, 0, sizeof(last));
	run->exit_reason = BZV_EXIT_MEMORY_FAULT;
	memcpy(&run->hw, where, sizeof(where));
	return bez_vcpu_deliver(vcpu, ran);
}

static void memory_fault(void)
{
	const uint64_t at = GPA + LOST * 4096, again = 1ull << 32;

	fake_reset();
	make(BEZ_VM_NO_BROADCAST);
	CHECK_EQ(bez_vm_map(vm, again, PAGES * 4096, mem, 0, NULL), 0);
	CHECK_EQ(faults(0, at, -EFAULT), -EINTR);
	CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(last.error, BEZ_VM_ERROR_SRAR);
	CHECK_EQ(last.gpa, at);
	CHECK(last.hva == mem + LOST * 4096);
	CHECK_EQ(last.mci_status, 0xbd80000000000134);
	CHECK_EQ(fake.mcg_status, 7);
	/* with the other number, and by the address that was touched */
	CHECK_EQ(faults(0, again + LOST * 4096, -EHWPOISON), -EINTR);
	CHECK_EQ(last.gpa, again + LOST * 4096);
	CHECK_EQ(fake.raised, 2);
	/* what is not lost, not here, or private is the monitor's */
	CHECK_EQ(faults(0, at + 4096, -EFAULT), -EFAULT);
	CHECK_EQ(faults(0, GPA + PAGES * 4096, -EFAULT), -EFAULT);
	CHECK_EQ(faults(BZV_MEMORY_FAULT_PRIVATE, at, -EFAULT), -EFAULT);
	CHECK_EQ(faults(BZV_MEMORY_FAULT_PRIVATE, at, -EHWPOISON), -EHWPOISON);
	CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_NONE);
	CHECK_EQ(fake.calls, 2);
	unmake();
}

/* It has met the page, and the slot goes before it is told. */
static void slot_goes(void)
{
	fake_reset();
	make(BEZ_VM_NO_BROADCAST);
	meets();
	CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_SRAO, GPA + 4096), 0);
	CHECK_EQ(bez_vm_unmap(vm, GPA), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(bez_vm_outcome_count(vm, BEZ_VM_OUTCOME_GONE), 2);
	CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_GONE);
	CHECK_EQ(last.gpa, 0);
	CHECK_EQ(fake.calls, 0);
	unmake();
}

/* ------------------------------------------------------------ who is told, and how */

static struct bez_vcpu *other;
static struct kvm_run *others;

static void make_two(uint32_t flags)
{
	make(flags);
	others = fake_pages(1);
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU + 1, others, &other), 0);
}

static void unmake_two(void)
{
	CHECK_EQ(bez_vcpu_remove(other), 0);
	unmake();
}

/* SDM vol. 3B, 15.10.4.1: to all processors from family 6, model 0eh on. The second
 * vCPU does not come: what goes to all cannot be told. */
static const struct who {
	const char *vendor;
	uint32_t signature;
	int all, amd;
} whos[] = {
	{ "GenuineIntel", 0x006d8, 0, 0 },	/* model 13 */
	{ "GenuineIntel", 0x006e8, 1, 0 },	/* model 14 */
	{ "GenuineIntel", 0x10661, 1, 0 },	/* model 22, of which 1 is above */
	{ "GenuineIntel", 0x00543, 0, 0 },	/* family 5 */
	{ "GenuineIntel", 0x00f43, 1, 0 },	/* family 15 */
	{ "AuthenticAMD", 0xa20f10, 0, 1 },
	{ "HygonGenuine", 0x900f01, 0, 1 },
};

static void who_is_told(void)
{
	size_t i;

	for (i = 0; i < sizeof(whos) / sizeof(whos[0]); i++) {
		fake_reset();
		fake.vendor = whos[i].vendor;
		fake.signature = whos[i].signature;
		make_two(0);
		meets();
		CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
		CHECKF(last.outcome == (whos[i].all ? BEZ_VM_OUTCOME_HELD :
						      BEZ_VM_OUTCOME_DELIVERED),
		       "%s %x: %s", whos[i].vendor, whos[i].signature,
		       bez_vm_outcome_name((enum bez_vm_outcome)last.outcome));
		CHECK_EQ(others->immediate_exit, whos[i].all);
		if (!whos[i].all)
			CHECK_EQ(fake.status[9] >> 43 & 1, whos[i].amd);
		unmake_two();
	}
}

static enum bez_vm_outcome reported(enum bez_vm_error error)
{
	CHECK_EQ(bez_vm_report(vm, vcpu, error, GPA), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(last.error, error);
	return (enum bez_vm_outcome)last.outcome;
}

/* No exception comes of these, and so there is nothing to take part in. */
static void not_to_all(void)
{
	fake_reset();
	make_two(0);
	CHECK_EQ(reported(BEZ_VM_ERROR_UCNA), BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(reported(BEZ_VM_ERROR_CORRECTED), BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(others->immediate_exit, 0);
	unmake_two();
}

/* LMCE, which the guest wants: what was met is this vCPU's, and all else is not. */
static void local(void)
{
	fake_reset();
	make_two(BEZ_VM_LMCE);
	fake.mcg_ext_ctl = 1;
	meets();
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(fake.mcg_status, 0xf);
	CHECK_EQ(others->immediate_exit, 0);
	fake.mcg_status = 0;
	memset(fake.status, 0, sizeof(fake.status));
	CHECK_EQ(reported(BEZ_VM_ERROR_SRAO), BEZ_VM_OUTCOME_HELD);
	CHECK_EQ(others->immediate_exit, 1);
	unmake_two();
}

static _Atomic int over;

static void *looks(void *arg)
{
	while (!over)
		CHECK_EQ(bez_vcpu_deliver(arg, -EINTR), -EINTR);
	return NULL;
}

/* An early notice names all that the host has lost; the guest is told a page of it. */
static void early(void)
{
	struct bez_lost notice = { .width = 2u << 20 };

	fake_reset();
	make_two(BEZ_VM_NO_BROADCAST);
	notice.addr = notice.touched = mem + LOST * 4096;
	CHECK_EQ(bzv_relay(&notice, NULL, vm), 1);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(last.error, BEZ_VM_ERROR_SRAO);
	CHECK_EQ(last.gpa, GPA + LOST * 4096);
	CHECK_EQ(last.width, 2u << 20);
	CHECK_EQ(last.mci_misc, 0x8c);
	CHECK_EQ(others->immediate_exit, 0);
	unmake_two();
}

/* One that waits for its start takes none: whether its thread is there or not. */
static void not_started(void)
{
	pthread_t thread;

	fake_reset();
	make_two(0);
	fake.others_state = KVM_MP_STATE_UNINITIALIZED;
	meets();
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(last.others, 0);
	fake.mcg_status = 0;
	memset(fake.status, 0, sizeof(fake.status));
	CHECK_EQ(pthread_create(&thread, NULL, looks, other), 0);
	do {
		meets();
		CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	} while (last.outcome == BEZ_VM_OUTCOME_HELD);
	CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(last.others, 0);
	CHECK_EQ(fake.raised, 2);
	over = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	unmake_two();
}

/* With CMCI what nobody has to act on interrupts, and what was corrected is counted. */
static void cmci(void)
{
	int has;

	for (has = 0; has < 2; has++) {
		fake_reset();
		make(has ? BEZ_VM_CMCI : 0);
		CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_UCNA, GPA), 0);
		CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_CORRECTED, GPA), 0);
		CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
		CHECK_EQ(fake.calls, 2);
		CHECK_EQ(fake.raised, 0);
		CHECK_EQ(fake.interrupts, has);
		CHECK_EQ(fake.status[9], 0xbc0000000000009f);
		CHECK_EQ(fake.status[8], has ? 0x9c0000400000009f :
					       0x9c0000000000009f);
		unmake();
	}
}

static const struct tap_case cases[] = {
	{ .name = "a memory fault", .run = memory_fault },
	{ .name = "the slot goes", .run = slot_goes },
	{ .name = "who is told", .run = who_is_told },
	{ .name = "not to all", .run = not_to_all },
	{ .name = "LMCE", .run = local },
	{ .name = "early", .run = early },
	{ .name = "not started", .run = not_started },
	{ .name = "CMCI", .run = cmci },
};
TAP_MAIN(cases)
