/* SPDX-License-Identifier: MIT */
/*
 * KVM_RUN says EFAULT, and not where.
 *
 * So it does of memory that is closed by a mapping which nobody can touch: a cover, over
 * what a file has lost, or after an import where the kernel cannot put poison itself.
 * Nothing was done of the instruction then. What it is about to touch is in its operands:
 * a decoder (capstone) reads them, and the one that lies in lost memory is the answer. If
 * there are two, either is.
 *
 * Not seen so are the guest's own tables in lost memory (those of its pages, segments and
 * interrupts), gathers and what a wide save touches behind its first bytes; then EFAULT is
 * handed on, as it came.
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"

#include <capstone/capstone.h>
#include <stddef.h>
#include <string.h>

#define CR0_PE		1ull
#define EFER_LMA	(1ull << 10)
#define RFLAGS_VM	(1ull << 17)

struct standing {
	struct bez_vcpu *vcpu;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint32_t bits;			/* 16, 32 or 64 */
	uint64_t ip;			/* linear */
};

#define NAMED(r64, r32, r16, field) \
	{ X86_REG_##r64, X86_REG_##r32, X86_REG_##r16, \
	  offsetof(struct kvm_regs, field) }

static const struct {
	x86_reg r64, r32, r16;
	size_t at;
} general[] = {
	NAMED(RAX, EAX, AX, rax), NAMED(RBX, EBX, BX, rbx),
	NAMED(RCX, ECX, CX, rcx), NAMED(RDX, EDX, DX, rdx),
	NAMED(RSI, ESI, SI, rsi), NAMED(RDI, EDI, DI, rdi),
	NAMED(RSP, ESP, SP, rsp), NAMED(RBP, EBP, BP, rbp),
	NAMED(R8, R8D, R8W, r8), NAMED(R9, R9D, R9W, r9),
	NAMED(R10, R10D, R10W, r10), NAMED(R11, R11D, R11W, r11),
	NAMED(R12, R12D, R12W, r12), NAMED(R13, R13D, R13W, r13),
	NAMED(R14, R14D, R14W, r14), NAMED(R15, R15D, R15W, r15),
};

/* 0: it is none that an address is made of. */
static int value(const struct standing *s, x86_reg reg, uint64_t *ret)
{
	size_t i;

	for (i = 0; i < sizeof(general) / sizeof(general[0]); i++) {
		memcpy(ret, (const char *)&s->regs + general[i].at,
		       sizeof(*ret));
		if (reg == general[i].r64)
			return 1;
		*ret = (uint32_t)*ret;
		if (reg == general[i].r32)
			return 1;
		*ret = (uint16_t)*ret;
		if (reg == general[i].r16)
			return 1;
	}
	return 0;
}

static int is_stack(x86_reg reg)
{
	return reg == X86_REG_RSP || reg == X86_REG_ESP || reg == X86_REG_SP ||
	       reg == X86_REG_RBP || reg == X86_REG_EBP || reg == X86_REG_BP;
}

/* Where the segment begins. In 64-bit mode only two of them begin anywhere. */
static uint64_t base_of(const struct standing *s, x86_reg segment, x86_reg base)
{
	if (segment == X86_REG_FS)
		return s->sregs.fs.base;
	if (segment == X86_REG_GS)
		return s->sregs.gs.base;
	if (s->bits == 64)
		return 0;
	switch (segment) {
	case X86_REG_CS:
		return s->sregs.cs.base;
	case X86_REG_ES:
		return s->sregs.es.base;
	case X86_REG_DS:
		return s->sregs.ds.base;
	case X86_REG_SS:
		return s->sregs.ss.base;
	default:
		return is_stack(base) ? s->sregs.ss.base : s->sregs.ds.base;
	}
}

static uint64_t cut(uint64_t n, uint32_t bits)
{
	return bits >= 64 ? n : n & ((1ull << bits) - 1);
}

/* @len bytes, of which the first or the last is lost. */
static int is_lost(const struct standing *s, uint64_t linear, uint64_t len,
		   struct bzv_item *item)
{
	const uint32_t bits = s->bits == 64 ? 64 : 32;

	return bzv_is_lost_linear(s->vcpu, cut(linear, bits), item) ||
	       (len > 1 && bzv_is_lost_linear(s->vcpu,
					      cut(linear + len - 1, bits),
					      item));
}

/* ---------------------------------------------------------------- its operands */

/* A bit's number may lead far away from the operand that it is of. */
static int64_t bits_away(const struct standing *s, const cs_insn *in)
{
	const cs_x86 *x = &in->detail->x86;
	uint64_t nr;

	if ((in->id != X86_INS_BT && in->id != X86_INS_BTS &&
	     in->id != X86_INS_BTR && in->id != X86_INS_BTC) ||
	    x->op_count != 2 || x->operands[1].type != X86_OP_REG ||
	    !value(s, x->operands[1].reg, &nr))
		return 0;
	if (x->operands[1].size == 4)
		return (int32_t)nr >> 3;
	return x->operands[1].size == 2 ? (int16_t)nr >> 3 : (int64_t)nr >> 3;
}

static int operand(const struct standing *s, const cs_insn *in,
		   const cs_x86_op *op, struct bzv_item *item)
{
	uint64_t at = (uint64_t)op->mem.disp, n;

	if (op->mem.base == X86_REG_RIP || op->mem.base == X86_REG_EIP)
		at += s->regs.rip + in->size;
	else if (op->mem.base != X86_REG_INVALID && value(s, op->mem.base, &n))
		at += n;
	else if (op->mem.base != X86_REG_INVALID)
		return 0;
	if (op->mem.index != X86_REG_INVALID &&
	    op->mem.index != X86_REG_RIZ && op->mem.index != X86_REG_EIZ) {
		if (!value(s, op->mem.index, &n))
			return 0;
		at += n * (uint64_t)op->mem.scale;
	}
	at = cut(at + (uint64_t)bits_away(s, in),
		 8u * in->detail->x86.addr_size);
	return is_lost(s, at + base_of(s, op->mem.segment, op->mem.base),
		       op->size, item);
}

/* Those that push and pop do not name it. */
static int stack(const struct standing *s, csh decoder, const cs_insn *in,
		 struct bzv_item *item)
{
	const uint32_t wide = s->bits == 64 ? 64 : s->sregs.ss.db ? 32 : 16;
	const uint64_t base = s->bits == 64 ? 0 : s->sregs.ss.base;
	const uint64_t sp = cut(s->regs.rsp, wide);

	if (!cs_reg_write(decoder, in, X86_REG_RSP) &&
	    !cs_reg_write(decoder, in, X86_REG_ESP) &&
	    !cs_reg_write(decoder, in, X86_REG_SP))
		return 0;
	return is_lost(s, base + sp, s->bits / 8, item) ||
	       is_lost(s, base + cut(sp - s->bits / 8, wide), s->bits / 8, item);
}

/* Nor do these theirs. */
static int unnamed(const struct standing *s, const cs_insn *in,
		   struct bzv_item *item)
{
	const uint32_t wide = 8u * in->detail->x86.addr_size;

	switch (in->id) {
	case X86_INS_XLATB:
		return is_lost(s, cut(s->regs.rbx + (s->regs.rax & 0xff), wide) +
			       base_of(s, X86_REG_INVALID, X86_REG_RBX), 1, item);
	case X86_INS_LEAVE:
		return is_lost(s, cut(s->regs.rbp, wide) +
			       base_of(s, X86_REG_SS, X86_REG_RBP), s->bits / 8,
			       item);
	case X86_INS_MASKMOVQ:
	case X86_INS_MASKMOVDQU:
	case X86_INS_VMASKMOVDQU:
		return is_lost(s, cut(s->regs.rdi, wide) +
			       base_of(s, X86_REG_INVALID, X86_REG_RDI), 16,
			       item);
	default:
		return 0;
	}
}

static int touches(const struct standing *s, csh decoder, const cs_insn *in,
		   struct bzv_item *item)
{
	const cs_x86 *x = &in->detail->x86;
	uint8_t i;

	for (i = 0; i < x->op_count; i++)
		if (x->operands[i].type == X86_OP_MEM &&
		    in->id != X86_INS_LEA && in->id != X86_INS_NOP &&
		    operand(s, in, &x->operands[i], item))
			return 1;
	return unnamed(s, in, item) || stack(s, decoder, in, item);
}

/* ---------------------------------------------------------------- itself */

/* What can be read of it. */
static size_t bytes(const struct standing *s, uint8_t *to)
{
	size_t have = 0, n;

	while (have < BZV_LONGEST) {
		struct kvm_translation t;

		memset(&t, 0, sizeof(t));
		t.linear_address = s->ip + have;
		n = BZV_PAGE - t.linear_address % BZV_PAGE;
		if (n > BZV_LONGEST - have)
			n = BZV_LONGEST - have;
		if (bzv_sys_ioctl(s->vcpu->fd, KVM_TRANSLATE, &t) || !t.valid ||
		    bez_vm_read(s->vcpu->vm, to + have, t.physical_address, n))
			break;
		have += n;
	}
	return have;
}

static int stand(struct standing *s, struct bez_vcpu *vcpu)
{
	const struct kvm_segment *cs = &s->sregs.cs;

	s->vcpu = vcpu;
	if (bzv_sys_ioctl(vcpu->fd, KVM_GET_REGS, &s->regs) ||
	    bzv_sys_ioctl(vcpu->fd, KVM_GET_SREGS, &s->sregs))
		return 0;
	s->bits = !(s->sregs.cr0 & CR0_PE) || (s->regs.rflags & RFLAGS_VM) ? 16 :
		  (s->sregs.efer & EFER_LMA) && cs->l ? 64 : cs->db ? 32 : 16;
	s->ip = s->bits == 64 ? s->regs.rip :
				cut(cs->base + s->regs.rip, 32);
	return 1;
}

enum bzv_exit bzv_silent(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	enum bzv_exit is = BZV_EXIT_YOURS;
	uint8_t code[BZV_LONGEST];
	struct standing s;
	const uint8_t *at = code;
	uint64_t address = 0;
	cs_insn *in = NULL;
	csh decoder;
	size_t len;

	if ((vcpu->run->flags & BZV_RUN_GUEST_MODE) || !stand(&s, vcpu))
		return BZV_EXIT_YOURS;
	if (cs_open(CS_ARCH_X86, s.bits == 64 ? CS_MODE_64 : s.bits == 32 ?
		    CS_MODE_32 : CS_MODE_16, &decoder) != CS_ERR_OK)
		return BZV_EXIT_YOURS;
	len = bytes(&s, code);
	if (cs_option(decoder, CS_OPT_DETAIL, CS_OPT_ON) == CS_ERR_OK)
		in = cs_malloc(decoder);
	if (in && cs_disasm_iter(decoder, &at, &len, &address, in)) {
		if (touches(&s, decoder, in, item))
			is = BZV_EXIT_OURS;
	} else if (in && is_lost(&s, s.ip + len, 1, item)) {
		item->fetch = 1;	/* it ends there */
		is = BZV_EXIT_OURS;
	}
	if (in)
		cs_free(in, 1);
	cs_close(&decoder);
	if (is == BZV_EXIT_OURS)
		item->error = BEZ_VM_ERROR_SRAR;
	return is;
}
