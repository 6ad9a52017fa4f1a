/* SPDX-License-Identifier: MIT */
/*
 * A KVM of which a test sees the inside: the calls of the library that take and give
 * state of a vCPU, and KVM_X86_SET_MCE as arch/x86/kvm/x86.c has it
 * (kvm_vcpu_ioctl_x86_set_mce(), Linux 6.12; 5.10 has no UCNA), with what becomes of
 * the guest said aloud.
 */
#ifndef BEZOAR_TESTS_VMM_FAKE_KVM_H
#define BEZOAR_TESTS_VMM_FAKE_KVM_H

#include <bezoar/vmm.h>
#include <linux/kvm.h>
#include <stdint.h>

#define FAKE_KVM	1000		/* descriptors */
#define FAKE_VM		1001
#define FAKE_VCPU	1002
#define FAKE_VCPUS	4		/* from FAKE_VCPU on; of one state */
#define FAKE_BANKS	32

struct fake_kvm {
	/* what it has */
	int has_mce;			/* KVM_CAP_MCE */
	uint64_t supported;		/* KVM_X86_GET_MCE_CAP_SUPPORTED */
	int linux_major;		/* how old it is */
	const char *vendor;		/* of CPUID; NULL: it is not set */
	uint32_t signature;		/* CPUID 1, eax */
	int on_amd;			/* the host: svm_setup_mce() */
	int has_sync;			/* KVM_CAP_SYNC_REGS */
	uint32_t others_state;		/* KVM_GET_MP_STATE of all but the first */
	int others_serve;		/* MCG_STATUS is the first vCPU's alone: the
					 * others have served what they are told */
	struct kvm_run *run;		/* of the vCPU, if it has that */
	void (*in_run)(struct kvm_run *run); /* comes while KVM_RUN runs; or NULL */
	/* the vCPU */
	uint64_t mcg_cap, mcg_status, mcg_ctl, mcg_ext_ctl, cr4;
	uint64_t ctl[FAKE_BANKS], status[FAKE_BANKS], addr[FAKE_BANKS],
		 misc[FAKE_BANKS];
	int injected, exception;	/* on their way to the guest */
	int interrupt, nmi;
	uint64_t rip, cs_base;
	int is_64;			/* it runs 64-bit code */
	uint64_t linear, at;		/* where linear addresses are: of that one */
	/* what became of it */
	int calls;			/* KVM_X86_SET_MCE */
	int runs, entered;		/* KVM_RUN; without immediate_exit */
	int raised;			/* #MC */
	int interrupts;			/* CMCI */
	int dropped;			/* said 0, and nothing came of it */
	int dead;			/* triple fault */
	int collided;			/* with another event */
	int cleared;			/* it was serving one, and is no more */
	int over;			/* a bank was overwritten */
	int last_bank;
	/* to be refused */
	unsigned long fails;		/* this request, with this errno; 0: none */
	int err;
	int fails_fd;			/* of this one alone; 0: of each */
};

extern struct fake_kvm fake;

void fake_reset(void);

/* Zeros. */
void *fake_pages(size_t count);

/* The library, a machine and @pages of its memory at @gpa, which is returned. Ones: the
 * page of zeros is everybody's. */
unsigned char *fake_machine(const struct bez_vm_options *o, uint64_t gpa, size_t pages,
			    struct bez_vm **ret_vm);

/* As if KVM_RUN of the vCPU @fd had been left by the kernel's signal for this page: what
 * the relay says. */
int fake_meet(struct bez_vm *vm, int fd, void *page);

#endif
