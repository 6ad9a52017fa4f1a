/* SPDX-License-Identifier: MIT */
/*
 * KVM_RUN says EFAULT, and not where.
 *
 * So it does of memory that is closed by a mapping which nobody can touch: a cover, over
 * what a file has lost, or after an import where the kernel cannot put poison itself.
 * Nothing was done of the instruction then. What it is about to touch is read from it
 * (pure/touch.c), and what of that is entered as lost is the answer; to look whether
 * more is lost would bring in, or even condemn, what it may never touch.
 *
 * Not seen so are the guest's own tables in lost memory (those of its pages, segments and
 * interrupts), gathers and scatters; then EFAULT is handed on, as it came.
 */
#include "vmm/vmm.h"
#include "vmm/pure/touch.h"
#include "vmm/sys.h"

#include <string.h>

#define CR0_PE		1ull
#define EFER_LMA	(1ull << 10)
#define RFLAGS_VM	(1ull << 17)
#define RUN_SMM		1u		/* KVM_RUN_X86_SMM: memory of its own */
#define AGAIN_NS	10000000u

static int is_lost(struct bez_vcpu *vcpu, uint64_t linear, struct bzv_item *item)
{
	return bzv_sees(vcpu, linear, item) &&
	       bez_lost_in((void *)item->hva, 1);
}

static int touches_lost(struct bez_vcpu *vcpu, const struct bzv_touch *touch,
			int count, uint64_t all, struct bzv_item *item)
{
	int i;

	for (i = 0; i < count; i++)
		if (is_lost(vcpu, touch[i].linear, item) ||
		    (touch[i].len > 1 &&
		     is_lost(vcpu, (touch[i].linear + touch[i].len - 1) & all,
			     item)))
			return 1;
	return 0;
}

/* What can be read of the instruction: where the monitor has closed its page itself a
 * load would be the monitor's end. */
static size_t bytes(struct bez_vcpu *vcpu, uint64_t ip, uint8_t *to)
{
	size_t have = 0, n;

	while (have < BZV_LONGEST) {
		struct bzv_item item;

		n = BZV_PAGE - (ip + have) % BZV_PAGE;
		if (n > BZV_LONGEST - have)
			n = BZV_LONGEST - have;
		if (!bzv_sees(vcpu, ip + have, &item) ||
		    bez_lost_in((void *)item.hva, 1) ||
		    bez_recover((void *)item.hva, n) ||
		    bez_vm_read(vcpu->vm, to + have, item.gpa, n))
			break;
		have += n;
	}
	return have;
}

static void stands(const struct kvm_regs *r, const struct kvm_sregs *s,
		   struct bzv_standing *ret)
{
	const uint64_t gpr[] = {
		r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
		r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15,
	};
	const uint64_t base[] = { s->es.base, s->cs.base, s->ss.base,
				  s->ds.base, s->fs.base, s->gs.base };

	ret->bits = !(s->cr0 & CR0_PE) || (r->rflags & RFLAGS_VM) ? 16 :
		    (s->efer & EFER_LMA) && s->cs.l ? 64 : s->cs.db ? 32 : 16;
	ret->sp_bits = ret->bits == 64 ? 64 : s->ss.db ? 32 : 16;
	memcpy(ret->gpr, gpr, sizeof(gpr));
	memcpy(ret->base, base, sizeof(base));
	ret->rip = r->rip;
}

/* What was lost when KVM met it may have been made good by another thread since. */
static enum bzv_exit once_more(struct bez_vcpu *vcpu, uint64_t ip)
{
	const uint64_t now = bzv_sys_now_ns();

	if (vcpu->again_ip == ip && now - vcpu->again_ns < AGAIN_NS)
		return BZV_EXIT_YOURS;
	vcpu->again_ip = ip;
	vcpu->again_ns = now;
	return BZV_EXIT_AGAIN;
}

enum bzv_exit bzv_silent(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	struct bzv_touch touch[BZV_TOUCHES];
	uint8_t code[BZV_LONGEST];
	struct bzv_standing at;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	uint64_t ip, all;
	size_t len;
	int count;

	if ((vcpu->run->flags & RUN_SMM) ||
	    bzv_sys_ioctl(vcpu->fd, KVM_GET_REGS, &regs) ||
	    bzv_sys_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return BZV_EXIT_YOURS;
	stands(&regs, &sregs, &at);
	all = at.bits == 64 ? ~0ull : 0xffffffff;
	ip = at.bits == 64 ? at.rip : (at.base[BZV_CS] + at.rip) & all;
	len = bytes(vcpu, ip, code);
	count = bzv_touched(&at, code, len, touch);
	if (touches_lost(vcpu, touch, count, all, item)) {
		item->error = BEZ_VM_ERROR_SRAR;
		return BZV_EXIT_OURS;
	}
	if (len < BZV_LONGEST && is_lost(vcpu, (ip + len) & all, item)) {
		item->error = BEZ_VM_ERROR_SRAR;
		item->fetch = 1;
		return BZV_EXIT_OURS;
	}
	return once_more(vcpu, ip);
}
