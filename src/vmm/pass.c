/* SPDX-License-Identifier: MIT */
/*
 * Who has met a page of memory that goes may have its signal still before it: KVM has
 * sent that before its slot went, and it comes with the end of KVM_RUN. Where no region
 * is by then it is nobody's, and the end of the process.
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"

#include <pthread.h>
#include <time.h>

/* All together. A thread may be held in there by who calls us, and fills memory by
 * userfaultfd. */
#define PASS_NS		200000000u
/* Of one who did not come last time. */
#define VAIN_NS		1000000u
#define NAP_NS		20000

/* Since that was @going it was not seen outside. */
static int may_be_in(struct bez_vcpu *vcpu, uint64_t going)
{
	return atomic_load(&vcpu->in_run) != BZV_OUT &&
	       atomic_load_explicit(&vcpu->was_out, memory_order_acquire) < going &&
	       atomic_load(&vcpu->tid) != bzv_sys_tid();
}

static void wait_for(struct bez_vcpu *vcpu, uint64_t going, uint64_t begin)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	uint64_t end = begin + PASS_NS;

	if (atomic_load(&vcpu->in_vain) > atomic_load(&vcpu->was_out))
		end = begin + VAIN_NS;
	while (may_be_in(vcpu, going)) {
		if (bzv_sys_now_ns() >= end) {
			atomic_store(&vcpu->in_vain, going);
			return;
		}
		nanosleep(&nap, NULL);
		/* of such a one nobody says that it is paused, or waits for a lock
		 * that we have */
		if (atomic_load(&vcpu->in_run) == BZV_MAYBE &&
		    bzv_sys_sleeps_outside(atomic_load(&vcpu->tid)))
			return;
	}
}

void bzv_let_pass(struct bez_vm *vm)
{
	const uint64_t going = atomic_fetch_add(&vm->going, 1) + 1;
	const uint64_t begin = bzv_sys_now_ns();
	struct bez_vcpu *vcpu;
	uint32_t i, n;
	int was;

	/* a nap is no place to end in: the count would stay */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	/* none of them goes meanwhile: pairs with bez_vcpu_remove() */
	atomic_fetch_add(&vm->senders, 1);
	n = atomic_load(&vm->vcpus);
	for (i = 0; i < n; i++) {
		vcpu = bzv_vcpu(vm, i);
		if (vcpu && may_be_in(vcpu, going))
			bzv_kick(vcpu);
	}
	for (i = 0; i < n; i++) {
		vcpu = bzv_vcpu(vm, i);
		if (vcpu)
			wait_for(vcpu, going, begin);
	}
	atomic_fetch_sub(&vm->senders, 1);
	pthread_setcancelstate(was, NULL);
}
