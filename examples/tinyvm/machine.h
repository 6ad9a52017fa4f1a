/* SPDX-License-Identifier: MIT */
/* The virtual machine: KVM's side of it, and libbezoar-vmm's. */
#ifndef TINYVM_MACHINE_H
#define TINYVM_MACHINE_H

#include <bezoar/vmm.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>

#include "ledger.h"
#include "memory.h"
#include "options.h"

struct vcpu {
	struct machine *machine;
	struct bez_vcpu *relay;
	struct kvm_run *run;
	int fd;
	uint32_t index;
	pthread_t thread;
	char line[160];		/* what the guest says, up to its end of line */
	uint32_t line_len;
};

/* What the library has told of. */
struct told {
	uint64_t events;
	uint64_t delivered[KINDS];
	uint64_t others;	/* CPUs told with another: broadcast */
};

struct machine {
	const struct options *options;
	struct memory memory;
	struct ledger ledger;
	struct told told;
	struct bez_vm *relay;
	struct vcpu vcpu[BOARD_CPUS];
	int kvm, fd;
	int amd;		/* its vendor */
	int quit;		/* CPUs that do not halt leave */
	uint64_t losing;	/* odd while a page is being lost */
};

#define CANNOT	77

/* KVM and the relay; no memory and no CPU yet. 0, or CANNOT: this machine cannot, and
 * why was said; or -1. */
int machine_open(struct machine *m, const struct options *o);
/* @set_up: before it runs first. */
int machine_add_vcpu(struct machine *m, uint32_t index, int (*set_up)(struct vcpu *v));
/* All of it, for the kernel that is part of this program. As machine_open(). */
int machine_make(struct machine *m, const struct options *o);
/* Begin to run its CPUs. */
int machine_start(struct machine *m);
/* Have them halt, wait for that. -1: they do not. */
int machine_stop(struct machine *m);
void machine_end(struct machine *m);

/* cpu.c: CPUID; and registers, too, for the kernel that is part of this program. */
int cpu_identify(struct vcpu *v);
/* All of memory, for code of 64 bits or for data. */
struct kvm_segment cpu_segment(uint16_t selector, uint8_t type, uint8_t is_code);
int cpu_set_up(struct vcpu *v);

/* vcpu.c: its thread */
void *vcpu_thread(void *arg);

#endif
