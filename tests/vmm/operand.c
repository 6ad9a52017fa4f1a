/* SPDX-License-Identifier: MIT */
/*
 * What an instruction is about to touch, of every way to say that: the calls below are
 * doubled, and write down which addresses are asked about.
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"

#include "tap.h"

#include <errno.h>
#include <string.h>

#define PAGE	0x7000ull		/* the only one that can be read */
#define IP	(PAGE + 0x10)
#define NONE	~0ull
#define FS	0x100000000ull
#define ES	0x30000ull
#define SS	0x40000ull
#define DS	0x50000ull

static struct {
	uint32_t bits;
	uint8_t code[15];
	uint64_t lost;			/* an address; NONE */
	int asked;			/* how often */
	uint64_t highest;		/* of what was asked */
	int refuses;			/* KVM_GET_REGS */
} is;

static struct kvm_regs regs;
static struct kvm_run run;

long bzv_sys_ioctl(int fd, unsigned long request, void *arg)
{
	struct kvm_translation *t = arg;
	struct kvm_sregs *s = arg;

	(void)fd;
	switch (request) {
	case KVM_GET_REGS:
		memcpy(arg, &regs, sizeof(regs));
		return is.refuses ? -EIO : 0;
	case KVM_GET_SREGS:
		memset(s, 0, sizeof(*s));
		s->cr0 = is.bits > 16;
		s->efer = is.bits == 64 ? 1u << 10 : 0;
		s->cs.l = is.bits == 64;
		s->cs.db = s->ss.db = is.bits == 32;
		s->fs.base = FS;
		s->es.base = ES;
		s->ss.base = SS;
		s->ds.base = DS;
		return 0;
	case KVM_TRANSLATE:
		t->valid = t->linear_address - PAGE < 0x1000;
		t->physical_address = t->linear_address;
		return 0;
	default:
		return -ENOTTY;
	}
}

size_t bez_vm_read(struct bez_vm *vm, void *to, uint64_t gpa, size_t len)
{
	(void)vm;
	CHECK(gpa >= regs.rip && gpa + len <= regs.rip + sizeof(is.code) &&
	      gpa + len <= PAGE + 0x1000);
	memcpy(to, is.code + (gpa - regs.rip), len);
	return 0;
}

int bzv_is_lost_linear(struct bez_vcpu *vcpu, uint64_t linear,
		       struct bzv_item *item)
{
	(void)vcpu;
	(void)item;
	is.asked++;
	if (linear > is.highest)
		is.highest = linear;
	return linear == is.lost;
}

/* Registers that differ in each part; in the order of struct kvm_regs. */
#define R64(i)	(0x0000011000004000ull + (uint64_t)(i) * 0x101000101ull)
#define R32(i)	((uint32_t)R64(i))
#define R16(i)	((uint16_t)R64(i))

enum { RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8, R9, R10, R11, R12 };

static void fill(void)
{
	uint64_t r[16], i;

	memset(&regs, 0, sizeof(regs));
	for (i = 0; i < 16; i++)
		r[i] = R64(i);
	memcpy(&regs, r, sizeof(r));
	regs.rip = IP;
}

static enum bzv_exit ask(const uint8_t *code, size_t len, uint64_t lost,
			 struct bzv_item *item)
{
	static struct bez_vcpu vcpu;

	memset(item, 0, sizeof(*item));
	vcpu.run = &run;
	memset(is.code, 0x90, sizeof(is.code));
	memcpy(is.code, code, len);
	is.lost = lost;
	is.asked = 0;
	is.highest = 0;
	return bzv_silent(&vcpu, item);
}

/* ---------------------------------------------------------------- by the manual */

static const struct says {
	const char *what;
	uint32_t bits;
	uint8_t len, code[15];
	uint64_t first, last;		/* of the bytes that it touches */
} says[] = {
	{ "mov (%rdi), %al", 64, 2, { 0x8a, 0x07 }, R64(RDI), R64(RDI) },
	{ "mov %rax, 0x12345678(%rbx,%rcx,8)", 64, 8,
	  { 0x48, 0x89, 0x84, 0xcb, 0x78, 0x56, 0x34, 0x12 },
	  R64(RBX) + 8 * R64(RCX) + 0x12345678,
	  R64(RBX) + 8 * R64(RCX) + 0x12345678 + 7 },
	{ "mov -8(%rbp), %eax", 64, 3, { 0x8b, 0x45, 0xf8 }, R64(RBP) - 8,
	  R64(RBP) - 5 },
	{ "mov 0x100(%rip), %eax", 64, 6, { 0x8b, 0x05, 0, 1, 0, 0 },
	  IP + 6 + 0x100, IP + 6 + 0x103 },
	{ "mov (%r12), %rax", 64, 4, { 0x49, 0x8b, 0x04, 0x24 }, R64(R12),
	  R64(R12) + 7 },
	{ "mov (%r8d), %eax", 64, 4, { 0x67, 0x41, 0x8b, 0x00 }, R32(R8),
	  R32(R8) + 3 },
	{ "mov %fs:0x28, %rax", 64, 9,
	  { 0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0 }, FS + 0x28,
	  FS + 0x2f },
	{ "mov %ds:(%rsi), %al", 64, 3, { 0x3e, 0x8a, 0x06 }, R64(RSI),
	  R64(RSI) },
	{ "movabs 0x1122334455667788, %al", 64, 9,
	  { 0xa0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11 },
	  0x1122334455667788, 0x1122334455667788 },
	{ "rep movsb, from", 64, 2, { 0xf3, 0xa4 }, R64(RSI), R64(RSI) },
	{ "rep movsb, to", 64, 2, { 0xf3, 0xa4 }, R64(RDI), R64(RDI) },
	{ "stosq", 64, 2, { 0x48, 0xab }, R64(RDI), R64(RDI) + 7 },
	{ "push %rax", 64, 1, { 0x50 }, R64(RSP) - 8, R64(RSP) - 1 },
	{ "pop %rax", 64, 1, { 0x58 }, R64(RSP), R64(RSP) + 7 },
	{ "call", 64, 5, { 0xe8, 0, 0, 0, 0 }, R64(RSP) - 8, R64(RSP) - 1 },
	{ "ret", 64, 1, { 0xc3 }, R64(RSP), R64(RSP) + 7 },
	{ "call *(%rax), where to", 64, 2, { 0xff, 0x10 }, R64(RAX),
	  R64(RAX) + 7 },
	{ "call *(%rax), where from", 64, 2, { 0xff, 0x10 }, R64(RSP) - 8,
	  R64(RSP) - 1 },
	{ "lock bts %rcx, (%rdx)", 64, 5, { 0xf0, 0x48, 0x0f, 0xab, 0x0a },
	  R64(RDX) + (R64(RCX) >> 3), R64(RDX) + (R64(RCX) >> 3) + 7 },
	{ "bt $5, (%rdx)", 64, 4, { 0x0f, 0xba, 0x22, 0x05 }, R64(RDX),
	  R64(RDX) + 3 },
	{ "movdqu (%r9), %xmm1", 64, 5, { 0xf3, 0x41, 0x0f, 0x6f, 0x09 },
	  R64(R9), R64(R9) + 15 },
	{ "vmovdqu (%rax), %ymm0", 64, 4, { 0xc5, 0xfe, 0x6f, 0x00 }, R64(RAX),
	  R64(RAX) + 31 },
	{ "vmovdqu64 (%rax), %zmm0", 64, 6,
	  { 0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x00 }, R64(RAX), R64(RAX) + 63 },
	{ "cmpxchg16b (%rdi)", 64, 4, { 0x48, 0x0f, 0xc7, 0x0f }, R64(RDI),
	  R64(RDI) + 15 },
	{ "clflush (%rdi)", 64, 3, { 0x0f, 0xae, 0x3f }, R64(RDI), R64(RDI) },
	{ "xlat", 64, 1, { 0xd7 }, R64(RBX) + (R64(RAX) & 0xff),
	  R64(RBX) + (R64(RAX) & 0xff) },
	{ "leave", 64, 1, { 0xc9 }, R64(RBP), R64(RBP) + 7 },
	{ "mov (%ebx), %al, 32", 32, 2, { 0x8a, 0x03 }, DS + R32(RBX),
	  DS + R32(RBX) },
	{ "mov (%ebp), %al, 32", 32, 3, { 0x8a, 0x45, 0 }, SS + R32(RBP),
	  SS + R32(RBP) },
	{ "mov %es:(%ebx), %al, 32", 32, 3, { 0x26, 0x8a, 0x03 },
	  ES + R32(RBX), ES + R32(RBX) },
	{ "stosl, 32", 32, 1, { 0xab }, ES + R32(RDI), ES + R32(RDI) + 3 },
	{ "push %eax, 32", 32, 1, { 0x50 }, SS + R32(RSP) - 4,
	  SS + R32(RSP) - 1 },
	{ "mov (%bx), %al, 16", 16, 2, { 0x8a, 0x07 }, DS + R16(RBX),
	  DS + R16(RBX) },
	{ "mov (%bx,%si), %ax, 16", 16, 2, { 0x8b, 0x00 },
	  DS + (uint16_t)(R16(RBX) + R16(RSI)),
	  DS + (uint16_t)(R16(RBX) + R16(RSI)) + 1 },
	{ "push %ax, 16", 16, 1, { 0x50 }, SS + R16(RSP) - 2,
	  SS + R16(RSP) - 1 },
};

static void manual(void)
{
	struct bzv_item item;
	size_t i;

	fill();
	for (i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		const struct says *s = &says[i];

		is.bits = s->bits;
		CHECKF(ask(s->code, s->len, s->first, &item) == BZV_EXIT_OURS,
		       "%s", s->what);
		CHECK_EQ(item.error, BEZ_VM_ERROR_SRAR);
		CHECK_EQ(item.fetch, 0);
		CHECKF(ask(s->code, s->len, s->last, &item) == BZV_EXIT_OURS,
		       "%s, its last byte", s->what);
		CHECKF(ask(s->code, s->len, NONE, &item) == BZV_EXIT_YOURS,
		       "%s, and nothing is lost", s->what);
		CHECK_EQ(item.error, BEZ_VM_ERROR_NONE);
	}
}

/* What looks like memory and is not touched; what no decoder knows; an index that is
 * many. */
static void nothing(void)
{
	static const struct {
		uint8_t len, code[15];
	} of[] = {
		{ 3, { 0x48, 0x8d, 0x07 } },		/* lea (%rdi), %rax */
		{ 3, { 0x0f, 0x1f, 0x07 } },		/* nopl (%rdi) */
		{ 3, { 0x48, 0x01, 0xc8 } },		/* add %rcx, %rax */
		{ 2, { 0x0f, 0x0b } },			/* ud2 */
		{ 1, { 0x06 } },			/* none in 64 bits */
		{ 6, { 0xc4, 0xe2, 0x69, 0x92, 0x04, 0x0f } }, /* vgatherdps */
	};
	struct bzv_item item;
	size_t i;

	fill();
	is.bits = 64;
	for (i = 0; i < sizeof(of) / sizeof(of[0]); i++)
		CHECKF(ask(of[i].code, of[i].len, R64(RDI), &item) ==
		       BZV_EXIT_YOURS, "%zu", i);
	is.refuses = 1;
	CHECK_EQ(ask(says[0].code, says[0].len, R64(RDI), &item),
		 BZV_EXIT_YOURS);
	is.refuses = 0;
}

/* Its own end cannot be read: at each of its bytes. */
static void fetched(void)
{
	const struct says *s = &says[1];
	struct bzv_item item;
	size_t len;

	fill();
	is.bits = 64;
	for (len = 0; len <= s->len; len++) {
		regs.rip = PAGE + 0x1000 - len;
		CHECK_EQ(ask(s->code, s->len, PAGE + 0x1000, &item),
			 len < s->len ? BZV_EXIT_OURS : BZV_EXIT_YOURS);
		CHECK_EQ(item.fetch, len < s->len);
	}
	regs.rip = PAGE + 0x1000;
	run.flags = BZV_RUN_GUEST_MODE;
	CHECK_EQ(ask(s->code, s->len, regs.rip, &item), BZV_EXIT_YOURS);
	run.flags = 0;
}

/* Whatever a guest has there. */
static void any_bytes(void)
{
	static const uint32_t bits[] = { 16, 32, 64 };
	uint64_t x = 88172645463325252ull;
	struct bzv_item item;
	uint32_t i;
	int asked = 0;

	fill();
	for (i = 0; i < 300000; i++) {
		uint8_t code[16];
		size_t at;

		for (at = 0; at < sizeof(code); at += 8) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			memcpy(code + at, &x, 8);
		}
		is.bits = bits[i % 3];
		CHECK_EQ(ask(code, 15, NONE, &item), BZV_EXIT_YOURS);
		CHECK(is.bits == 64 || is.highest <= UINT32_MAX);
		asked += is.asked;
	}
	CHECK(asked > 100000);
}

static const struct tap_case cases[] = {
	{ .name = "by the manual", .run = manual },
	{ .name = "nothing is touched", .run = nothing },
	{ .name = "it cannot be read itself", .run = fetched },
	{ .name = "any bytes", .run = any_bytes },
};
TAP_MAIN(cases)
