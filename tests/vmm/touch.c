/* SPDX-License-Identifier: MIT */
/* What an instruction is about to touch, of every way to say that. */
#include "vmm/pure/touch.h"

#include "tap.h"

#include <string.h>

#define IP	0x7010ull
#define FS	0x100000000ull
#define ES	0x30000ull
#define SS	0x40000ull
#define DS	0x50000ull

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12 };

/* They differ in each part. */
#define R(i)	(0x000001101000c0f1ull + (uint64_t)(i) * 0x101003111ull)

static struct bzv_standing at;
static struct bzv_touch touch[BZV_TOUCHES];

static void stand(uint32_t bits)
{
	const uint64_t base[] = { ES, 0, SS, DS, FS, 0x200000000ull };
	uint32_t i;

	for (i = 0; i < 16; i++)
		at.gpr[i] = R(i);
	memcpy(at.base, base, sizeof(base));
	at.bits = at.sp_bits = (uint8_t)bits;
	at.rip = IP;
}

/* ---------------------------------------------------------------- by the manual */

static const struct says {
	const char *what;
	uint32_t bits;
	uint8_t len, code[15];
	uint64_t first, last;		/* of the bytes that it touches */
} says[] = {
	{ "mov (%rdi), %al", 64, 2, { 0x8a, 0x07 }, R(RDI), R(RDI) },
	{ "mov %rax, 0x12345678(%rbx,%rcx,8)", 64, 8,
	  { 0x48, 0x89, 0x84, 0xcb, 0x78, 0x56, 0x34, 0x12 },
	  R(RBX) + 8 * R(RCX) + 0x12345678,
	  R(RBX) + 8 * R(RCX) + 0x12345678 + 7 },
	{ "mov -8(%rbp), %eax", 64, 3, { 0x8b, 0x45, 0xf8 }, R(RBP) - 8,
	  R(RBP) - 5 },
	{ "mov 0x100(%rip), %eax", 64, 6, { 0x8b, 0x05, 0, 1, 0, 0 },
	  IP + 6 + 0x100, IP + 6 + 0x103 },
	{ "mov (%r12), %rax", 64, 4, { 0x49, 0x8b, 0x04, 0x24 }, R(R12),
	  R(R12) + 7 },
	{ "mov (%r8d), %eax", 64, 4, { 0x67, 0x41, 0x8b, 0x00 }, (uint32_t)R(R8),
	  (uint32_t)R(R8) + 3 },
	{ "mov %fs:0x28, %rax", 64, 9,
	  { 0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0 }, FS + 0x28,
	  FS + 0x2f },
	{ "mov %ds:(%rsi), %al", 64, 3, { 0x3e, 0x8a, 0x06 }, R(RSI),
	  R(RSI) },
	{ "movabs 0x1122334455667788, %al", 64, 9,
	  { 0xa0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11 },
	  0x1122334455667788, 0x1122334455667788 },
	{ "rep movsb, from", 64, 2, { 0xf3, 0xa4 }, R(RSI), R(RSI) },
	{ "rep movsb, to", 64, 2, { 0xf3, 0xa4 }, R(RDI), R(RDI) },
	{ "stosq", 64, 2, { 0x48, 0xab }, R(RDI), R(RDI) + 7 },
	{ "push %rax", 64, 1, { 0x50 }, R(RSP) - 8, R(RSP) - 1 },
	{ "pop %rax", 64, 1, { 0x58 }, R(RSP), R(RSP) + 7 },
	{ "call", 64, 5, { 0xe8, 0, 0, 0, 0 }, R(RSP) - 8, R(RSP) - 1 },
	{ "ret", 64, 1, { 0xc3 }, R(RSP), R(RSP) + 7 },
	{ "call *(%rax), where to", 64, 2, { 0xff, 0x10 }, R(RAX),
	  R(RAX) + 7 },
	{ "call *(%rax), where from", 64, 2, { 0xff, 0x10 }, R(RSP) - 8,
	  R(RSP) - 1 },
	{ "lock bts %rcx, (%rdx)", 64, 5, { 0xf0, 0x48, 0x0f, 0xab, 0x0a },
	  R(RDX) + (R(RCX) >> 6) * 8, R(RDX) + (R(RCX) >> 6) * 8 + 7 },
	{ "bt %cx, (%rdx), down", 64, 4, { 0x66, 0x0f, 0xa3, 0x0a },
	  R(RDX) + (uint64_t)((int16_t)R(RCX) >> 4) * 2,
	  R(RDX) + (uint64_t)((int16_t)R(RCX) >> 4) * 2 + 1 },
	{ "bt $5, (%rdx)", 64, 4, { 0x0f, 0xba, 0x22, 0x05 }, R(RDX),
	  R(RDX) + 3 },
	{ "movdqu (%r9), %xmm1", 64, 5, { 0xf3, 0x41, 0x0f, 0x6f, 0x09 },
	  R(R9), R(R9) + 15 },
	{ "vmovdqu (%rax), %ymm0", 64, 4, { 0xc5, 0xfe, 0x6f, 0x00 }, R(RAX),
	  R(RAX) + 31 },
	{ "vmovdqu64 (%rax), %zmm0", 64, 6,
	  { 0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x00 }, R(RAX), R(RAX) + 63 },
	{ "cmpxchg16b (%rdi)", 64, 4, { 0x48, 0x0f, 0xc7, 0x0f }, R(RDI),
	  R(RDI) + 15 },
	{ "clflush (%rdi)", 64, 3, { 0x0f, 0xae, 0x3f }, R(RDI), R(RDI) },
	{ "xlat", 64, 1, { 0xd7 }, R(RBX) + (uint8_t)R(RAX),
	  R(RBX) + (uint8_t)R(RAX) },
	{ "leave", 64, 1, { 0xc9 }, R(RBP), R(RBP) + 7 },
	{ "mov (%ebx), %al, 32", 32, 2, { 0x8a, 0x03 }, DS + (uint32_t)R(RBX),
	  DS + (uint32_t)R(RBX) },
	{ "mov (%ebp), %al, 32", 32, 3, { 0x8a, 0x45, 0 }, SS + (uint32_t)R(RBP),
	  SS + (uint32_t)R(RBP) },
	{ "mov %es:(%ebx), %al, 32", 32, 3, { 0x26, 0x8a, 0x03 },
	  ES + (uint32_t)R(RBX), ES + (uint32_t)R(RBX) },
	{ "stosl, 32", 32, 1, { 0xab }, ES + (uint32_t)R(RDI), ES + (uint32_t)R(RDI) + 3 },
	{ "push %eax, 32", 32, 1, { 0x50 }, SS + (uint32_t)R(RSP) - 4,
	  SS + (uint32_t)R(RSP) - 1 },
	{ "mov (%bx), %al, 16", 16, 2, { 0x8a, 0x07 }, DS + (uint16_t)R(RBX),
	  DS + (uint16_t)R(RBX) },
	{ "mov (%bx,%si), %ax, 16", 16, 2, { 0x8b, 0x00 },
	  DS + (uint16_t)(R(RBX) + R(RSI)),
	  DS + (uint16_t)(R(RBX) + R(RSI)) + 1 },
	{ "push %ax, 16", 16, 1, { 0x50 }, SS + (uint16_t)R(RSP) - 2,
	  SS + (uint16_t)R(RSP) - 1 },
	{ "vpcmpeqb (%rdi), %zmm16, %k0", 64, 6,
	  { 0x62, 0xf1, 0x7d, 0x40, 0x74, 0x07 }, R(RDI), R(RDI) + 63 },
	{ "vpcmpeqb 0x80(%rdi), %ymm16, %k0", 64, 7,
	  { 0x62, 0xf1, 0x7d, 0x20, 0x74, 0x47, 0x04 }, R(RDI) + 0x80,
	  R(RDI) + 0x80 + 31 },
	{ "vpaddd 8(%rdi){1to16}, %zmm1, %zmm0", 64, 7,
	  { 0x62, 0xf1, 0x75, 0x58, 0xfe, 0x47, 0x02 }, R(RDI) + 8,
	  R(RDI) + 11 },
	{ "vmovdqu8 (%r9,%r10,2), %zmm20", 64, 7,
	  { 0x62, 0x81, 0x7f, 0x48, 0x6f, 0x24, 0x51 },
	  R(R9) + 2 * R(R10), R(R9) + 2 * R(R10) + 63 },
	{ "vbroadcasti128 (%rdi), %ymm0", 64, 5, { 0xc4, 0xe2, 0x7d, 0x5a, 0x07 },
	  R(RDI), R(RDI) + 15 },
	{ "cmpl $1, 0x100(%rip)", 64, 10,
	  { 0x81, 0x3d, 0, 1, 0, 0, 1, 0, 0, 0 }, IP + 10 + 0x100,
	  IP + 10 + 0x103 },
	{ "push %fs", 64, 2, { 0x0f, 0xa0 }, R(RSP) - 8, R(RSP) - 1 },
	{ "pop (%rsp)", 64, 3, { 0x8f, 0x04, 0x24 }, R(RSP) + 8, R(RSP) + 15 },
	{ "fxsave (%rdi)", 64, 3, { 0x0f, 0xae, 0x07 }, R(RDI), R(RDI) + 511 },
	{ "iretq", 64, 2, { 0x48, 0xcf }, R(RSP), R(RSP) + 39 },
	{ "pusha, 32", 32, 1, { 0x60 }, SS + (uint32_t)R(RSP) - 32,
	  SS + (uint32_t)R(RSP) - 1 },
	{ "push %es, 32", 32, 1, { 0x06 }, SS + (uint32_t)R(RSP) - 4,
	  SS + (uint32_t)R(RSP) - 1 },
	{ "lcall *(%rdi)", 64, 2, { 0xff, 0x1f }, R(RDI), R(RDI) + 5 },
};

static int has(int count, uint64_t first, uint64_t last)
{
	int i;

	for (i = 0; i < count; i++)
		if (touch[i].linear == first &&
		    touch[i].linear + touch[i].len - 1 >= last &&
		    touch[i].linear + touch[i].len - 1 <= last + 31)
			return 1;
	return 0;
}

static void manual(void)
{
	size_t i;

	for (i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		const struct says *s = &says[i];

		stand(s->bits);
		CHECKF(has(bzv_touched(&at, s->code, s->len, touch), s->first,
			   s->last), "%s: %#llx, %u", s->what,
		       (unsigned long long)touch[0].linear, touch[0].len);
	}
}

/* Their last bytes cannot be read: nothing is made up. */
static void cut_off(void)
{
	size_t i, len;

	for (i = 0; i < sizeof(says) / sizeof(says[0]); i++)
		for (len = 0; len < says[i].len; len++) {
			stand(says[i].bits);
			CHECK(bzv_touched(&at, says[i].code, len, touch) >= 0);
		}
	stand(64);
	CHECK_EQ(bzv_touched(&at, says[0].code, 1, touch), 0);
	CHECK_EQ(bzv_touched(&at, says[1].code, 7, touch), 0);
}

/* What looks like memory and is not touched; what is none; what is many. */
static void nothing(void)
{
	static const struct {
		const char *what;
		uint8_t len, code[15];
	} of[] = {
		{ "lea (%rdi), %rax", 3, { 0x48, 0x8d, 0x07 } },
		{ "nopl (%rdi)", 3, { 0x0f, 0x1f, 0x07 } },
		{ "prefetcht0 (%rdi)", 3, { 0x0f, 0x18, 0x0f } },
		{ "invlpg (%rdi)", 3, { 0x0f, 0x01, 0x3f } },
		{ "add %rcx, %rax", 3, { 0x48, 0x01, 0xc8 } },
		{ "ud2", 2, { 0x0f, 0x0b } },
		{ "06 is none", 1, { 0x06 } },
		{ "mov $1, %eax", 5, { 0xb8, 1, 0, 0, 0 } },
		{ "jmp", 2, { 0xeb, 0 } },
		{ "vzeroupper", 3, { 0xc5, 0xf8, 0x77 } },
		{ "vgatherdps", 6, { 0xc4, 0xe2, 0x69, 0x92, 0x04, 0x0f } },
		{ "vpscatterdd", 7,
		  { 0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x04, 0x87 } },
	};
	size_t i;

	stand(64);
	for (i = 0; i < sizeof(of) / sizeof(of[0]); i++)
		CHECKF(bzv_touched(&at, of[i].code, of[i].len, touch) == 0,
		       "%s", of[i].what);
	at.gpr[RCX] = 0;
	CHECK_EQ(bzv_touched(&at, (const uint8_t *)"\xf3\xa4", 2, touch), 0);
	CHECK_EQ(bzv_touched(&at, (const uint8_t *)"\xa4", 1, touch), 2);
}

/* Whatever a guest has there. */
static void any_bytes(void)
{
	static const uint32_t bits[] = { 16, 32, 64 };
	uint64_t x = 88172645463325252ull;
	uint32_t i, found = 0;
	int n, k;

	for (i = 0; i < 3000000; i++) {
		uint8_t code[16];
		size_t j;

		for (j = 0; j < sizeof(code); j += 8) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			memcpy(code + j, &x, 8);
		}
		stand(bits[i % 3]);
		n = bzv_touched(&at, code, x % 16, touch);
		CHECK(n >= 0 && n <= BZV_TOUCHES);
		for (k = 0; k < n; k++)
			CHECK(touch[k].len && touch[k].len <= 4096 &&
			      (at.bits == 64 ||
			       touch[k].linear <= UINT32_MAX));
		found += n > 0;
	}
	CHECK(found > 500000);
}

static const struct tap_case cases[] = {
	{ .name = "by the manual", .run = manual },
	{ .name = "cut off", .run = cut_off },
	{ .name = "nothing is touched", .run = nothing },
	{ .name = "any bytes", .run = any_bytes },
};
TAP_MAIN(cases)
