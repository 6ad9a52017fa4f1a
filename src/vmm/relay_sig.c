/* SPDX-License-Identifier: MIT */
/*
 * In the handler of libbezoar: is this loss the guest's?
 *
 * Where a guest touches a page that is lost KVM sends its thread a SIGBUS that is not
 * forced, and KVM_RUN returns; the handler runs on top of what comes after the system
 * call. So the registers tell: the last instruction was `syscall`, and its arguments
 * were a vCPU of ours and KVM_RUN. (arch/x86/kvm/mmu/mmu.c, kvm_send_hwpoison_signal();
 * System V ABI, A.2.1: only rax, rcx and r11 are changed.) It is the same if the
 * machine check came while the guest ran: that is made an exit, and the signal is
 * delivered on the way back. All else is the monitor's own access.
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"

#include <errno.h>
#include <string.h>
#include <ucontext.h>

/* The one that this thread runs, and so one that stays. */
static struct bez_vcpu *find(struct bez_vm *vm, int fd)
{
	struct bez_vcpu *ret = NULL;
	uint32_t n, i;

	/* before the others are looked at: pairs with bez_vcpu_remove() */
	atomic_fetch_add(&vm->senders, 1);
	n = atomic_load(&vm->vcpus);
	for (i = 0; i < n && !ret; i++) {
		struct bez_vcpu *vcpu = atomic_load(&vm->vcpu[i]);

		if (vcpu && vcpu->fd == fd)
			ret = vcpu;
	}
	atomic_fetch_sub(&vm->senders, 1);
	return ret;
}

static struct bez_vcpu *in_kvm_run(struct bez_vm *vm, const void *context)
{
	static const unsigned char call[2] = { 0x0f, 0x05 };	/* syscall */
	const ucontext_t *uc = context;
	const greg_t *reg = uc->uc_mcontext.gregs;

	if ((uint32_t)reg[REG_RSI] != KVM_RUN ||
	    memcmp((const char *)reg[REG_RIP] - sizeof(call), call,
		   sizeof(call)))
		return NULL;
	return find(vm, (int)reg[REG_RDI]);
}

/*
 * Who clears immediate_exit is the vCPU's thread, which knows by `kicked` that it was us.
 * So that is set last: a thread that comes in between leaves KVM_RUN once more,
 * and never again and again.
 */
void bzv_kick(struct bez_vcpu *vcpu)
{
	const struct bez_vm_options *o = &vcpu->vm->o;
	int32_t tid;

	/* before the rest: pairs with let_go() in regs.c */
	atomic_fetch_add(&vcpu->kickers, 1);
	/* what it is to look at before this: pairs with the beginning of
	 * bez_vcpu_deliver() */
	atomic_thread_fence(memory_order_seq_cst);
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELAXED);
	atomic_store(&vcpu->kicked, 1);
	atomic_fetch_sub(&vcpu->kickers, 1);
	/* who comes to run it later finds immediate_exit */
	tid = atomic_load(&vcpu->tid);
	if (!tid || tid == bzv_sys_tid())
		return;			/* is not in KVM_RUN */
	if (o->kick)
		o->kick(vcpu, o->kick_arg);
	else if (o->kick_signal)
		bzv_sys_kill(tid, o->kick_signal);
}

int bzv_post(struct bez_vm *vm, struct bez_vcpu *vcpu,
	     const struct bzv_item *item)
{
	uint32_t n, i;
	int ret = -ENOENT;

	/* before it is looked for: pairs with bez_vcpu_remove() */
	atomic_fetch_add(&vm->senders, 1);
	n = atomic_load(&vm->vcpus);
	for (i = 0; i < n && ret; i++) {
		struct bez_vcpu *v = atomic_load(&vm->vcpu[i]);

		if (!v || (vcpu && v != vcpu))
			continue;
		ret = bzv_inbox_put(&v->inbox, item);
		bzv_kick(v);
	}
	if (ret == -ENOSPC)
		atomic_fetch_add_explicit(&vm->count[BEZ_VM_OUTCOME_FULL], 1,
					  memory_order_relaxed);
	atomic_fetch_sub(&vm->senders, 1);
	return ret;
}

int bzv_relay(const struct bez_lost *lost, const void *context, void *arg)
{
	struct bez_vm *vm = arg;
	struct bzv_item item = {
		.time_ns = bzv_sys_now_ns(),
		.hva = (uint64_t)lost->touched,
		.width = lost->width,
		.restart = 1,
		.at_ip = 1,
	};
	struct bez_vcpu *vcpu;

	if (!context) {
		item.error = BEZ_VM_ERROR_SRAO;
		return !bzv_post(vm, NULL, &item);
	}
	item.error = BEZ_VM_ERROR_SRAR;
	item.by_signal = 1;
	vcpu = in_kvm_run(vm, context);
	if (!vcpu)
		return 0;
	vcpu->met = item;
	/* on its own thread: pairs with bzv_delivered() */
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&vcpu->has_met, 1, memory_order_relaxed);
	return 1;
}
