/* SPDX-License-Identifier: MIT */
/*
 * Exits of KVM_RUN that are poison.
 *
 * Where KVM cannot read memory of the guest and the kernel does not say that it is
 * lost (no memory failure in it, a page that was closed by UFFDIO_POISON or has no
 * access), it takes the access for one to a device: KVM_EXIT_MMIO. To complete
 * that would hand the guest a byte that nobody wrote. KVM has no call to drop it; but
 * what is left of the instruction can be made to do nothing: with page tables
 * that hold nothing all its further accesses fault, and then the registers are put
 * back. So for a load the guest stands before it, as at a real machine check.
 *
 * A store was retired before the exit: the guest stands behind it, the bytes are lost
 * with the page, and the guest is told that it cannot go on there (RIPV clear).
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EFER_LMA	(1ull << 10)
#define CR0_PG		(1ull << 31)
#define EMULATION	1		/* KVM_INTERNAL_ERROR_EMULATION */
#define ROUNDS		4096		/* of one instruction: REP MOVS of a page */

#ifndef KVM_CAP_XSAVE2			/* Linux 5.17 */
#define KVM_CAP_XSAVE2	208
#define KVM_GET_XSAVE2	_IOR(KVMIO, 0xcf, struct kvm_xsave)
#endif

/* Linux 6.8: behind the head of struct kvm_run */
struct memory_fault {
	uint64_t flags, gpa, size;
};

/* Does the monitor get its own bytes there? The safe copy enters it as lost if
 * it does not. */
static int is_lost(void *hva)
{
	unsigned char byte;

	return bez_lost_in(hva, 1) || bez_copy(&byte, hva, 1);
}

/* ------------------------------------------------------- an instruction undone */

struct saved {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	struct kvm_xsave *xsave;
};

static int save(struct bez_vcpu *vcpu, struct saved *s)
{
	long size = bzv_sys_ioctl(vcpu->vm->o.vm_fd, KVM_CHECK_EXTENSION,
				  (void *)KVM_CAP_XSAVE2);
	const int more = size > (long)sizeof(*s->xsave);
	long r;

	s->xsave = calloc(1, more ? (size_t)size : sizeof(*s->xsave));
	if (!s->xsave)
		return -ENOMEM;
	r = bzv_sys_ioctl(vcpu->fd, more ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
			  s->xsave);
	if (!r)
		r = bzv_sys_ioctl(vcpu->fd, KVM_GET_REGS, &s->regs);
	if (!r)
		r = bzv_sys_ioctl(vcpu->fd, KVM_GET_SREGS, &s->sregs);
	if (!r)
		r = bzv_sys_ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &s->events);
	return (int)r;
}

static int restore(struct bez_vcpu *vcpu, struct saved *s)
{
	long r = bzv_sys_ioctl(vcpu->fd, KVM_SET_SREGS, &s->sregs);

	if (!r)
		r = bzv_sys_ioctl(vcpu->fd, KVM_SET_XSAVE, s->xsave);
	if (!r)
		r = bzv_sys_ioctl(vcpu->fd, KVM_SET_REGS, &s->regs);
	if (!r)			/* and with it what the rest has raised */
		r = bzv_sys_ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &s->events);
	return (int)r;
}

/* Of the guest's addresses, a page where nothing is. 0: none was found. */
static uint64_t nowhere(const struct bez_vm *vm)
{
	uint64_t at = 1ull << 32;
	struct bzv_piece p;

	while (at < 1ull << 36 && !bzv_order_next(&vm->slots.by_gpa, at, &p)) {
		if (p.start > at)
			return at;
		at = p.end;
	}
	return at < 1ull << 36 ? at : 0;
}

/* Run what is left of it, to no effect. */
static int finish(struct bez_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t was = run->immediate_exit;
	long r = 0;
	int i;

	for (i = 0; i < ROUNDS && !r; i++) {
		if (run->exit_reason == KVM_EXIT_MMIO)
			memset(run->mmio.data, 0, sizeof(run->mmio.data));
		run->immediate_exit = 1;
		r = bzv_sys_run(vcpu->fd);
	}
	/* somebody may have wanted it meanwhile */
	run->immediate_exit = was || atomic_load(&vcpu->kicked);
	return r == -EINTR ? 0 : -EIO;
}

static int undo(struct bez_vcpu *vcpu)
{
	struct saved s = { .xsave = NULL };
	struct kvm_sregs empty;
	int r = save(vcpu, &s);

	if (!r && (!(s.sregs.efer & EFER_LMA) || !(s.sregs.cr0 & CR0_PG)))
		r = -EOPNOTSUPP;
	if (!r) {
		empty = s.sregs;
		empty.cr3 = nowhere(vcpu->vm);
		r = empty.cr3 ? (int)bzv_sys_ioctl(vcpu->fd, KVM_SET_SREGS,
						   &empty) : -ENOSPC;
	}
	if (!r) {
		r = finish(vcpu);
		if (restore(vcpu, &s))
			r = -EIO;
	}
	free(s.xsave);
	return r;
}

/* ---------------------------------------------------------------- each exit */

static int is_readonly_store(const struct bez_vcpu *vcpu,
			     const struct bzv_piece *slot)
{
	return (slot->flags & BEZ_VM_MAP_READ_ONLY) &&
	       vcpu->run->mmio.is_write;
}

/* Nothing is wrong with the memory (any more): the store is done here, the load
 * by the guest once more. */
static void do_again(struct bez_vcpu *vcpu, void *hva, struct bzv_item *item)
{
	struct kvm_run *run = vcpu->run;

	if (run->mmio.is_write && bez_copy(hva, run->mmio.data, run->mmio.len))
		item->error = BEZ_VM_ERROR_SRAR;
}

static int mmio(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	const struct kvm_run *run = vcpu->run;
	struct bzv_piece slot;
	uint8_t *hva;
	int store = run->mmio.is_write;

	if (bzv_order_find(&vcpu->vm->slots.by_gpa, run->mmio.phys_addr,
			   &slot) || is_readonly_store(vcpu, &slot))
		return 0;
	hva = (uint8_t *)slot.other + (run->mmio.phys_addr - slot.start);
	item->hva = (uint64_t)hva;
	if (is_lost(hva) ||
	    (run->mmio.len > 1 && is_lost(hva + run->mmio.len - 1)))
		item->error = BEZ_VM_ERROR_SRAR;
	else
		do_again(vcpu, hva, item);
	item->restart = item->at_ip = !store;
	item->undone = store ? finish(vcpu) : undo(vcpu);
	return 1;
}

static int memory_fault(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	struct memory_fault fault;
	struct bzv_piece slot;

	/* the union behind the head */
	memcpy(&fault, &vcpu->run->hw, sizeof(fault));
	if ((fault.flags & BZV_MEMORY_FAULT_PRIVATE) ||
	    bzv_order_find(&vcpu->vm->slots.by_gpa, fault.gpa, &slot))
		return 0;
	item->hva = slot.other + (fault.gpa - slot.start);
	if (!is_lost((void *)item->hva))
		return 0;
	item->error = BEZ_VM_ERROR_SRAR;
	return 1;
}

/* KVM cannot fetch the instruction that it was to emulate. */
static int fetch(struct bez_vcpu *vcpu, struct bzv_item *item)
{
	struct kvm_translation at;
	struct bzv_piece slot;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	if (vcpu->run->internal.suberror != EMULATION ||
	    bzv_sys_ioctl(vcpu->fd, KVM_GET_REGS, &regs) ||
	    bzv_sys_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return 0;
	memset(&at, 0, sizeof(at));
	at.linear_address = regs.rip + sregs.cs.base;
	if (bzv_sys_ioctl(vcpu->fd, KVM_TRANSLATE, &at) || !at.valid ||
	    bzv_order_find(&vcpu->vm->slots.by_gpa, at.physical_address, &slot))
		return 0;
	item->hva = slot.other + (at.physical_address - slot.start);
	if (!is_lost((void *)item->hva))
		return 0;
	item->error = BEZ_VM_ERROR_SRAR;
	item->fetch = 1;
	return 1;
}

int bzv_exit_is_poison(struct bez_vcpu *vcpu, int ran,
		       struct bzv_item *ret_item)
{
	struct bzv_item item = { .restart = 1, .at_ip = 1 };
	int is = 0;

	if (!ran && vcpu->run->exit_reason == KVM_EXIT_MMIO)
		is = mmio(vcpu, &item);
	else if (!ran && vcpu->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		is = fetch(vcpu, &item);
	else if ((ran == -EFAULT || ran == -EHWPOISON) &&
		 vcpu->run->exit_reason == BZV_EXIT_MEMORY_FAULT)
		is = memory_fault(vcpu, &item);
	if (!is)
		return 0;
	item.time_ns = bzv_sys_now_ns();
	*ret_item = item;
	return 1;
}
