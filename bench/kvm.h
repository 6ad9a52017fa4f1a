/* SPDX-License-Identifier: MIT */
/* The smallest guest: one vCPU in real mode that spins, or leaves by a port over and
 * over, and memory beside it that is never touched. */
#ifndef BEZOAR_BENCH_KVM_H
#define BEZOAR_BENCH_KVM_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#define KVM_CODE	0x1000ul
#define KVM_MEMORY	0x100000ul	/* guest address of memory */
#define KVM_MEMORY_LEN	0x100000ul

enum kvm_guest { KVM_SPINS, KVM_LEAVES };

struct kvm {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	char *code, *memory;
};

/* 0 or -errno; -ENODEV: no /dev/kvm. The caller sets up machine checks before
 * kvm_ready(). */
int kvm_make(struct kvm *k, enum kvm_guest guest);
int kvm_ready(struct kvm *k);
/* As it was before a machine check was raised. */
int kvm_no_mce(struct kvm *k);

#endif
