/* SPDX-License-Identifier: MIT */
/*
 * All at once. On Intel a machine check goes to all processors, and the guest's handler
 * waits until all of them are in it; Linux panics after a second. So before the one
 * that met the error is told, all others have to say that they can take it, too. Each
 * vCPU can be asked only by its own thread, between two KVM_RUN: they are
 * kicked, come in here, answer, and wait for the verdict. One that does not come (its
 * thread is busy in the monitor) or is serving another error makes it "not now".
 */
#include "vmm/vmm.h"
#include "vmm/sys.h"
#include "vmm/pure/encode.h"

#include <errno.h>
#include <time.h>

#define PATIENCE_NS	200000000u

enum answer { YES, NO, ABSTAINS };

static void deadline(struct timespec *ts)
{
	uint64_t ns = bzv_sys_now_ns() + PATIENCE_NS;

	ts->tv_sec = (time_t)(ns / 1000000000u);
	ts->tv_nsec = (long)(ns % 1000000000u);
}

/* One that waits for its start takes no machine checks. */
static int waits_for_start(const struct bez_vcpu *vcpu)
{
	struct kvm_mp_state state;

	return !bzv_sys_ioctl(vcpu->fd, KVM_GET_MP_STATE, &state) &&
	       state.mp_state != KVM_MP_STATE_RUNNABLE &&
	       state.mp_state != KVM_MP_STATE_HALTED;
}

/* The caller has round_lock. One that has never run here may be in the guest's count
 * all the same, after a migration: it is waited for. */
static void call_all(struct bez_vm *vm, struct bez_vcpu *but)
{
	uint32_t n = atomic_load(&vm->vcpus), i;

	for (i = 0; i < n; i++) {
		struct bez_vcpu *v = bzv_vcpu(vm, i);

		if (!v || v == but)
			continue;
		/* KVM does not say it while the vCPU is in KVM_RUN, which its
		 * thread may begin just now */
		if (!atomic_load(&v->tid))
			bzv_kick(v);
		if (!atomic_load(&v->tid) && waits_for_start(v))
			continue;
		vm->round.wanted++;
		atomic_store(&v->called, 1);
		bzv_kick(v);
	}
}

int bzv_round(struct bez_vcpu *vcpu, int (*tell)(void *arg), void *arg,
	      uint32_t *ret_others)
{
	struct bez_vm *vm = vcpu->vm;
	struct bzv_round *r = &vm->round;
	struct timespec until;
	int ret = -EAGAIN;

	pthread_mutex_lock(&vm->round_lock);
	if (r->open || r->inside) {
		pthread_mutex_unlock(&vm->round_lock);
		return -EAGAIN;
	}
	r->number++;
	r->open = 1;
	r->wanted = r->ready = r->refused = r->verdict = 0;
	vcpu->round = r->number;
	call_all(vm, vcpu);
	deadline(&until);
	while (r->ready < r->wanted && !r->refused &&
	       !pthread_cond_timedwait(&vm->round_news, &vm->round_lock,
				       &until))
		;
	if (r->ready == r->wanted && !r->refused) {
		ret = tell(arg);
		r->verdict = !ret;
		*ret_others = r->wanted;
	}
	r->open = 0;
	pthread_cond_broadcast(&vm->round_news);
	pthread_mutex_unlock(&vm->round_lock);
	return ret;
}

static enum answer answer_of(struct bez_vcpu *vcpu)
{
	struct bzv_state now;
	enum bzv_ready ready;

	if (waits_for_start(vcpu))
		return ABSTAINS;
	if (bzv_cpu_look(vcpu, BEZ_VM_ERROR_SRAR, 1, &ready, &now))
		return NO;
	return ready == BZV_READY ? YES : NO;
}

void bzv_round_join(struct bez_vcpu *vcpu)
{
	struct bez_vm *vm = vcpu->vm;
	struct bzv_round *r = &vm->round;
	struct bzv_mce mce;
	enum answer answer;
	uint32_t mine;
	int told, err;

	if (!atomic_exchange(&vcpu->called, 0))
		return;
	pthread_mutex_lock(&vm->round_lock);
	mine = r->number;
	if (!r->open || vcpu->round == mine) {
		pthread_mutex_unlock(&vm->round_lock);
		return;
	}
	vcpu->round = mine;
	r->inside++;			/* the next waits until we are out */
	pthread_mutex_unlock(&vm->round_lock);
	answer = answer_of(vcpu);
	pthread_mutex_lock(&vm->round_lock);
	if (r->open) {
		if (answer == YES)
			r->ready++;
		else if (answer == NO)
			r->refused++;
		else
			r->wanted--;
		pthread_cond_broadcast(&vm->round_news);
	} else {
		answer = NO;		/* too late */
	}
	while (r->open)
		pthread_cond_wait(&vm->round_news, &vm->round_lock);
	told = answer == YES && r->verdict;
	r->inside--;
	pthread_mutex_unlock(&vm->round_lock);
	if (!told)
		return;
	bzv_encode_other(&mce);
	err = bzv_set_mce(vcpu, 1, mce.status, mce.addr, mce.misc,
			 mce.mcg_status);
	if (!err)
		err = bzv_cpu_other_told(vcpu);
	if (err)
		bzv_not_told(vcpu, err);
}
