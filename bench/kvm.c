/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define BANK	9
#define CR4_MCE	(1u << 6)

static int slot(struct kvm *k, uint32_t nr, uint64_t gpa, void *hva, size_t len)
{
	struct kvm_userspace_memory_region r = {
		.slot = nr, .guest_phys_addr = gpa, .memory_size = len,
		.userspace_addr = (uintptr_t)hva,
	};

	return ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &r) ? -errno : 0;
}

static char *memory(size_t len)
{
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	madvise(at, len, MADV_NOHUGEPAGE);
	memset(at, 1, len);
	return at;
}

/* As any monitor does it: who looks for it finds none otherwise, and looks again. */
static int cpuid(const struct kvm *k)
{
	size_t room = 256 * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *all = calloc(1, sizeof(*all) + room);
	int r;

	if (!all)
		return -ENOMEM;
	all->nent = 256;
	r = ioctl(k->kvm, KVM_GET_SUPPORTED_CPUID, all) ||
	    ioctl(k->vcpu, KVM_SET_CPUID2, all) ? -errno : 0;
	free(all);
	return r;
}

int kvm_make(struct kvm *k, enum kvm_guest guest)
{
	static const unsigned char spins[] = { 0xeb, 0xfe };	/* jmp . */
	static const unsigned char leaves[] = { 0xe6, 0x10, 0xeb, 0xfc };
	size_t len;
	int r;

	memset(k, 0, sizeof(*k));
	k->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (k->kvm < 0)
		return -ENODEV;
	k->vm = ioctl(k->kvm, KVM_CREATE_VM, 0);
	k->code = memory(4096);
	k->memory = memory(KVM_MEMORY_LEN);
	if (k->vm < 0 || !k->code || !k->memory)
		return -ENOMEM;
	ioctl(k->vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	if (guest == KVM_SPINS)
		memcpy(k->code, spins, sizeof(spins));
	else
		memcpy(k->code, leaves, sizeof(leaves));
	r = slot(k, 0, KVM_CODE, k->code, 4096);
	if (!r)
		r = slot(k, 1, KVM_MEMORY, k->memory, KVM_MEMORY_LEN);
	if (r)
		return r;
	k->vcpu = ioctl(k->vm, KVM_CREATE_VCPU, 0);
	len = (size_t)ioctl(k->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	k->run = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, k->vcpu, 0);
	return k->vcpu < 0 || k->run == MAP_FAILED ? -ENOMEM : cpuid(k);
}

int kvm_ready(struct kvm *k)
{
	struct kvm_regs regs = { .rip = KVM_CODE, .rflags = 2 };
	struct kvm_sregs s;

	if (ioctl(k->vcpu, KVM_GET_SREGS, &s))
		return -errno;
	s.cs.base = 0;
	s.cs.selector = 0;
	s.cr4 |= CR4_MCE;
	return ioctl(k->vcpu, KVM_SET_SREGS, &s) ||
	       ioctl(k->vcpu, KVM_SET_REGS, &regs) ? -errno : 0;
}

int kvm_no_mce(struct kvm *k)
{
	struct {
		uint32_t nmsrs, pad;	/* struct kvm_msrs, with room */
		struct kvm_msr_entry entry[2];
	} msrs = { .nmsrs = 2 };
	struct kvm_vcpu_events events;

	msrs.entry[0].index = 0x17a;
	msrs.entry[1].index = 0x401 + 4 * BANK;
	if (ioctl(k->vcpu, KVM_SET_MSRS, &msrs) != 2 ||
	    ioctl(k->vcpu, KVM_GET_VCPU_EVENTS, &events))
		return -EIO;
	events.exception.injected = events.exception.pending = 0;
	return ioctl(k->vcpu, KVM_SET_VCPU_EVENTS, &events) ? -errno : 0;
}
