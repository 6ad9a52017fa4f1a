/* SPDX-License-Identifier: MIT */
/*
 * How long a vCPU has stood before one page, and what is left in its banks when it was
 * told with another: neither may make a guest that is well be given up.
 */
#define _GNU_SOURCE
#include "fake_kvm.h"

#include "tap.h"
#include "vmm/vmm.h"

#include <bezoar/vmm.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGES	8
#define GPA	0x100000ull
#define PATIENCE 200000000ull
#define MCIP	(1ull << 2)
#define VALID	(1ull << 63)

static struct bez_vm *vm;
static struct bez_vcpu *vcpu[2];
static unsigned char *mem;

static void make(int vcpus, uint64_t patience_ns)
{
	struct bez_vm_options o = {
		.size = sizeof(o), .kvm_fd = FAKE_KVM, .vm_fd = FAKE_VM,
		.patience_ns = patience_ns,
		.not_ready = BEZ_VM_NOT_READY_GIVE_UP,
		.flags = vcpus == 1 ? BEZ_VM_NO_BROADCAST : 0,
	};
	int i;

	fake_reset();
	mem = fake_machine(&o, GPA, PAGES, &vm);
	for (i = 0; i < vcpus; i++)
		CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU + i, fake_pages(1),
				      &vcpu[i]), 0);
	CHECK_EQ(bez_lost_add(mem, PAGES * 4096), 0);
}

static int meet(unsigned int page)
{
	CHECK_EQ(fake_meet(vm, FAKE_VCPU, mem + page * 4096), 1);
	return bez_vcpu_deliver(vcpu[0], -EINTR);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Each page is served elsewhere in a moment, and the program there killed. */
static void one_after_another(void)
{
	uint64_t end = now() + 3 * PATIENCE;
	unsigned int page = 0;

	make(1, PATIENCE);
	fake.mcg_status = MCIP;
	while (now() < end)
		CHECK_EQ(meet(page++ % PAGES), -EINTR);
	CHECK(page > 2 * PAGES);
}

/* The same one all the time. */
static void one(void)
{
	uint64_t begin = now();
	int r;

	make(1, PATIENCE);
	fake.mcg_status = MCIP;
	while ((r = meet(3)) == -EINTR)
		continue;
	CHECK_EQ(r, -EHWPOISON);
	CHECK(now() - begin >= PATIENCE);
}

static _Atomic int ends;

static void *other(void *arg)
{
	(void)arg;
	while (!atomic_load(&ends)) {
		bez_vcpu_deliver(vcpu[1], -EINTR);
		sched_yield();
	}
	return NULL;
}

/*
 * The guest clears what was signalled, as Linux does: a bank that is valid without that
 * is left to be found in some minutes.
 */
static void serve(void)
{
	int i;

	for (i = 0; i < FAKE_BANKS; i++)
		if (fake.status[i] & 1ull << 56)
			fake.status[i] = 0;
	fake.mcg_status = 0;
}

static void all_again_and_again(void)
{
	pthread_t thread;
	unsigned int page;
	int i;

	/* and one of another monitor's has been left there */
	make(2, 20 * PATIENCE);
	fake.status[1] = VALID | 1ull << 61;
	fake.others_serve = 1;
	CHECK_EQ(pthread_create(&thread, NULL, other, NULL), 0);
	for (page = 0; page < PAGES; page++) {
		uint64_t was = bez_vm_outcome_count(vm,
						    BEZ_VM_OUTCOME_DELIVERED);

		while (bez_vm_outcome_count(vm, BEZ_VM_OUTCOME_DELIVERED) == was)
			CHECK_EQ(meet(page), -EINTR);
		/* both are told, of one state here: what is left is theirs */
		while (fake.raised < 2 * ((int)page + 1))
			sched_yield();
		serve();
		for (i = 0; i < FAKE_BANKS; i++)
			CHECK_EQ(fake.status[i], 0);
	}
	atomic_store(&ends, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static const struct tap_case cases[] = {
	{ .name = "one page after another", .run = one_after_another },
	{ .name = "one page", .run = one },
	{ .name = "all are told, again and again", .run = all_again_and_again },
};
TAP_MAIN(cases)
