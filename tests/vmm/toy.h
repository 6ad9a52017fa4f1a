/* SPDX-License-Identifier: MIT */
/*
 * A guest of a few instructions, for tests of what KVM does and what the library
 * makes of it: 64-bit, flat, one or two vCPUs. Each vCPU does one thing when it is told to
 * (toy_begin()), leaves by a port when it is done, and has a handler for #MC that
 * writes down what it found, leaves by another port, and goes on where it was
 * interrupted.
 */
#ifndef BEZOAR_TESTS_VMM_TOY_H
#define BEZOAR_TESTS_VMM_TOY_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#define TOY_VCPUS	2
#define TOY_LOW		0x100000ul	/* what it needs itself lies below */

/* What leaves KVM_RUN: struct kvm_run's io.port. */
#define TOY_DONE	0x10		/* in rax: what was read */
#define TOY_MC		0x11		/* a machine check has been served */

enum toy_op {
	TOY_LOAD,			/* a byte at rdi */
	TOY_STORE,			/* 0x5a to rdi */
	TOY_ADD,			/* 1 to the byte at rdi: read, then write */
	TOY_WIDE,			/* 16 bytes at rdi into xmm0 */
	TOY_STORE16,			/* 16 bytes at rsi to rdi */
	TOY_COPY,			/* rcx bytes from rdi to rsi */
	TOY_CALL,			/* code at rdi */
	TOY_SPIN,			/* until the byte at rdi is not 0 */
	TOY_HALT,			/* for ever, with interrupts on */
	TOY_OPS
};

/* As the guest's handler found things; in its memory. */
struct toy_mc {
	uint64_t count;			/* machine checks so far */
	uint64_t mcg_status;
	uint64_t rip;			/* where it was */
	uint64_t bank;			/* the last that was valid; ~0: none */
	uint64_t status, addr, misc;
	uint64_t valid;			/* how many banks were */
	uint64_t stay;			/* from outside: do not clear MCIP */
	uint64_t keep;			/* from outside: do not clear the banks */
};

struct toy {
	int kvm, vm;
	int vcpu[TOY_VCPUS];
	struct kvm_run *run[TOY_VCPUS];
	size_t run_len;
	unsigned char *low;		/* TOY_LOW bytes at 0 */
};

/* Skips the case where there is no /dev/kvm or it has no machine checks. Private to
 * the calling process. */
void toy_need(void);
void toy_make(struct toy *toy, int vcpus);
/* CPUID as the host's KVM has it, but for @vendor: "GenuineIntel", "AuthenticAMD";
 * NULL: none is set. */
void toy_cpuid(struct toy *toy, int vcpu, const char *vendor);
/* Long mode, everything ready for toy_begin(). After KVM_X86_SETUP_MCE. */
void toy_boot(struct toy *toy, int vcpu);
void toy_unmake(struct toy *toy);

/* KVM_SET_USER_MEMORY_REGION. Slot 0 is taken. The guest's page tables reach to
 * 4 GiB. */
void toy_slot(struct toy *toy, uint32_t slot, uint64_t gpa, void *hva,
	      size_t len, uint32_t flags);

/* Set the registers so that the next KVM_RUN does it. */
void toy_begin(struct toy *toy, int vcpu, enum toy_op op, uint64_t rdi,
	       uint64_t rsi, uint64_t rcx);
/* KVM_RUN: 0 or -errno. */
int toy_run(struct toy *toy, int vcpu);
/* The port it left by; 0: it left otherwise. */
int toy_port(const struct toy *toy, int vcpu);
struct toy_mc *toy_mc(struct toy *toy, int vcpu);
/* Of the instruction that touches, for what reports it. */
uint64_t toy_rip(enum toy_op op);
void toy_regs(struct toy *toy, int vcpu, struct kvm_regs *ret_regs);
uint64_t toy_msr(struct toy *toy, int vcpu, uint32_t index);
void toy_set_msr(struct toy *toy, int vcpu, uint32_t index, uint64_t value);
void toy_cr4_mce(struct toy *toy, int vcpu, int on);

#endif
