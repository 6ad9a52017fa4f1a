/* SPDX-License-Identifier: MIT */
/*
 * A load that KVM has begun to emulate is undone.
 *
 * KVM has no call to drop what it has left of an instruction after KVM_EXIT_MMIO: it
 * goes on with the next KVM_RUN, with whatever bytes it finds. But what is left can be
 * made to do nothing: with page tables that hold nothing all its further accesses
 * fault, and then the registers are put back.
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EFER_LMA	(1ull << 10)
#define CR0_PG		(1ull << 31)
#define ROUNDS		4096		/* of one instruction: REP MOVS of a page */
#define RUN_GUEST_MODE	(1u << 2)	/* KVM_RUN_X86_GUEST_MODE, Linux 6.9 */
#define LOWEST		(1ull << 20)

#ifndef KVM_CAP_XSAVE2			/* Linux 5.17 */
#define KVM_CAP_XSAVE2	208
#define KVM_GET_XSAVE2	_IOR(KVMIO, 0xcf, struct kvm_xsave)
#endif

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

/* All of it is tried: the worst that can remain is the empty page table. */
static int restore(struct bez_vcpu *vcpu, struct saved *s)
{
	long r = bzv_sys_ioctl(vcpu->fd, KVM_SET_SREGS, &s->sregs), q;

	q = bzv_sys_ioctl(vcpu->fd, KVM_SET_XSAVE, s->xsave);
	r = r ? r : q;
	q = bzv_sys_ioctl(vcpu->fd, KVM_SET_REGS, &s->regs);
	r = r ? r : q;
	/* and with it what the rest has raised; but not an NMI that came since */
	s->events.flags &= ~(uint32_t)KVM_VCPUEVENT_VALID_NMI_PENDING;
	q = bzv_sys_ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &s->events);
	return (int)(r ? r : q);
}

/* Of the guest's addresses, the highest page where no memory is. 0: none. */
static uint64_t nowhere(const struct bez_vm *vm)
{
	const uint32_t said = atomic_load_explicit(&vm->wide,
						   memory_order_relaxed);
	const uint32_t wide = said > 12 && said < 52 ? said : 36;
	uint64_t at = (1ull << wide) - BZV_PAGE;
	struct bzv_piece p;

	while (at >= LOWEST && !bzv_order_find(&vm->slots.by_gpa, at, &p)) {
		if (p.start < BZV_PAGE)
			return 0;
		at = p.start - BZV_PAGE;
	}
	return at >= LOWEST ? at : 0;
}

/*
 * Only in long mode do all accesses go by the page tables that are taken away. In a
 * guest of the guest the fault would be its hypervisor's.
 */
static int can(const struct bez_vcpu *vcpu, const struct saved *s)
{
	return (s->sregs.efer & EFER_LMA) && (s->sregs.cr0 & CR0_PG) &&
	       !(vcpu->run->flags & RUN_GUEST_MODE);
}

/* Run what is left of it, to no effect. */
static int finish(struct bez_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const uint64_t regs = run->kvm_valid_regs;
	long r = 0;
	int i;

	/* the monitor's copy of the registers stays as it is, and so is right */
	run->kvm_valid_regs = 0;
	for (i = 0; i < ROUNDS && !r; i++) {
		if (run->exit_reason == KVM_EXIT_MMIO)
			memset(run->mmio.data, 0, sizeof(run->mmio.data));
		/* is cleared after one more KVM_RUN, as any kick */
		bzv_kick(vcpu);
		r = bzv_sys_run(vcpu->fd);
	}
	run->kvm_valid_regs = regs;
	return r == -EINTR ? 0 : -EIO;
}

int bzv_undo(struct bez_vcpu *vcpu)
{
	struct saved s = { .xsave = NULL };
	struct kvm_sregs empty;
	int r = save(vcpu, &s);

	if (!r && !can(vcpu, &s))
		r = -EOPNOTSUPP;
	if (!r) {
		empty = s.sregs;
		empty.cr3 = nowhere(vcpu->vm);
		r = empty.cr3 ? (int)bzv_sys_ioctl(vcpu->fd, KVM_SET_SREGS,
						   &empty) : -ENOSPC;
		if (!r)
			r = finish(vcpu);
		if (restore(vcpu, &s))
			r = -EIO;
	}
	free(s.xsave);
	return r;
}
