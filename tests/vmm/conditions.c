/* SPDX-License-Identifier: MIT */
/*
 * Every condition under which KVM_X86_SET_MCE says 0 and delivers nothing, or kills the
 * guest: none is ever met. And what can be delivered is.
 */
#define _GNU_SOURCE
#include "fake_kvm.h"

#include "tap.h"
#include "vmm/vmm.h"

#include <bezoar/vmm.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PAGES	32
#define GPA	0x100000ull
#define VALID	(1ull << 63)
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

static struct bez_vm_options options(void)
{
	return (struct bez_vm_options){
		.size = sizeof(struct bez_vm_options), .kvm_fd = FAKE_KVM,
		.vm_fd = FAKE_VM, .event = told, .patience_ns = ~0ull >> 1,
	};
}

static void make(const struct bez_vm_options *o)
{
	mem = fake_machine(o, GPA, PAGES, &vm);
	fake.run = run = fake_pages(1);
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, run, &vcpu), 0);
	CHECK_EQ(bez_lost_add(mem + LOST * 4096, 4096), 0);
}

static void unmake(void)
{
	CHECK_EQ(bez_vcpu_remove(vcpu), 0);
	CHECK_EQ(bez_vm_destroy(vm), 0);
	CHECK_EQ(bez_stop(), 0);
}

static int meets(struct bez_vm *of, int fd)
{
	return fake_meet(of, fd, mem + LOST * 4096);
}

/* ------------------------------------------------------------------- set-up */

static void set_up(void)
{
	struct bez_vm_options o = options();

	fake_reset();
	o.flags = BEZ_VM_LMCE | BEZ_VM_CMCI;
	make(&o);
	CHECK_EQ(fake.mcg_cap, 10 | 1ull << 8 | 1ull << 10 | 1ull << 24 |
				       1ull << 27);
	unmake();
	/* what KVM does not have is not asked for */
	fake_reset();
	fake.supported = 1ull << 8 | 1ull << 24;
	o.banks = 4;
	make(&o);
	CHECK_EQ(fake.mcg_cap, 4 | 1ull << 8 | 1ull << 24);
	unmake();
	/* nor what was not wanted */
	fake_reset();
	o = options();
	make(&o);
	CHECK_EQ(fake.mcg_cap, 10 | 1ull << 8 | 1ull << 24);
	unmake();
}

static void bad(void)
{
	struct bez_vm_options o = options();
	struct bez_vcpu *other = NULL;
	struct bez_vm *none = NULL;

	fake_reset();
	CHECK_EQ(bez_vm_create(&o, &none), -ESRCH);
	CHECK_EQ(bez_start(NULL), 0);
	CHECK_EQ(bez_vm_create(NULL, &none), -EINVAL);
	CHECK_EQ(bez_vm_create(&o, NULL), -EINVAL);
	o.flags = 0x80;
	CHECK_EQ(bez_vm_create(&o, &none), -EINVAL);
	o = options();
	o.banks = 1;
	CHECK_EQ(bez_vm_create(&o, &none), -EINVAL);
	o.banks = 33;
	CHECK_EQ(bez_vm_create(&o, &none), -EINVAL);
	o = options();
	o.vendor = 3;
	CHECK_EQ(bez_vm_create(&o, &none), -EINVAL);
	o = options();
	o.not_ready = 3;
	CHECK_EQ(bez_vm_create(&o, &none), -EINVAL);
	o = options();
	o.size = 3;
	CHECK_EQ(bez_vm_create(&o, &none), -EINVAL);
	o = options();
	o.kvm_fd = 7777;
	CHECK_EQ(bez_vm_create(&o, &none), -EBADF);
	o = options();
	fake.has_mce = 0;
	CHECK_EQ(bez_vm_create(&o, &none), -EOPNOTSUPP);
	CHECK(!none);
	CHECK_EQ(bez_stop(), 0);
	fake_reset();
	make(&o);
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, run, &other), -EEXIST);
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU + FAKE_VCPUS, run, &other), -EBADF);
	CHECK(!other);
	CHECK_EQ(bez_vm_destroy(vm), -EBUSY);
	CHECK_EQ(bez_vm_map(vm, GPA + 8, 4096, mem, 0, NULL), -EINVAL);
	CHECK_EQ(bez_vm_map(vm, GPA, 4096, mem, 0, NULL), -EEXIST);
	CHECK_EQ(bez_vm_map(vm, -4096ull, 8192, mem, 0, NULL), -EINVAL);
	CHECK_EQ(bez_vm_map(vm, 1ull << 40, 4096, mem, 2, NULL), -EINVAL);
	CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_SRAR, GPA), -EINVAL);
	CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_SRAO, 0), -ENOENT);
	unmake();
}

/* ---------------------------------------------------------------- every state */

/* A bit of the number for each thing that may be in the way. */
static void set_state(uint32_t bits)
{
	int i;

	fake_reset();
	fake.run = run;
	fake.mcg_cap = 10 | 1ull << 8 | 1ull << 24;
	fake.mcg_status = bits & 1 ? 4 : bits & 2 ? 1 : 0;
	fake.cr4 = bits & 4 ? 0 : 64;
	fake.mcg_ctl = bits & 8 ? 0 : ~0ull;
	for (i = 0; i < 10; i++) {
		if (bits & 16 && i > 4)
			fake.status[i] = VALID | 7;
		if (bits & 32 && i <= 4)
			fake.status[i] = VALID | 1ull << 61 | 7;
		if (bits & 64 && i > 7)
			fake.ctl[i] = 0;
		if (bits & 128 && i <= 7)
			fake.ctl[i] = 0;
	}
	if (bits & 256)
		fake.vendor = "AuthenticAMD";
}

static int free_bank(int uncorrected)
{
	int i;

	for (i = 0; i < 10; i++)
		if (i != 1 && (i || uncorrected) && !(fake.status[i] & VALID) &&
		    (!uncorrected || fake.ctl[i] == ~0ull))
			return 1;
	return 0;
}

static void check_no_harm(uint32_t bits)
{
	CHECKF(!fake.dead, "state %#x: triple fault", bits);
	CHECKF(!fake.dropped, "state %#x: dropped", bits);
	CHECKF(!fake.cleared, "state %#x: MCIP was cleared", bits);
	CHECKF(!fake.over, "state %#x: a bank was overwritten", bits);
}

/* With nothing in the way of it, it comes; with anything, KVM is not even asked. */
static void every_state(void)
{
	const enum bez_vm_error *error = tap_data();
	uint32_t bits, came = 0;

	for (bits = 0; bits < 512; bits++) {
		struct bez_vm_options o = options();
		int amd = (bits & 256) != 0, raised, free, r;

		o.flags = BEZ_VM_NO_BROADCAST;
		fake_reset();
		fake.vendor = amd ? "AuthenticAMD" : "GenuineIntel";
		fake.has_sync = 7;
		make(&o);
		set_state(bits);
		raised = *error == BEZ_VM_ERROR_SRAR ||
			 (*error == BEZ_VM_ERROR_SRAO && !amd);
		free = free_bank(raised) && (!raised || !(bits & 13)) &&
		       (*error != BEZ_VM_ERROR_UCNA || amd || !(bits & 1));
		if (*error == BEZ_VM_ERROR_SRAR)
			CHECK_EQ(meets(vm, FAKE_VCPU), 1);
		else
			CHECK_EQ(bez_vm_report(vm, NULL, *error, GPA + 8192), 0);
		r = bez_vcpu_deliver(vcpu, -EINTR);
		CHECK_EQ(r, -EINTR);
		check_no_harm(bits);
		CHECK_EQ(fake.calls, free);
		CHECKF(last.outcome == (free ? BEZ_VM_OUTCOME_DELIVERED :
					       BEZ_VM_OUTCOME_HELD),
		       "state %#x: %s", bits,
		       bez_vm_outcome_name((enum bez_vm_outcome)last.outcome));
		if (free) {
			CHECK_EQ(last.error, *error);
			CHECK_EQ(last.bank, fake.last_bank);
			CHECK_EQ(fake.raised, raised);
			CHECK_EQ(fake.addr[last.bank],
				 *error == BEZ_VM_ERROR_SRAR ?
				 GPA + LOST * 4096 : GPA + 8192);
			CHECK_EQ(fake.status[last.bank], last.mci_status);
			came++;
		} else if (*error != BEZ_VM_ERROR_SRAR) {
			/* it waits, and comes when nothing is in the way */
			set_state(bits & 256);
			CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
			CHECK_EQ(fake.calls, 1);
			CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_DELIVERED);
		}
		unmake();
		munmap(mem, PAGES * 4096);
		munmap(run, 4096);
	}
	CHECK(came > 10 && came < 512);
}

/* --------------------------------------------------------------------- refused */

static const unsigned long requests[] = {
	KVM_GET_MSRS, KVM_GET_REGS, KVM_GET_SREGS, KVM_GET_VCPU_EVENTS, KVM_RUN,
	KVM_X86_SET_MCE,
};

static void kvm_refuses(void)
{
	struct bez_vm_options o = options();
	size_t i;

	o.flags = BEZ_VM_NO_BROADCAST;
	for (i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		fake_reset();
		fake.has_sync = requests[i] == KVM_RUN ? 7 : 0;
		make(&o);
		fake.fails = requests[i];
		fake.err = EPERM;
		CHECK_EQ(meets(vm, FAKE_VCPU), 1);
		CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EHWPOISON);
		CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_GAVE_UP);
		CHECK_EQ(bez_vm_outcome_count(vm, BEZ_VM_OUTCOME_REFUSED), 1);
		CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_SRAO, GPA), 0);
		CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
		CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_REFUSED);
		CHECK_EQ(last.reason, -EPERM);
		unmake();
	}
}

/* ------------------------------------------------------------------ who is asked */

static void not_ours(void)
{
	static const unsigned char other[] = { 0x90, 0x90, 0x90 };
	struct bez_vm_options o = options();
	struct bez_lost lost = { .addr = NULL };
	ucontext_t uc;

	o.flags = BEZ_VM_NO_BROADCAST;
	fake_reset();
	make(&o);
	lost.touched = mem + LOST * 4096;
	CHECK_EQ(meets(vm, FAKE_VCPU + 1), 0);
	memset(&uc, 0, sizeof(uc));
	uc.uc_mcontext.gregs[REG_RIP] = (greg_t)(other + 2);
	uc.uc_mcontext.gregs[REG_RSI] = KVM_RUN;
	uc.uc_mcontext.gregs[REG_RDI] = FAKE_VCPU;
	CHECK_EQ(bzv_relay(&lost, &uc, vm), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.calls, 0);
	unmake();
}

/* KVM_RUN was left for another reason as well: the guest stands elsewhere when that is
 * completed, and "the interrupted instruction" would be another one. */
static void not_now(void)
{
	struct bez_vm_options o = options();

	o.flags = BEZ_VM_NO_BROADCAST;
	fake_reset();
	make(&o);
	CHECK_EQ(meets(vm, FAKE_VCPU), 1);
	run->exit_reason = KVM_EXIT_IO;
	CHECK_EQ(bez_vcpu_deliver(vcpu, 0), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.calls, 0);
	CHECK_EQ(meets(vm, FAKE_VCPU), 1);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.calls, 1);
	unmake();
}

/* One that waits and an exit of the monitor's: after that is completed, soon. */
static void after_the_exit(void)
{
	struct bez_vm_options o = options();

	o.flags = BEZ_VM_NO_BROADCAST;
	fake_reset();
	make(&o);
	CHECK_EQ(bez_vm_report(vm, vcpu, BEZ_VM_ERROR_SRAO, GPA), 0);
	CHECK_EQ(run->immediate_exit, 1);
	run->exit_reason = KVM_EXIT_IO;
	CHECK_EQ(bez_vcpu_deliver(vcpu, 0), 0);
	CHECK_EQ(fake.calls, 0);
	CHECK_EQ(run->immediate_exit, 1);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.calls, 1);
	CHECK_EQ(run->immediate_exit, 0);
	unmake();
}

/* The guest has LMCE and wants it: one vCPU is told, and told so. */
static void lmce(void)
{
	struct bez_vm_options o = options();

	o.flags = BEZ_VM_LMCE;
	fake_reset();
	make(&o);
	fake.mcg_ext_ctl = 1;
	CHECK_EQ(meets(vm, FAKE_VCPU), 1);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.mcg_status, 0xf);
	fake.mcg_status = 0;
	fake.mcg_ext_ctl = 0;
	CHECK_EQ(meets(vm, FAKE_VCPU), 1);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.mcg_status, 7);
	unmake();
}

static void late_cpuid(void)
{
	struct bez_vm_options o = options();

	fake_reset();
	fake.vendor = NULL;
	make(&o);
	fake.vendor = "AuthenticAMD";
	CHECK_EQ(meets(vm, FAKE_VCPU), 1);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.status[9] >> 43 & 1, 1);
	unmake();
}

/* Something else is on its way to the guest: a #DF, that would be a triple fault; an
 * interrupt, that KVM would forget. */
static void another_event(void)
{
	struct bez_vm_options o = options();
	int i;

	o.flags = BEZ_VM_NO_BROADCAST;
	fake_reset();
	make(&o);
	for (i = 0; i < 4; i++) {
		int was = fake.calls;

		fake.injected = i < 2 ? i + 1 : 0;
		fake.exception = 8;
		fake.interrupt = i == 2;
		fake.nmi = i == 3;
		CHECK_EQ(meets(vm, FAKE_VCPU), 1);
		CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
		CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_SRAO, GPA), 0);
		CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
		CHECK_EQ(fake.calls, was);
		fake.injected = fake.interrupt = fake.nmi = 0;
		CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
		CHECK_EQ(fake.calls, was + 1);
		fake.mcg_status = 0;
		memset(fake.status, 0, sizeof(fake.status));
	}
	CHECK_EQ(fake.collided, 0);
	unmake();
}

/* KVM_RUN ended otherwise: what was met then is not what the next one meets. */
static void other_errors(void)
{
	struct bez_vm_options o = options();

	o.flags = BEZ_VM_NO_BROADCAST;
	fake_reset();
	make(&o);
	CHECK_EQ(meets(vm, FAKE_VCPU), 1);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EAGAIN), -EAGAIN);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.calls, 0);
	unmake();
}

/* A KVM that would make an exception of what is to raise none. */
static void no_ucna(void)
{
	struct bez_vm_options o = options();

	fake_reset();
	fake.linux_major = 5;
	make(&o);
	CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_UCNA, GPA), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.calls, 0);
	CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_REFUSED);
	CHECK_EQ(last.reason, -EOPNOTSUPP);
	unmake();
}

/* What is refused changes nothing of the vCPU that is there. */
static void twice(void)
{
	struct bez_vm_options o = options();
	struct bez_vcpu *other = NULL;

	fake_reset();
	make(&o);
	fake.mcg_cap = 77;
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, run, &other), -EEXIST);
	CHECK_EQ(fake.mcg_cap, 77);
	unmake();
	/* set up by the monitor, and without recovery */
	o.flags = BEZ_VM_KEEP_MCE;
	fake_reset();
	CHECK_EQ(bez_start(NULL), 0);
	CHECK_EQ(bez_vm_create(&o, &vm), 0);
	fake.mcg_cap = 10 | 1ull << 8;
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, run, &other), -EINVAL);
	fake.mcg_cap = 2 | 1ull << 8 | 1ull << 24;
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, run, &other), -EINVAL);
	fake.mcg_cap = 4 | 1ull << 8 | 1ull << 24;
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, run, &vcpu), 0);
	CHECK_EQ(fake.mcg_cap, 4 | 1ull << 8 | 1ull << 24);
	unmake();
	/* a guest of AMD's kind has none, and needs none */
	fake_reset();
	fake.vendor = "AuthenticAMD";
	CHECK_EQ(bez_start(NULL), 0);
	CHECK_EQ(bez_vm_create(&o, &vm), 0);
	fake.mcg_cap = 10 | 1ull << 8;
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, run, &vcpu), 0);
	unmake();
}

/*
 * KVM on AMD's processors takes recovery out of MCG_CAP and says nothing. Then an
 * early word is the end of a guest of Intel's kind: it is told when it meets the page.
 */
static void on_amd(void)
{
	struct bez_vm_options o = options();

	fake_reset();
	fake.on_amd = 1;
	make(&o);
	CHECK_EQ(fake.mcg_cap, 10 | 1ull << 8);
	CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_SRAO, GPA + 8192), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.calls, 0);
	CHECK_EQ(bez_vm_outcome_count(vm, BEZ_VM_OUTCOME_REFUSED), 1);
	CHECK_EQ(meets(vm, FAKE_VCPU), 1);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.raised, 1);
	unmake();
	/* one of AMD's kind knows it by what is deferred */
	fake_reset();
	fake.on_amd = 1;
	fake.vendor = "AuthenticAMD";
	make(&o);
	CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_SRAO, GPA + 8192), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.calls, 1);
	CHECK_EQ(bez_vm_outcome_count(vm, BEZ_VM_OUTCOME_DELIVERED), 1);
	unmake();
}

static const enum bez_vm_error errors[] = {
	BEZ_VM_ERROR_SRAR, BEZ_VM_ERROR_SRAO, BEZ_VM_ERROR_UCNA,
	BEZ_VM_ERROR_CORRECTED,
};

static const struct tap_case cases[] = {
	{ .name = "set-up", .run = set_up },
	{ .name = "bad arguments", .run = bad },
	{ .name = "every state, SRAR", .run = every_state, .data = &errors[0] },
	{ .name = "every state, SRAO", .run = every_state, .data = &errors[1] },
	{ .name = "every state, UCNA", .run = every_state, .data = &errors[2] },
	{ .name = "every state, corrected", .run = every_state,
	  .data = &errors[3] },
	{ .name = "KVM refuses", .run = kvm_refuses },
	{ .name = "not ours", .run = not_ours },
	{ .name = "not now", .run = not_now },
	{ .name = "after the exit", .run = after_the_exit },
	{ .name = "another event", .run = another_event },
	{ .name = "other errors", .run = other_errors },
	{ .name = "no UCNA", .run = no_ucna },
	{ .name = "twice", .run = twice },
	{ .name = "a host of AMD's", .run = on_amd },
	{ .name = "LMCE", .run = lmce },
	{ .name = "CPUID comes late", .run = late_cpuid },
};
TAP_MAIN(cases)
