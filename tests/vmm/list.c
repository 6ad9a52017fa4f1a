/* SPDX-License-Identifier: MIT */
/*
 * What a guest has lost, asked and written down, and what a reset makes of it and of
 * what waits; who may not be asked for that while a vCPU runs. With KVM doubled.
 */
#define _GNU_SOURCE
#include "fake_kvm.h"

#include "tap.h"

#include <bezoar/lost.h>
#include <bezoar/vmm.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES	16
#define GPA	0x200000ull
#define MCIP	4

static struct bez_vm *vm;
static struct bez_vcpu *vcpu;
static unsigned char *mem;
static int events, asks;

static void told(const struct bez_vm_event *event, void *arg)
{
	(void)event;
	(void)arg;
	events++;
	if (!asks)
		return;
	CHECK_EQ(bez_vm_reset(vm, NULL), -EBUSY);
	CHECK_EQ(bez_vcpu_remove(vcpu), -EBUSY);
	CHECK_EQ(bez_vm_destroy(vm), -EBUSY);
}

static void make(void)
{
	struct bez_vm_options o = {
		.size = sizeof(o), .kvm_fd = FAKE_KVM, .vm_fd = FAKE_VM,
		.event = told, .flags = BEZ_VM_NO_BROADCAST,
	};

	fake_reset();
	mem = fake_machine(&o, GPA, PAGES, &vm);
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU, fake_pages(1), &vcpu), 0);
}

static void lose(size_t first, size_t count)
{
	CHECK_EQ(bez_lost_add(mem + first * 4096, count * 4096), 0);
}

/* Also of what would wrap around. */
static void asked(void)
{
	const uint64_t at = GPA + 5 * 4096;

	make();
	lose(5, 1);
	CHECK(bez_vm_lost_in(vm, at, 1));
	CHECK(bez_vm_lost_in(vm, at + 4095, 1));
	CHECK(bez_vm_lost_in(vm, at, ~0ull));
	CHECK(bez_vm_lost_in(vm, 0, ~0ull));
	CHECK(!bez_vm_lost_in(vm, at, 0));
	CHECK(!bez_vm_lost_in(vm, GPA, 5 * 4096));
	CHECK(!bez_vm_lost_in(vm, at + 4096, ~0ull));
	CHECK(!bez_vm_lost_in(vm, ~0ull, ~0ull));
}

/* What touches is one range, also over two slots. */
static void written(void)
{
	static const char must[] = "{\"bezoar-vm-lost\": 1, \"ranges\": [\n"
		"{\"gpa\": \"0x205000\", \"len\": \"0x3000\"},\n"
		"{\"gpa\": \"0x20e000\", \"len\": \"0x3000\"}\n]}\n";
	unsigned char *more = fake_pages(4);
	char got[sizeof(must) + 1];

	make();
	memset(more, 1, 4 * 4096);
	CHECK_EQ(bez_vm_map(vm, GPA + PAGES * 4096, 4 * 4096, more, 0, NULL), 0);
	lose(6, 2);
	lose(5, 1);
	lose(14, 2);
	CHECK_EQ(bez_lost_add(more, 4096), 0);
	CHECK_EQ(bez_vm_export(vm, BEZ_VM_FORM_JSON, got, sizeof(got)),
		 sizeof(must) - 1);
	CHECK(!memcmp(got, must, sizeof(must) - 1));
}

/* Both what it has looked at and what it has not. */
static void forgets(void)
{
	uint64_t left = 7;

	make();
	lose(5, 1);
	fake.mcg_status = MCIP;
	CHECK_EQ(bez_vm_report(vm, vcpu, BEZ_VM_ERROR_SRAO, GPA), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(bez_vm_outcome_count(vm, BEZ_VM_OUTCOME_HELD), 1);
	CHECK_EQ(bez_vm_report(vm, vcpu, BEZ_VM_ERROR_SRAO, GPA + 4096), 0);
	CHECK_EQ(bez_vm_reset(vm, &left), 0);
	CHECK_EQ(left, 0);
	CHECK_EQ(mem[5 * 4096], 0);
	CHECK_EQ(mem[6 * 4096], 1);
	fake.mcg_status = 0;
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(fake.calls, 0);
}

/* Out of the event function: the vCPU runs. */
static void busy(void)
{
	make();
	lose(5, 1);
	asks = 1;
	CHECK_EQ(bez_vm_report(vm, vcpu, BEZ_VM_ERROR_SRAO, GPA), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu, -EINTR), -EINTR);
	CHECK_EQ(events, 1);
	CHECK(bez_vm_lost_in(vm, GPA, PAGES * 4096));
	CHECK_EQ(bez_vm_reset(vm, NULL), 0);
	CHECK_EQ(bez_vcpu_remove(vcpu), 0);
	CHECK_EQ(bez_vm_destroy(vm), 0);
}

static const struct tap_case cases[] = {
	{ .name = "asked", .run = asked },
	{ .name = "written", .run = written },
	{ .name = "a reset forgets", .run = forgets },
	{ .name = "busy", .run = busy },
};
TAP_MAIN(cases)
