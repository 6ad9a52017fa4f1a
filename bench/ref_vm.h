/* SPDX-License-Identifier: MIT */
/* A monitor that does by hand what it cannot do without. */
#ifndef BEZOAR_BENCH_REF_VM_H
#define BEZOAR_BENCH_REF_VM_H

#include <stddef.h>
#include <stdint.h>

struct kvm;

struct ref_slot {
	uint64_t start, end;	/* host */
	uint64_t gpa;
};

/* The guest's address of @hva; UINT64_MAX: none. */
uint64_t ref_gpa(const struct ref_slot *slot, size_t count, uint64_t hva);

/* Take SIGBUS, and remember one address. Give it back. */
int ref_vm_begin(void);
void ref_vm_end(void);

/*
 * After KVM_RUN was ended by SIGBUS: look whether the guest can take a machine check
 * (MCG_STATUS, MCG_CTL, bank 9, CR4.MCE), where it has the address, and raise it. 0 or
 * -errno; -ENODATA: no SIGBUS, -EBUSY: it can not.
 */
int ref_vm_deliver(const struct kvm *k, const struct ref_slot *slot,
		   size_t count);

#endif
