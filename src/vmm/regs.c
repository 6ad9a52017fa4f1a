/* SPDX-License-Identifier: MIT */
/*
 * Registers of a vCPU that stands between two KVM_RUN. KVM copies them into struct
 * kvm_run at the end of a KVM_RUN that was asked to; one that is to come back at once
 * does no more than that, and so is one call where there would be three, each of which
 * loads the vCPU. (Documentation/virt/kvm/api.rst: KVM_CAP_SYNC_REGS, Linux 4.17;
 * immediate_exit, Linux 4.13.)
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"

#include <errno.h>

#define ALL	(KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)
#define EFER_LMA	(1ull << 10)

/*
 * It was 0, and is again, unless somebody kicks this vCPU just now: whose store may have
 * been this one, and who says that before (bzv_kick()). A monitor that has set it
 * meanwhile hears of this KVM_RUN: behind the fence it sees what it was for.
 */
static void let_go(struct bez_vcpu *vcpu)
{
	__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_RELAXED);
	/* pairs with the one of bzv_kick() */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&vcpu->kickers) || atomic_load(&vcpu->kicked))
		__atomic_store_n(&vcpu->run->immediate_exit, 1,
				 __ATOMIC_RELAXED);
}

static int by_run(struct bez_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const uint64_t valid = run->kvm_valid_regs;
	const uint8_t was = run->immediate_exit;
	long r;

	run->kvm_valid_regs = ALL;
	__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
	r = bzv_sys_run(vcpu->fd);
	run->kvm_valid_regs = valid;
	if (!was)
		let_go(vcpu);
	/* not the guest's: it has not run */
	atomic_store_explicit(&vcpu->has_met, 0, memory_order_relaxed);
	return r == -EINTR ? 0 : r ? (int)r : -EIO;
}

static int by_calls(const struct bez_vcpu *vcpu, struct kvm_sync_regs *all)
{
	long r = bzv_sys_ioctl(vcpu->fd, KVM_GET_REGS, &all->regs);

	if (!r)
		r = bzv_sys_ioctl(vcpu->fd, KVM_GET_SREGS, &all->sregs);
	if (!r)
		r = bzv_sys_ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &all->events);
	return (int)r;
}

int bzv_regs(struct bez_vcpu *vcpu, struct bzv_regs *ret_regs)
{
	const struct kvm_sync_regs *all = &vcpu->run->s.regs;
	const struct kvm_vcpu_events *e;
	struct kvm_sync_regs got;
	int r;

	if (vcpu->vm->sync_regs) {
		r = by_run(vcpu);
	} else {
		r = by_calls(vcpu, &got);
		all = &got;
	}
	if (r)
		return r;
	e = &all->events;
	ret_regs->ip = all->regs.rip;
	/* in 64-bit code there is no segment */
	if (!(all->sregs.efer & EFER_LMA) || !all->sregs.cs.l)
		ret_regs->ip = (uint32_t)(ret_regs->ip + all->sregs.cs.base);
	ret_regs->cr4 = all->sregs.cr4;
	ret_regs->busy = e->exception.injected || e->exception.pending ||
			 e->nmi.injected || e->interrupt.injected;
	return 0;
}

int bzv_can_sync(int kvm_fd)
{
	long has = bzv_sys_ioctl(kvm_fd, KVM_CHECK_EXTENSION,
				 (void *)KVM_CAP_SYNC_REGS);

	return has > 0 && (has & ALL) == ALL;
}
