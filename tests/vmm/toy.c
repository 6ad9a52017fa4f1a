/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "toy.h"

#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

/* In the guest's low memory. */
#define TOY_PML4	0x1000ul
#define TOY_PDPT	0x2000ul
#define TOY_PD		0x3000ul	/* four of them: 4 GiB in pages of 2 MiB */
#define TOY_GDT		0x7000ul
#define TOY_IDT		0x8000ul
#define TOY_CODE	0x9000ul
#define TOY_MAIL	0xa000ul	/* a page for each vCPU */
#define TOY_STACK	0x10000ul	/* the first ends here */

#define CODE_SEL	0x08
#define DATA_SEL	0x10

extern const char toy_guest[], toy_guest_end[], toy_on_mc[];
extern const char toy_load[], toy_store[], toy_add[], toy_wide[], toy_copy[],
	toy_call[], toy_spin[], toy_halt[], toy_store16[];
extern const char toy_at_load[], toy_at_store[], toy_at_add[], toy_at_wide[],
	toy_at_copy[], toy_at_spin[], toy_at_store16[];

static uint64_t there(const char *label)
{
	return TOY_CODE + (uint64_t)(label - toy_guest);
}

void toy_need(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		tap_skip("/dev/kvm: %s", strerror(errno));
	if (ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MCE) <= 0)
		tap_skip("this KVM has no machine checks (KVM_CAP_MCE)");
	close(kvm);
}

void toy_slot(struct toy *toy, uint32_t slot, uint64_t gpa, void *hva,
	      size_t len, uint32_t flags)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot, .flags = flags, .guest_phys_addr = gpa,
		.memory_size = len, .userspace_addr = (uintptr_t)hva,
	};

	CHECK_EQ(ioctl(toy->vm, KVM_SET_USER_MEMORY_REGION, &r), 0);
}

static void put(struct toy *toy, uint64_t at, uint64_t value)
{
	memcpy(toy->low + at, &value, sizeof(value));
}

static void fill_low(struct toy *toy)
{
	const uint64_t handler = there(toy_on_mc);
	uint64_t i;

	put(toy, TOY_PML4, TOY_PDPT | 3);
	for (i = 0; i < 4; i++)
		put(toy, TOY_PDPT + 8 * i, (TOY_PD + i * 0x1000) | 3);
	for (i = 0; i < 4 * 512; i++)
		put(toy, TOY_PD + 8 * i, i << 21 | 0x83);
	put(toy, TOY_GDT + CODE_SEL, 0x00af9b000000ffff);
	put(toy, TOY_GDT + DATA_SEL, 0x00cf93000000ffff);
	/* an interrupt gate, on the stack that is there */
	put(toy, TOY_IDT + 18 * 16,
	    (handler & 0xffff) | (uint64_t)CODE_SEL << 16 |
	    0x8eull << 40 | (handler >> 16 & 0xffff) << 48);
	put(toy, TOY_IDT + 18 * 16 + 8, handler >> 32);
	CHECK((size_t)(toy_guest_end - toy_guest) <= 0x1000);
	memcpy(toy->low + TOY_CODE, toy_guest,
	       (size_t)(toy_guest_end - toy_guest));
}

void toy_make(struct toy *toy, int vcpus)
{
	int i;

	memset(toy, 0, sizeof(*toy));
	toy->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	CHECK(toy->kvm >= 0);
	toy->vm = ioctl(toy->kvm, KVM_CREATE_VM, 0);
	CHECKF(toy->vm >= 0, "KVM_CREATE_VM: %s", strerror(errno));
	CHECK_EQ(ioctl(toy->vm, KVM_SET_TSS_ADDR, 0xfffbd000), 0);
	CHECK_EQ(ioctl(toy->vm, KVM_CREATE_IRQCHIP, 0), 0);
	toy->low = mmap(NULL, TOY_LOW, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(toy->low != MAP_FAILED);
	fill_low(toy);
	toy_slot(toy, 0, 0, toy->low, TOY_LOW, 0);
	toy->run_len = (size_t)ioctl(toy->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	for (i = 0; i < vcpus; i++) {
		toy->vcpu[i] = ioctl(toy->vm, KVM_CREATE_VCPU, i);
		CHECK(toy->vcpu[i] >= 0);
		toy->run[i] = mmap(NULL, toy->run_len, PROT_READ | PROT_WRITE,
				   MAP_SHARED, toy->vcpu[i], 0);
		CHECK(toy->run[i] != MAP_FAILED);
	}
}

void toy_unmake(struct toy *toy)
{
	int i;

	for (i = 0; i < TOY_VCPUS && toy->run[i]; i++) {
		munmap(toy->run[i], toy->run_len);
		close(toy->vcpu[i]);
	}
	close(toy->vm);
	close(toy->kvm);
	munmap(toy->low, TOY_LOW);
}

void toy_cpuid(struct toy *toy, int vcpu, const char *vendor)
{
	struct {
		uint32_t nent, pad;	/* struct kvm_cpuid2, with room */
		struct kvm_cpuid_entry2 entry[256];
	} all = { .nent = 256 };
	uint32_t i;

	if (!vendor)
		return;
	CHECK_EQ(ioctl(toy->kvm, KVM_GET_SUPPORTED_CPUID, &all), 0);
	for (i = 0; i < all.nent; i++) {
		struct kvm_cpuid_entry2 *e = &all.entry[i];

		if (e->function && e->function != 0x80000000)
			continue;
		memcpy(&e->ebx, vendor, 4);
		memcpy(&e->edx, vendor + 4, 4);
		memcpy(&e->ecx, vendor + 8, 4);
	}
	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_SET_CPUID2, &all), 0);
}

void toy_boot(struct toy *toy, int vcpu)
{
	struct kvm_segment code = {
		.base = 0, .limit = 0xffffffff, .selector = CODE_SEL,
		.type = 11, .present = 1, .s = 1, .l = 1, .g = 1,
	}, data = {
		.base = 0, .limit = 0xffffffff, .selector = DATA_SEL,
		.type = 3, .present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs s;

	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_GET_SREGS, &s), 0);
	s.cr0 = 0x80050033;		/* PG, WP, NE, ET, MP, PE... */
	s.cr3 = TOY_PML4;
	s.cr4 = 1u << 5 | 1u << 6 | 1u << 9;	/* PAE, MCE, OSFXSR */
	s.efer = 1u << 8 | 1u << 10;		/* LME, LMA */
	s.gdt.base = TOY_GDT;
	s.gdt.limit = 0x17;
	s.idt.base = TOY_IDT;
	s.idt.limit = 19 * 16 - 1;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_SET_SREGS, &s), 0);
	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_SET_MP_STATE, &state), 0);
}

static const struct {
	const char *entry, *touches;
} ops[TOY_OPS] = {
	[TOY_LOAD] = { toy_load, toy_at_load },
	[TOY_STORE] = { toy_store, toy_at_store },
	[TOY_ADD] = { toy_add, toy_at_add },
	[TOY_WIDE] = { toy_wide, toy_at_wide },
	[TOY_STORE16] = { toy_store16, toy_at_store16 },
	[TOY_COPY] = { toy_copy, toy_at_copy },
	[TOY_CALL] = { toy_call, NULL },
	[TOY_SPIN] = { toy_spin, toy_at_spin },
	[TOY_HALT] = { toy_halt, NULL },
};

void toy_begin(struct toy *toy, int vcpu, enum toy_op op, uint64_t rdi,
	       uint64_t rsi, uint64_t rcx)
{
	struct kvm_regs r = {
		.rip = there(ops[op].entry),
		.rsp = TOY_STACK + 0x4000ul * (uint64_t)vcpu,
		.rdi = rdi, .rsi = rsi, .rcx = rcx, .rflags = 2,
		.r15 = TOY_MAIL + 0x1000ul * (uint64_t)vcpu,
	};

	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_SET_REGS, &r), 0);
}

int toy_run(struct toy *toy, int vcpu)
{
	return ioctl(toy->vcpu[vcpu], KVM_RUN, 0) ? -errno : 0;
}

int toy_port(const struct toy *toy, int vcpu)
{
	const struct kvm_run *run = toy->run[vcpu];

	return run->exit_reason == KVM_EXIT_IO ? run->io.port : 0;
}

struct toy_mc *toy_mc(struct toy *toy, int vcpu)
{
	return (struct toy_mc *)(toy->low + TOY_MAIL + 0x1000 * vcpu);
}

uint64_t toy_rip(enum toy_op op)
{
	return there(ops[op].touches);
}

void toy_regs(struct toy *toy, int vcpu, struct kvm_regs *ret_regs)
{
	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_GET_REGS, ret_regs), 0);
}

union one_msr {
	struct kvm_msrs head;
	char room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

uint64_t toy_msr(struct toy *toy, int vcpu, uint32_t index)
{
	union one_msr m = { .head.nmsrs = 1 };

	m.head.entries[0].index = index;
	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_GET_MSRS, &m), 1);
	return m.head.entries[0].data;
}

void toy_set_msr(struct toy *toy, int vcpu, uint32_t index, uint64_t value)
{
	union one_msr m = { .head.nmsrs = 1 };

	m.head.entries[0].index = index;
	m.head.entries[0].data = value;
	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_SET_MSRS, &m), 1);
}

void toy_cr4_mce(struct toy *toy, int vcpu, int on)
{
	struct kvm_sregs s;

	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_GET_SREGS, &s), 0);
	s.cr4 = on ? s.cr4 | 1u << 6 : s.cr4 & ~(1ull << 6);
	CHECK_EQ(ioctl(toy->vcpu[vcpu], KVM_SET_SREGS, &s), 0);
}
