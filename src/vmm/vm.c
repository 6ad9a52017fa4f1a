/* SPDX-License-Identifier: MIT */
/* A virtual machine: its options, its memory, and the thread that makes vCPUs look
 * again where something waits. */
#include "vmm/vmm.h"
#include "core/sized.h"
#include "vmm/sys.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_NS		1000000u
#define MOST_TICK_NS	50000000u
#define BANKS		10
#define LEAST_BANKS	3	/* one is the others', in a broadcast */
#define MOST_SIZE	4096u	/* of a struct that says how large it is */
#define MAX_BANKS	32
#define MAX_VCPUS	1024
#define MOST_VCPUS	65536
#define PATIENCE_NS	10000000000u
#define VM_FLAGS	(BEZ_VM_LMCE | BEZ_VM_CMCI | BEZ_VM_NO_BROADCAST | \
			 BEZ_VM_KEEP_MCE)

/* A caller's struct that may be older or newer than ours, but not any number of bytes. */
static int sized(void *ret, size_t size, const void *user, uint32_t user_size)
{
	return user_size > MOST_SIZE ? -EINVAL :
				       bz_sized_in(ret, size, user, user_size);
}

/* --------------------------------------------------------------- the ticker */

static void *ticks(void *arg)
{
	struct bez_vm *vm = arg;
	uint64_t tick = TICK_NS;
	struct timespec until;
	uint32_t i, n;

	pthread_mutex_lock(&vm->lock);
	while (!vm->ends) {
		uint64_t ns = bzv_sys_now_ns() + tick;
		int holds = 0;

		/* it may be a guest that never takes any */
		tick = tick < MOST_TICK_NS / 2 ? 2 * tick : MOST_TICK_NS;

		n = atomic_load(&vm->vcpus);
		for (i = 0; i < n; i++) {
			struct bez_vcpu *v = bzv_vcpu(vm, i);

			if (v && atomic_load(&v->holds)) {
				bzv_kick(v);
				holds = 1;
			}
		}
		if (!holds) {
			vm->ticks = 0;
			tick = TICK_NS;
			pthread_cond_wait(&vm->tick, &vm->lock);
			continue;
		}
		until.tv_sec = (time_t)(ns / 1000000000u);
		until.tv_nsec = (long)(ns % 1000000000u);
		pthread_cond_timedwait(&vm->tick, &vm->lock, &until);
	}
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

void bzv_tick(struct bez_vm *vm)
{
	if (!vm->has_ticker)
		return;
	pthread_mutex_lock(&vm->lock);
	if (!vm->ticks)
		pthread_cond_signal(&vm->tick);
	vm->ticks = 1;
	pthread_mutex_unlock(&vm->lock);
}

/* None of the program's signals are its. */
static int start_ticker(struct bez_vm *vm)
{
	sigset_t all, was;
	int r;

	if (!vm->o.kick && !vm->o.kick_signal)
		return 0;
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	r = pthread_create(&vm->ticker, NULL, ticks, vm);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	vm->has_ticker = !r;
	return -r;
}

static void end_ticker(struct bez_vm *vm)
{
	if (!vm->has_ticker)
		return;
	pthread_mutex_lock(&vm->lock);
	vm->ends = 1;
	pthread_cond_signal(&vm->tick);
	pthread_mutex_unlock(&vm->lock);
	pthread_join(vm->ticker, NULL);
}

static int sweep(struct bez_vm *vm);

/* ------------------------------------------------------------------- set-up */

static int options_from_user(const struct bez_vm_options *options,
			     struct bez_vm_options *o)
{
	int r = sized(o, sizeof(*o), options, options->size);

	if (r)
		return r;
	if ((o->flags & ~VM_FLAGS) || o->reserved ||
	    o->vendor > BEZ_VM_VENDOR_AMD ||
	    o->not_ready > BEZ_VM_NOT_READY_GIVE_UP || (o->banks && o->banks < LEAST_BANKS) ||
	    o->banks > MAX_BANKS || o->max_vcpus > MOST_VCPUS ||
	    o->kick_signal < 0 || o->kick_signal > SIGRTMAX ||
	    o->kick_signal == SIGBUS)
		return -EINVAL;
	o->banks = o->banks ? o->banks : BANKS;
	o->max_vcpus = o->max_vcpus ? o->max_vcpus : MAX_VCPUS;
	o->patience_ns = o->patience_ns ? o->patience_ns : PATIENCE_NS;
	return 0;
}

static void init_locks(struct bez_vm *vm)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->round_lock, NULL);
	pthread_cond_init(&vm->round_news, &monotonic);
	pthread_cond_init(&vm->tick, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static void release(struct bez_vm *vm)
{
	bzv_slots_free(&vm->slots);
	pthread_cond_destroy(&vm->tick);
	pthread_cond_destroy(&vm->round_news);
	pthread_mutex_destroy(&vm->round_lock);
	pthread_mutex_destroy(&vm->lock);
	free(vm->vcpu);
	free(vm);
}

int bez_vm_create(const struct bez_vm_options *options,
			     struct bez_vm **ret_vm)
{
	struct bez_status status = { .size = sizeof(status) };
	struct bez_vm_options o;
	struct bez_vm *vm;
	uint64_t caps = 0;
	long r;

	if (!options || !ret_vm)
		return -EINVAL;
	r = options_from_user(options, &o);
	if (r)
		return (int)r;
	if (bez_status(&status) || !status.started)
		return -ESRCH;
	r = bzv_sys_ioctl(o.kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MCE);
	if (r == -EBADF)
		return -EBADF;
	if (r <= 0 || o.banks > r ||
	    bzv_sys_ioctl(o.kvm_fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &caps))
		return -EOPNOTSUPP;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->o = o;
	vm->mcg_supported = caps;
	vm->has_ucna = bzv_sys_linux() >= 6;
	vm->sync_regs = bzv_can_sync(vm->o.kvm_fd);
	vm->relay = (struct bez_relay){ .relay = bzv_relay, .arg = vm };
	init_locks(vm);
	vm->vcpu = calloc(o.max_vcpus, sizeof(*vm->vcpu));
	r = vm->vcpu ? start_ticker(vm) : -ENOMEM;
	if (r) {
		release(vm);
		return (int)r;
	}
	*ret_vm = vm;
	return 0;
}

int bez_vm_destroy(struct bez_vm *vm)
{
	struct bzv_memory *m;
	int r;

	if (!vm)
		return 0;
	pthread_mutex_lock(&vm->lock);
	if (vm->alive) {
		pthread_mutex_unlock(&vm->lock);
		return -EBUSY;
	}
	/* all at once: one by one each would sort those that are left */
	bzv_slots_clear(&vm->slots);
	for (m = vm->memory; m; m = m->next)
		m->slots = 0;
	pthread_mutex_unlock(&vm->lock);
	r = sweep(vm);
	if (r)
		return r;
	end_ticker(vm);
	release(vm);
	return 0;
}

/* ------------------------------------------------------------------- memory */

static int policy_from_user(struct bez_vm *vm, const struct bez_policy *user,
			    struct bez_policy *p)
{
	struct bez_policy init = BEZ_POLICY_INIT;
	int i, r;

	*p = init;
	if (user) {
		r = sized(p, sizeof(*p), user, user->size);
		if (r)
			return r;
		p->size = sizeof(*p);
	}
	if (p->relay)
		return -EINVAL;
	if (!p->name)
		p->name = "guest";
	if (!(p->actions[0] | p->actions[1] | p->actions[2] | p->actions[3])) {
		i = 0;
		if (p->source)
			p->actions[i++] = BEZ_ACTION_REPLACE;
		p->actions[i] = BEZ_ACTION_DEGRADE;
	}
	if (!memchr(p->actions, BEZ_ACTION_DEGRADE, sizeof(p->actions)))
		return -EINVAL;
	p->relay = &vm->relay;
	return 0;
}

/* The caller has the lock. What has all of it, or nothing of it has any: NULL. */
static int find_memory(struct bez_vm *vm, uint64_t start, uint64_t end,
		       struct bzv_memory **ret)
{
	struct bzv_memory *m;

	*ret = NULL;
	for (m = vm->memory; m; m = m->next) {
		if (start >= m->end || end <= m->start)
			continue;
		if (start < m->start || end > m->end || !m->slots)
			return -EEXIST;
		*ret = m;
	}
	return 0;
}

static int take_memory(struct bez_vm *vm, uint64_t start, uint64_t end,
		       const struct bez_policy *user, struct bzv_memory **ret)
{
	struct bez_policy policy;
	struct bzv_memory *m;
	int r = find_memory(vm, start, end, ret);

	if (r || *ret)
		return r;
	r = policy_from_user(vm, user, &policy);
	if (r)
		return r;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	r = bez_region_add((void *)start, end - start, &policy, &m->region);
	if (r) {
		free(m);
		return r;
	}
	m->start = start;
	m->end = end;
	m->next = vm->memory;
	vm->memory = *ret = m;
	return 0;
}

static void unlink_memory(struct bez_vm *vm, struct bzv_memory *m)
{
	struct bzv_memory **at;

	for (at = &vm->memory; *at != m; at = &(*at)->next)
		;
	*at = m->next;
	free(m);
}

/*
 * Memory that no slot has any more. Not under the lock: who tells of losses may be
 * waiting for that, and this for him.
 */
static int sweep(struct bez_vm *vm)
{
	struct bzv_memory *m;
	int ret = 0, r;

	pthread_mutex_lock(&vm->lock);
	for (m = vm->memory; m;) {
		bez_region_t region = m->region;

		if (m->slots || m->passing || m->goes) {
			m = m->next;
			continue;
		}
		m->goes = 1;
		pthread_mutex_unlock(&vm->lock);
		r = bez_region_remove(region);
		pthread_mutex_lock(&vm->lock);
		if (r && r != -ENOENT) {
			ret = ret ? ret : r;
			m->goes = 2;		/* not again in this round */
			m = m->next;
		} else {
			unlink_memory(vm, m);
			m = vm->memory;
		}
	}
	for (m = vm->memory; m; m = m->next)
		m->goes = m->goes == 2 ? 0 : m->goes;
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int bez_vm_map(struct bez_vm *vm, uint64_t gpa, uint64_t len,
			  void *hva, uint32_t flags,
			  const struct bez_policy *policy)
{
	uint64_t start = (uint64_t)hva;
	struct bzv_memory *m;
	int r;

	if (!vm || !hva || !len || (flags & ~BEZ_VM_MAP_READ_ONLY) ||
	    (gpa | len | start) % BZV_PAGE || gpa + len < gpa ||
	    start + len < start)
		return -EINVAL;
	sweep(vm);
	pthread_mutex_lock(&vm->lock);
	r = take_memory(vm, start, start + len, policy, &m);
	if (!r) {
		r = bzv_slots_add(&vm->slots, gpa, len, start, flags);
		if (!r)
			m->slots++;
	}
	pthread_mutex_unlock(&vm->lock);
	if (r)
		sweep(vm);
	return r;
}

int bez_vm_unmap(struct bez_vm *vm, uint64_t gpa)
{
	struct bzv_memory *m = NULL;
	struct bzv_piece slot;
	int r;

	if (!vm)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	r = bzv_slots_remove(&vm->slots, gpa, &slot);
	if (!r) {
		for (m = vm->memory; m; m = m->next)
			if (slot.other >= m->start && slot.other < m->end)
				break;
		if (m && --m->slots)
			m = NULL;		/* another slot has it */
		if (m)
			m->passing++;
	}
	pthread_mutex_unlock(&vm->lock);
	if (r)
		return r;
	if (m) {
		bzv_let_pass(vm);
		pthread_mutex_lock(&vm->lock);
		m->passing--;
		pthread_mutex_unlock(&vm->lock);
	}
	/* if it cannot go now it goes with the next, or the machine */
	return sweep(vm);
}

int bez_vm_gpa(const struct bez_vm *vm, const void *hva,
			  uint64_t *ret_gpa)
{
	struct bzv_piece p;

	if (bzv_order_find(&vm->slots.by_hva, (uint64_t)hva, &p))
		return -ENOENT;
	*ret_gpa = p.other + ((uint64_t)hva - p.start);
	return 0;
}

int bez_vm_hva(const struct bez_vm *vm, uint64_t gpa,
			  void **ret_hva)
{
	struct bzv_piece p;

	if (bzv_order_find(&vm->slots.by_gpa, gpa, &p))
		return -ENOENT;
	*ret_hva = (void *)(p.other + (gpa - p.start));
	return 0;
}

uint64_t bez_vm_outcome_count(const struct bez_vm *vm,
					 enum bez_vm_outcome outcome)
{
	if ((uint32_t)outcome >= BZV_OUTCOMES)
		return 0;
	return atomic_load_explicit(&vm->count[outcome], memory_order_relaxed);
}
