/* SPDX-License-Identifier: MIT */
/*
 * Who has met a page of memory that goes may have its signal still before it: KVM has
 * sent that before its slot went, and it comes with the end of KVM_RUN. Where no region
 * is by then it is nobody's, and the end of the process.
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"

#include <time.h>

/* Together. A thread may be held in there by who calls us: who fills memory by userfaultfd,
 * or has a lock that it wants before bez_vcpu_deliver(). */
#define PASS_NS		200000000u
#define NAP_NS		20000

/* Since then a call of KVM_RUN has ended, or there was none. */
static int has_passed(struct bez_vcpu *vcpu, uint64_t then)
{
	return !(then & 1) ||
	       atomic_load_explicit(&vcpu->passes, memory_order_acquire) != then;
}

static int is_in_vain(struct bez_vcpu *vcpu, uint64_t then)
{
	return atomic_load(&vcpu->tid) == bzv_sys_tid() ||
	       atomic_load(&vcpu->in_vain) == then;
}

static void wait_for(struct bez_vcpu *vcpu, uint64_t end)
{
	const uint64_t then = atomic_load_explicit(&vcpu->passes,
						   memory_order_acquire);
	const struct timespec nap = { .tv_nsec = NAP_NS };

	if (has_passed(vcpu, then) || is_in_vain(vcpu, then))
		return;
	bzv_kick(vcpu);
	while (!has_passed(vcpu, then)) {
		/* nor by the next one, unless it has moved */
		if (bzv_sys_now_ns() >= end) {
			atomic_store(&vcpu->in_vain, then);
			return;
		}
		nanosleep(&nap, NULL);
	}
}

void bzv_let_pass(struct bez_vm *vm)
{
	const uint64_t end = bzv_sys_now_ns() + PASS_NS;
	uint32_t i;

	/* none of them goes meanwhile: pairs with bez_vcpu_remove() */
	atomic_fetch_add(&vm->senders, 1);
	for (i = 0; i < atomic_load(&vm->vcpus); i++) {
		struct bez_vcpu *vcpu = bzv_vcpu(vm, i);

		if (vcpu)
			wait_for(vcpu, end);
	}
	atomic_fetch_sub(&vm->senders, 1);
}
