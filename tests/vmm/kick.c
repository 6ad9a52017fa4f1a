/* SPDX-License-Identifier: MIT */
/*
 * A vCPU looks just while another thread kicks it. Whatever that has done so far, the
 * vCPU runs again afterwards: nothing but it clears what makes KVM_RUN come back at once.
 */
#define _GNU_SOURCE
#include "fake_kvm.h"

#include "tap.h"

#include <bezoar/vmm.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#define GPA	0x100000ull

static struct bez_vm *vm;
static struct bez_vcpu *vcpu;
static struct kvm_run *run;
static int looked;

/* It is about to store immediate_exit: the vCPU comes in between. */
static void between(int sig)
{
	(void)sig;
	looked++;
	mprotect(run, 4096, PROT_READ | PROT_WRITE);
	bez_vcpu_deliver(vcpu, -EINTR);
}

static void make(void)
{
	struct bez_vm_options o = {
		.size = sizeof(o), .kvm_fd = FAKE_KVM, .vm_fd = FAKE_VM,
	};
	void *mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	fake_reset();
	run = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mem != MAP_FAILED && run != MAP_FAILED);
	CHECK_EQ(bez_start(NULL), 0);
	CHECK_EQ(bez_vm_create(&o, &vm), 0);
	CHECK_EQ(bez_vm_map(vm, GPA, 4096, mem, 0, NULL), 0);
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, run, &vcpu), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
}

static void between_stores(void)
{
	struct sigaction act = { .sa_handler = between };

	make();
	CHECK_EQ(sigaction(SIGSEGV, &act, NULL), 0);
	mprotect(run, 4096, PROT_READ);
	CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_CORRECTED, GPA), 0);
	CHECK_EQ(looked, 1);
	/* it was told then, or is now */
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(bez_vm_outcome_count(vm, BEZ_VM_OUTCOME_DELIVERED), 1);
	CHECK_EQ(run->immediate_exit, 0);
}

/* What the monitor wants of KVM_RUN itself is left alone. */
static void of_the_monitor(void)
{
	make();
	run->immediate_exit = 1;
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(run->immediate_exit, 1);
	run->immediate_exit = 0;
	CHECK_EQ(bez_vm_report(vm, NULL, BEZ_VM_ERROR_CORRECTED, GPA), 0);
	CHECK_EQ(run->immediate_exit, 1);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(run->immediate_exit, 0);
}

static const struct tap_case cases[] = {
	{ .name = "between two stores", .run = between_stores },
	{ .name = "of the monitor", .run = of_the_monitor },
};
TAP_MAIN(cases)
