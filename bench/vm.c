/* SPDX-License-Identifier: MIT */
/*
 * What does the relay for guests cost: from the SIGBUS in KVM_RUN until the machine
 * check is raised, against a monitor that does the same by hand; to find where the guest
 * has an address; and each KVM_RUN in which nothing happens.
 */
#define _GNU_SOURCE
#include "kvm.h"
#include "poison.h"
#include "questions.h"
#include "ref_vm.h"

#include <bezoar/vmm.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define SLOTS	4096u
#define ASKS	1000u		/* of a sample; not the same in the next */
#define ALL_ASKS 65536u
#define LEAVES	100u
#define PAGE	4096ul

static struct kvm guest;
static struct bez_vm *vm;
static struct bez_vcpu *vcpu;

static int begin(enum kvm_guest kind, uint32_t flags)
{
	struct bez_vm_options o = { .size = sizeof(o) };
	int err = kvm_make(&guest, kind);

	if (!err)
		err = bez_start(NULL);
	o.kvm_fd = guest.kvm;
	o.vm_fd = guest.vm;
	o.flags = flags;
	if (!err)
		err = bez_vm_create(&o, &vm);
	if (!err)
		err = bez_vm_map(vm, KVM_CODE, PAGE, guest.code, 0, NULL);
	if (!err)
		err = bez_vm_map(vm, KVM_MEMORY, KVM_MEMORY_LEN, guest.memory, 0,
				 NULL);
	if (!err)
		err = bez_vcpu_add(vm, guest.vcpu, guest.run, &vcpu);
	return err ? err : kvm_ready(&guest);
}

/* ---------------------------------------------------------------- delivery */

/*
 * KVM's signal for a page that is lost, on a kernel that sends none: the thread sends
 * it to itself in a handler that keeps it back, and it is delivered where that
 * returns to, which is KVM_RUN.
 */
static volatile uint64_t sent;
static timer_t timer;

static void fire(void)
{
	struct itimerspec soon = { .it_value.tv_nsec = 200000 };

	sent = 0;
	timer_settime(timer, 0, &soon, NULL);
}

static int is_in_kvm_run(const ucontext_t *uc)
{
	static const unsigned char call[2] = { 0x0f, 0x05 };	/* syscall */
	const greg_t *reg = uc->uc_mcontext.gregs;

	return (uint32_t)reg[REG_RSI] == KVM_RUN &&
	       !memcmp((const char *)reg[REG_RIP] - sizeof(call), call,
		       sizeof(call));
}

static void on_timer(int sig, siginfo_t *timed, void *context)
{
	siginfo_t info;

	(void)sig;
	(void)timed;
	/* somebody else had the processor meanwhile: once more */
	if (!is_in_kvm_run(context)) {
		fire();
		return;
	}
	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = BUS_MCEERR_AR;
	info.si_addr = guest.memory + 3 * PAGE + 8;
	info.si_addr_lsb = 12;
	sent = bench_now();
	syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info);
}

static int aim(void)
{
	struct sigaction act = { .sa_sigaction = on_timer,
				 .sa_flags = SA_SIGINFO };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID,
				  .sigev_signo = SIGUSR1 };

	sigaddset(&act.sa_mask, SIGBUS);
	event._sigev_un._tid = gettid();
	if (sigaction(SIGUSR1, &act, NULL) ||
	    timer_create(CLOCK_MONOTONIC, &event, &timer))
		return -errno;
	return 0;
}

static int lose(void)
{
	char *at = guest.memory + 3 * PAGE;
	int fd = poison_open(), err = fd;

	if (fd >= 0)
		err = poison_begin(fd, at, PAGE);
	if (err == 0)
		err = poison_mark(fd, at, PAGE);
	return err == 0 ? poison_end(fd, at, PAGE) : err;
}

static int by_library(void *arg, double *samples, size_t n)
{
	(void)arg;
	for (size_t i = 0; i < n; i++) {
		uint64_t was = bez_vm_outcome_count(vm,
						    BEZ_VM_OUTCOME_DELIVERED);
		int r;

		fire();
		do {
			r = bez_vcpu_run(vcpu);
			samples[i] = bench_span(sent, bench_now());
		} while (r == -EINTR && !sent);
		if (r != -EINTR)
			return r ? r : -ENODATA;
		if (bez_vm_outcome_count(vm, BEZ_VM_OUTCOME_DELIVERED) != was + 1)
			return -ENODATA;
		r = kvm_no_mce(&guest);
		if (r)
			return r;
	}
	return 0;
}

static const struct ref_slot two[] = {
	{ 0, 0, KVM_CODE }, { 0, 0, KVM_MEMORY },
};

static int by_hand(void *arg, double *samples, size_t n)
{
	struct ref_slot slot[2] = { two[0], two[1] };
	int low = guest.code < guest.memory ? 0 : 1, r = ref_vm_begin();
	size_t i;

	(void)arg;
	slot[low] = (struct ref_slot){ (uint64_t)guest.code,
				       (uint64_t)guest.code + PAGE, KVM_CODE };
	slot[!low] = (struct ref_slot){ (uint64_t)guest.memory,
					(uint64_t)guest.memory + KVM_MEMORY_LEN,
					KVM_MEMORY };
	for (i = 0; !r && i < n; i++) {
		fire();
		do {
			r = ioctl(guest.vcpu, KVM_RUN, 0);
		} while (r && errno == EINTR && !sent);
		r = ref_vm_deliver(&guest, slot, 2);
		samples[i] = bench_span(sent, bench_now());
		if (!r)
			r = kvm_no_mce(&guest);
	}
	ref_vm_end();
	return r;
}

static void delivers(bool quick, struct bench_result *result)
{
	const struct bench_side sides[2] = {
		{ "bez_vcpu_run", by_library, NULL },
		{ "by hand", by_hand, NULL },
	};
	struct bench_figures figures;
	int err = begin(KVM_SPINS, BEZ_VM_NO_BROADCAST);

	if (!err)
		err = lose();
	if (!err)
		err = aim();
	if (err)
		bench_cannot(result, "a guest on /dev/kvm", err);
	else
		bench_compare(sides, 2, quick ? 7 : 101, 50, &figures, result);
}

/* -------------------------------------------------------------- translation */

struct many {
	struct ref_slot slot[SLOTS];
	uint64_t ask[ALL_ASKS];
};

/* A processor learns by heart how each step of a search goes that it has seen before:
 * a guest asks for another address each time. */
static const uint64_t *next_asks(const struct many *many)
{
	static unsigned int at;

	at = (at + ASKS) % (ALL_ASKS - ASKS);
	return &many->ask[at];
}

static int by_bez_vm_gpa(void *arg, double *samples, size_t n)
{
	const struct many *many = arg;

	for (size_t i = 0; i < n; i++) {
		const uint64_t *ask = next_asks(many);
		uint64_t from = bench_now(), sum = 0, gpa;

		for (unsigned int k = 0; k < ASKS; k++)
			if (!bez_vm_gpa(vm, (void *)ask[k], &gpa))
				sum += gpa;
		samples[i] = bench_span(from, bench_now()) / ASKS;
		if (!sum)
			return -ENODATA;
	}
	return 0;
}

static int by_search(void *arg, double *samples, size_t n)
{
	const struct many *many = arg;

	for (size_t i = 0; i < n; i++) {
		const uint64_t *ask = next_asks(many);
		uint64_t from = bench_now(), sum = 0;

		for (unsigned int k = 0; k < ASKS; k++)
			sum += ref_gpa(many->slot, SLOTS, ask[k]);
		samples[i] = bench_span(from, bench_now()) / ASKS;
		if (!sum)
			return -ENODATA;
	}
	return 0;
}

static int add_many(struct many *many)
{
	char *at = mmap(NULL, 2 * SLOTS * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned int i;
	int err = at == MAP_FAILED ? -ENOMEM : 0;

	for (i = 0; !err && i < SLOTS; i++) {
		uint64_t gpa = 0x10000000 + 3 * i * PAGE;
		char *hva = at + 2 * i * PAGE;

		many->slot[i] = (struct ref_slot){ (uint64_t)hva,
						   (uint64_t)hva + PAGE, gpa };
		err = bez_vm_map(vm, gpa, PAGE, hva, 0, NULL);
	}
	srandom(1);
	for (i = 0; i < ALL_ASKS; i++) {
		uint64_t gpa, hva = (uint64_t)at +
				    2 * ((uint64_t)random() % SLOTS) * PAGE + 77;

		many->ask[i] = hva;
		if (!err && (bez_vm_gpa(vm, (void *)hva, &gpa) ||
			     gpa != ref_gpa(many->slot, SLOTS, hva)))
			err = -EBADMSG;
	}
	return err;
}

static void translates(bool quick, struct bench_result *result)
{
	static struct many many;
	const struct bench_side sides[2] = {
		{ "bez_vm_gpa", by_bez_vm_gpa, &many },
		{ "binary search", by_search, &many },
	};
	struct bench_figures figures;
	int err = begin(KVM_SPINS, 0);

	if (!err)
		err = add_many(&many);
	if (err)
		bench_cannot(result, "4,096 slots", err);
	else
		bench_compare(sides, 2, quick ? 7 : 101, 101, &figures, result);
}

/* --------------------------------------------------------------- every exit */

static int by_bez_vcpu_run(void *arg, double *samples, size_t n)
{
	(void)arg;
	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();

		for (unsigned int k = 0; k < LEAVES; k++)
			if (bez_vcpu_run(vcpu))
				return -ENODATA;
		samples[i] = bench_span(from, bench_now()) / LEAVES;
	}
	return 0;
}

static int by_kvm_run(void *arg, double *samples, size_t n)
{
	(void)arg;
	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();

		for (unsigned int k = 0; k < LEAVES; k++)
			if (ioctl(guest.vcpu, KVM_RUN, 0))
				return -ENODATA;
		samples[i] = bench_span(from, bench_now()) / LEAVES;
	}
	return 0;
}

static void leaves(bool quick, struct bench_result *result)
{
	const struct bench_side sides[2] = {
		{ "bez_vcpu_run", by_bez_vcpu_run, NULL },
		{ "KVM_RUN", by_kvm_run, NULL },
	};
	struct bench_figures figures;
	int err = begin(KVM_LEAVES, 0);

	if (err)
		bench_cannot(result, "a guest on /dev/kvm", err);
	else
		bench_compare(sides, 2, quick ? 7 : 201, 50, &figures, result);
}

const struct bench_question bench_vm_deliver = {
	"vm_deliver", "ns", 1.5, false, delivers };
const struct bench_question bench_vm_translate_4k_slots = {
	"vm_translate_4k_slots", "ns", 1.25, false, translates };
const struct bench_question bench_vm_exit_cost = {
	"vm_exit_cost", "ns", 1.01, false, leaves };
