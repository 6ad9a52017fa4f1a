/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "machine.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int failed(const char *what, int error)
{
	fprintf(stderr, "tinyvm: %s: %s\n", what, strerror(error));
	return -1;
}

static int open_kvm(struct machine *m)
{
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm < 0) {
		fprintf(stderr, "tinyvm: cannot run here: /dev/kvm: %s\n",
			strerror(errno));
		return CANNOT;
	}
	if (ioctl(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_MCE) <= 0) {
		fputs("tinyvm: cannot run here: this KVM has no machine checks "
		      "(KVM_CAP_MCE)\n", stderr);
		return CANNOT;
	}
	m->fd = ioctl(m->kvm, KVM_CREATE_VM, 0);
	return m->fd < 0 ? failed("KVM_CREATE_VM", errno) : 0;
}

/* On the threads of all CPUs. */
static void count_event(const struct bez_vm_event *e, void *arg)
{
	struct told *t = arg;

	__atomic_add_fetch(&t->events, 1, __ATOMIC_RELAXED);
	if (e->outcome != BEZ_VM_OUTCOME_DELIVERED || e->error >= KINDS)
		return;
	__atomic_add_fetch(&t->delivered[e->error], 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&t->others, e->others, __ATOMIC_RELAXED);
}

static int make_relay(struct machine *m)
{
	struct bez_vm_options options = {
		.size = sizeof(options),
		.flags = m->options->lmce ? BEZ_VM_LMCE : 0,
		.kvm_fd = m->kvm,
		.vm_fd = m->fd,
		.kick_signal = SIGUSR1,
		/* all CPUs take part in each, on a machine that may be busy */
		.patience_ns = 30000000000u,
		.event = count_event,
		.event_arg = &m->told,
	};
	int r;

	r = bez_vm_create(&options, &m->relay);
	return r ? failed("bez_vm_create", -r) : 0;
}

static int add_slots(struct machine *m)
{
	uint32_t i;
	int r;

	for (i = 0; i < SLOTS; i++) {
		const struct slot *s = &m->memory.slot[i];
		struct kvm_userspace_memory_region region = {
			.slot = i,
			.guest_phys_addr = s->gpa,
			.memory_size = s->len,
			.userspace_addr = (uintptr_t)s->hva,
		};

		r = bez_vm_map(m->relay, s->gpa, s->len, s->hva, 0, NULL);
		if (r)
			return failed("bez_vm_map", -r);
		if (ioctl(m->fd, KVM_SET_USER_MEMORY_REGION, &region))
			return failed("KVM_SET_USER_MEMORY_REGION", errno);
	}
	return 0;
}

int machine_add_vcpu(struct machine *m, uint32_t index, int (*set_up)(struct vcpu *v))
{
	struct vcpu *v = &m->vcpu[index];
	int len = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), r;

	if (len < 0)
		return failed("KVM_GET_VCPU_MMAP_SIZE", errno);

	v->machine = m;
	v->index = index;
	v->fd = ioctl(m->fd, KVM_CREATE_VCPU, index);
	if (v->fd < 0)
		return failed("KVM_CREATE_VCPU", errno);
	v->run = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		return failed("struct kvm_run", errno);
	if (set_up(v))
		return -1;
	r = bez_vcpu_add(m->relay, v->fd, v->run, &v->relay);
	return r ? failed("bez_vcpu_add", -r) : 0;
}

static int add_vcpus(struct machine *m)
{
	uint32_t i;

	for (i = 0; i < m->options->vcpus; i++)
		if (machine_add_vcpu(m, i, cpu_set_up))
			return -1;
	return 0;
}

/* It only has to interrupt KVM_RUN. */
static void kicked(int signal)
{
	(void)signal;
}

int machine_open(struct machine *m, const struct options *o)
{
	struct sigaction action = { .sa_handler = kicked };
	int r;

	m->options = o;
	r = open_kvm(m);
	if (r)
		return r;
	sigaction(SIGUSR1, &action, NULL);
	r = bez_start(NULL);
	return r ? failed("bez_start", -r) : make_relay(m);
}

int machine_make(struct machine *m, const struct options *o)
{
	int r = machine_open(m, o);

	if (r)
		return r;
	if (memory_make(&m->memory, o->memory_mib))
		return -1;
	memory_load(&m->memory, (uint32_t)o->vcpus);
	if (ledger_start(&m->ledger, &m->memory, o->seconds) ||
	    add_slots(m) || add_vcpus(m))
		return -1;
	m->memory.board->seed = o->seed;
	m->memory.board->cpus = (uint32_t)o->vcpus;
	m->memory.board->lmce = (uint32_t)o->lmce;
	m->memory.board->amd = (uint32_t)m->amd;
	return 0;
}

int machine_start(struct machine *m)
{
	uint32_t i;
	int r;

	for (i = 0; i < m->options->vcpus; i++) {
		r = pthread_create(&m->vcpu[i].thread, NULL, vcpu_thread, &m->vcpu[i]);
		if (r)
			return failed("a thread", r);
	}
	return ledger_wait_ready(&m->ledger, m->options->vcpus);
}

int machine_stop(struct machine *m)
{
	uint32_t i;
	int halted;

	__atomic_store_n(&m->memory.board->stop, 1, __ATOMIC_RELEASE);
	halted = ledger_wait_halted(&m->ledger, m->options->vcpus, 30);
	if (!halted) {
		fputs("tinyvm: the guest does not halt\n", stderr);
		__atomic_store_n(&m->quit, 1, __ATOMIC_RELEASE);
		for (i = 0; i < m->options->vcpus; i++) {
			m->vcpu[i].run->immediate_exit = 1;
			pthread_kill(m->vcpu[i].thread, SIGUSR1);
		}
	}
	for (i = 0; i < m->options->vcpus; i++)
		pthread_join(m->vcpu[i].thread, NULL);
	return halted ? 0 : -1;
}

void machine_end(struct machine *m)
{
	uint32_t i;
	int r;

	for (i = 0; i < m->options->vcpus; i++) {
		r = bez_vcpu_remove(m->vcpu[i].relay);
		if (r)
			failed("bez_vcpu_remove", -r);
		close(m->vcpu[i].fd);
	}
	r = bez_vm_destroy(m->relay);
	if (r)
		failed("bez_vm_destroy", -r);
	close(m->fd);
	close(m->kvm);
}
