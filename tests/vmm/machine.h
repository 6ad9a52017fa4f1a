/* SPDX-License-Identifier: MIT */
/* The toy guest under the library: memory, vCPUs, what the monitor is told. */
#ifndef BEZOAR_TESTS_VMM_MACHINE_H
#define BEZOAR_TESTS_VMM_MACHINE_H

#include <bezoar/vmm.h>

#include "toy.h"

#define MACHINE_PAGES	64
#define MACHINE_LEN	(MACHINE_PAGES * 4096ul)
#define MACHINE_GPA	0x200000ul
#define MACHINE_EVENTS	256

struct machine {
	struct toy toy;
	struct bez_vm *vm;
	struct bez_vcpu *vcpu[TOY_VCPUS];
	unsigned char *mem;		/* MACHINE_LEN bytes at MACHINE_GPA */
	size_t mapped;			/* bytes there */
	/* what the event function was told; by the thread that was told */
	struct bez_vm_event event[MACHINE_EVENTS];
	_Atomic int events;
};

struct machine_options {
	int vcpus;			/* 0: 1 */
	const char *vendor;		/* of CPUID; NULL: Intel */
	uint32_t flags, not_ready, banks;
	uint64_t patience_ns;
	bez_vm_kick_fn kick;		/* NULL: SIGUSR1 is sent */
	bez_vm_wrote_fn wrote;
	const struct bez_policy *policy; /* of the memory; NULL: none */
	int early;			/* the kernel's own notices come, too */
	int file;			/* the memory is a memory file's, shared with
					 * nobody */
	int covers;			/* what is lost is closed by mappings */
	size_t huge;			/* of one page of so many bytes, MACHINE_LEN of it
					 * used */
};

/* With libbezoar started. Page i of the memory holds machine_byte(i). Skips where
 * there is no KVM for it. */
void machine_make(struct machine *m, const struct machine_options *options);
void machine_unmake(struct machine *m);
unsigned char machine_byte(size_t page);
uint64_t machine_gpa(size_t page);

/* Page i is lost, by the way that this kernel has. */
void machine_lose(struct machine *m, size_t page);

/* bez_vcpu_run() until it leaves by a port, which is returned; or its error. */
int machine_run(struct machine *m, int vcpu);
/* Of the last event. */
const struct bez_vm_event *machine_last(const struct machine *m);
int machine_count(const struct machine *m, enum bez_vm_outcome outcome);

#endif
