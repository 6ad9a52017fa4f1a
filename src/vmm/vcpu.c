/* SPDX-License-Identifier: MIT */
/* A vCPU: its machine checks, the thread that runs it, what is reported to it. */
#include "vmm/vmm.h"
#include "vmm/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <sched.h>

#define MCG_CTL_P	(1ull << 8)
#define MCG_CMCI_P	(1ull << 10)
#define MCG_LMCE_P	(1ull << 27)
#define LEAST_BANKS	3

/* The number of the vCPU that this thread has run last: it is attached, and known to
 * be that one's thread. */
static __thread int32_t me __attribute__((tls_model("initial-exec")));
static __thread uint64_t mine __attribute__((tls_model("initial-exec")));
static _Atomic uint64_t numbers;

/*
 * KVM_X86_SETUP_MCE: MCG_CAP; it sets MCG_CTL and each MCi_CTL to all ones. What is not
 * supported cannot be asked for.
 */
static int set_up(struct bez_vcpu *vcpu)
{
	const struct bez_vm_options *o = &vcpu->vm->o;
	uint64_t wanted = MCG_CTL_P | BZV_MCG_SER_P;
	int r;

	if (o->flags & BEZ_VM_LMCE)
		wanted |= MCG_LMCE_P;
	if (o->flags & BEZ_VM_CMCI)
		wanted |= MCG_CMCI_P;
	vcpu->mcg_cap = (vcpu->vm->mcg_supported & wanted) | o->banks;
	if (!(o->flags & BEZ_VM_KEEP_MCE)) {
		r = (int)bzv_sys_ioctl(vcpu->fd, KVM_X86_SETUP_MCE,
				       &vcpu->mcg_cap);
		/* on AMD's processors KVM takes recovery (SER_P) out again */
		return r ? r : bzv_cpu_cap(vcpu);
	}
	r = bzv_cpu_cap(vcpu);
	/* without recovery no error of this kind makes sense to Intel's */
	if (!r && ((!(vcpu->mcg_cap & BZV_MCG_SER_P) &&
		    vcpu->kind.vendor == BEZ_VM_VENDOR_INTEL) ||
		   (uint8_t)vcpu->mcg_cap < LEAST_BANKS))
		r = -EINVAL;
	return r;
}

/* The caller has the lock. *@ret_index: the lowest that none has. */
static int can_enlist(struct bez_vm *vm, int fd, uint32_t *ret_index)
{
	uint32_t n = atomic_load(&vm->vcpus), free_one = n, i;

	for (i = 0; i < n; i++) {
		struct bez_vcpu *other = bzv_vcpu(vm, i);

		if (other && other->fd == fd)
			return -EEXIST;
		if (!other && free_one == n)
			free_one = i;
	}
	*ret_index = free_one;
	return free_one == vm->o.max_vcpus ? -ENOSPC : 0;
}

static void enlist(struct bez_vm *vm, struct bez_vcpu *vcpu)
{
	/* the vCPU before it is seen: pairs with bzv_vcpu() */
	atomic_store_explicit(&vm->vcpu[vcpu->index], vcpu,
			      memory_order_release);
	if (vcpu->index == atomic_load(&vm->vcpus))
		atomic_store(&vm->vcpus, vcpu->index + 1);
	vm->alive++;
}

int bez_vcpu_add(struct bez_vm *vm, int vcpu_fd, void *run,
			    struct bez_vcpu **ret_vcpu)
{
	struct bez_vcpu *vcpu;
	int r;

	if (!vm || !run || !ret_vcpu || vcpu_fd < 0)
		return -EINVAL;
	vcpu = calloc(1, sizeof(*vcpu));
	if (!vcpu)
		return -ENOMEM;
	vcpu->vm = vm;
	vcpu->number = atomic_fetch_add(&numbers, 1) + 1;
	vcpu->fd = vcpu_fd;
	vcpu->run = run;
	bzv_inbox_init(&vcpu->inbox);
	pthread_mutex_lock(&vm->lock);
	/* before anything of it is changed */
	r = can_enlist(vm, vcpu_fd, &vcpu->index);
	if (!r) {
		bzv_cpu_kind(vcpu);
		r = set_up(vcpu);
	}
	if (!r)
		enlist(vm, vcpu);
	pthread_mutex_unlock(&vm->lock);
	if (r) {
		free(vcpu);
		return r;
	}
	*ret_vcpu = vcpu;
	return 0;
}

/* What waits for it is another's. Not under the lock: who is told of what no other has
 * room for may call anything. */
static void hand_over(struct bez_vcpu *gone)
{
	struct bzv_item item;
	uint32_t i;
	int r;

	for (i = 0; i < gone->waiting; i++) {
		r = bzv_post(gone->vm, NULL, &gone->wait[i]);
		if (r)
			bzv_dropped(gone, &gone->wait[i], r);
	}
	while (!bzv_inbox_take(&gone->inbox, &item)) {
		r = bzv_post(gone->vm, NULL, &item);
		if (r)
			bzv_dropped(gone, &item, r);
	}
}

int bez_vcpu_remove(struct bez_vcpu *vcpu)
{
	struct bez_vm *vm;

	if (!vcpu)
		return 0;
	vm = vcpu->vm;
	if (atomic_load(&vcpu->inside))
		return -EBUSY;
	pthread_mutex_lock(&vm->lock);
	pthread_mutex_lock(&vm->round_lock);
	atomic_store(&vm->vcpu[vcpu->index], NULL);
	pthread_mutex_unlock(&vm->round_lock);
	pthread_mutex_unlock(&vm->lock);
	/* who has found it before that: pairs with bzv_post() and find(); all
	 * others look with one of the locks held */
	while (atomic_load(&vm->senders))
		sched_yield();
	hand_over(vcpu);
	free(vcpu);
	/* the machine is there until then */
	pthread_mutex_lock(&vm->lock);
	vm->alive--;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

uint32_t bez_vcpu_index(const struct bez_vcpu *vcpu)
{
	return vcpu->index;
}

/* Another thread may have run it in between. */
static int is_mine(const struct bez_vcpu *vcpu)
{
	return mine == vcpu->number &&
	       atomic_load_explicit(&vcpu->tid, memory_order_relaxed) == me;
}

static int settle(struct bez_vcpu *vcpu, int attach)
{
	int r = attach ? bez_thread_attach() : 0;

	if (r)
		return r;
	me = bzv_sys_tid();
	atomic_store(&vcpu->tid, me);
	mine = vcpu->number;
	return 0;
}

/* Out of KVM_RUN, and of the handler of what was met there: pairs with
 * bzv_let_pass(). */
static void is_out(struct bez_vcpu *vcpu)
{
	atomic_store_explicit(&vcpu->was_out,
			      atomic_load(&vcpu->vm->going),
			      memory_order_release);
}

int bez_vcpu_run(struct bez_vcpu *vcpu)
{
	int ran, r;

	if (!is_mine(vcpu)) {
		r = settle(vcpu, 1);
		if (r)
			return r;
	}
	atomic_store_explicit(&vcpu->inside, 1, memory_order_relaxed);
	/* the monitor may have cleared what was ours as well */
	if (atomic_load_explicit(&vcpu->kicked, memory_order_relaxed))
		__atomic_store_n(&vcpu->run->immediate_exit, 1,
				 __ATOMIC_RELAXED);
	vcpu->by_run = 1;
	atomic_store_explicit(&vcpu->in_run, BZV_IN, memory_order_relaxed);
	ran = (int)bzv_sys_run(vcpu->fd);
	atomic_store_explicit(&vcpu->in_run, BZV_OUT, memory_order_release);
	is_out(vcpu);
	r = bzv_delivered(vcpu, ran);
	atomic_store_explicit(&vcpu->inside, 0, memory_order_release);
	return r;
}

int bez_vcpu_deliver(struct bez_vcpu *vcpu, int ran)
{
	int r;

	if (!is_mine(vcpu))
		settle(vcpu, 0);
	atomic_store_explicit(&vcpu->inside, 1, memory_order_relaxed);
	is_out(vcpu);
	/* nobody says when it is in there again */
	if (!vcpu->by_run)
		atomic_store_explicit(&vcpu->in_run, BZV_MAYBE,
				      memory_order_relaxed);
	r = bzv_delivered(vcpu, ran);
	/* a kick that came in between may be undone by now */
	is_out(vcpu);
	atomic_store_explicit(&vcpu->inside, 0, memory_order_release);
	return r;
}

int bez_vm_report(struct bez_vm *vm, struct bez_vcpu *vcpu,
			     enum bez_vm_error error, uint64_t gpa)
{
	struct bzv_item item = {
		.time_ns = bzv_sys_now_ns(), .gpa = gpa,
		.error = (uint8_t)error, .restart = 1,
	};
	struct bzv_piece slot;

	if (!vm || (error != BEZ_VM_ERROR_SRAO && error != BEZ_VM_ERROR_UCNA &&
		    error != BEZ_VM_ERROR_CORRECTED))
		return -EINVAL;
	if (bzv_order_find(&vm->slots.by_gpa, gpa, &slot))
		return -ENOENT;
	return bzv_post(vm, vcpu, &item);
}
