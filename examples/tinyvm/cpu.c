/* SPDX-License-Identifier: MIT */
/* How a CPU begins: as what it is known to the guest, and in long mode. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "machine.h"

#define ENTRIES	256

/* CPUID 1, ECX: there are leaves of a hypervisor, and a clock with them. */
#define IS_GUEST	(1u << 31)

/* CPUID 0x80000007, EBX: overflow recovery, and SUCCOR. Without them what runs on AMD
 * takes every uncorrected error for the end. */
#define CAN_RECOVER	3u

#define CR0	0x80010033u	/* PG WP NE ET MP PE */
#define CR4	0x20u		/* PAE */
#define EFER	0xd00u		/* NXE LMA LME */

static int failed(const char *what)
{
	fprintf(stderr, "tinyvm: %s: %s\n", what, strerror(errno));
	return -1;
}

static int is_vendor(const struct kvm_cpuid_entry2 *e, const char *name)
{
	char said[12];

	memcpy(said, &e->ebx, 4);
	memcpy(said + 4, &e->edx, 4);
	memcpy(said + 8, &e->ecx, 4);
	return !memcmp(said, name, 12);
}

static void set_vendor(struct kvm_cpuid_entry2 *e, const char *name)
{
	memcpy(&e->ebx, name, 4);
	memcpy(&e->edx, name + 4, 4);
	memcpy(&e->ecx, name + 8, 4);
}

static void choose_vendor(struct machine *m, struct kvm_cpuid_entry2 *e)
{
	uint32_t vendor = m->options->vendor;

	if (vendor != BEZ_VM_VENDOR_CPUID)
		set_vendor(e, vendor == BEZ_VM_VENDOR_AMD ? "AuthenticAMD" :
							    "GenuineIntel");
	if (e->function == 0)
		m->amd = is_vendor(e, "AuthenticAMD") || is_vendor(e, "HygonGenuine");
}

int cpu_identify(struct vcpu *v)
{
	struct kvm_cpuid2 *all = calloc(1, sizeof(*all) +
					   ENTRIES * sizeof(all->entries[0]));
	uint32_t i;
	int r;

	if (!all)
		return failed("memory");
	all->nent = ENTRIES;
	r = ioctl(v->machine->kvm, KVM_GET_SUPPORTED_CPUID, all);
	if (r) {
		free(all);
		return failed("KVM_GET_SUPPORTED_CPUID");
	}
	for (i = 0; i < all->nent; i++) {
		struct kvm_cpuid_entry2 *e = &all->entries[i];

		if (e->function == 0 || e->function == 0x80000000)
			choose_vendor(v->machine, e);
		if (e->function == 0x80000007 && v->machine->amd)
			e->ebx |= CAN_RECOVER;
		if (e->function == 1) {		/* the number of its APIC */
			e->ebx = (e->ebx & 0x00ffffff) | v->index << 24;
			e->ecx |= IS_GUEST;
		}
	}
	r = ioctl(v->fd, KVM_SET_CPUID2, all);
	free(all);
	return r ? failed("KVM_SET_CPUID2") : 0;
}

struct kvm_segment cpu_segment(uint16_t selector, uint8_t type, uint8_t is_code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = !is_code,
		.s = 1,
		.l = is_code,
		.g = 1,
	};
}

static int set_sregs(struct vcpu *v)
{
	const struct image *image = v->machine->memory.image;
	struct kvm_segment data = cpu_segment(KERNEL_DATA, 3, 0);
	struct kvm_sregs s;

	if (ioctl(v->fd, KVM_GET_SREGS, &s))
		return failed("KVM_GET_SREGS");
	s.cs = cpu_segment(KERNEL_CODE, 11, 1);
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){
		.base = image->tss + v->index * TSS_SIZE,
		.limit = TSS_SIZE - 1,
		.selector = (uint16_t)(FIRST_TSS + 16 * v->index),
		.type = 11,
		.present = 1,
	};
	s.gdt.base = GDT_AT;
	s.gdt.limit = FIRST_TSS + 16 * BOARD_CPUS - 1;
	s.idt.limit = 0;
	s.cr0 = CR0;
	s.cr3 = TABLES_AT;
	s.cr4 = CR4;
	s.efer = EFER;
	return ioctl(v->fd, KVM_SET_SREGS, &s) ? failed("KVM_SET_SREGS") : 0;
}

int cpu_set_up(struct vcpu *v)
{
	struct kvm_regs regs = {
		.rip = v->machine->memory.image->entry,
		.rdi = v->index,
		.rflags = 2,
	};

	if (cpu_identify(v) || set_sregs(v))
		return -1;
	return ioctl(v->fd, KVM_SET_REGS, &regs) ? failed("KVM_SET_REGS") : 0;
}
