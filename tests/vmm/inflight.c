/* SPDX-License-Identifier: MIT */
/*
 * A slot goes, and comes again, while the guest is about to be told of a page of it.
 * What it has then is a machine check, or nothing where no memory is; the monitor and
 * the machine live.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define PAGE	5
#define AT	(machine_gpa(PAGE) + 16)
#define ROUNDS	600

static struct machine m;
static _Atomic int over;
static _Atomic unsigned int told, nowhere;

/* Who reads where nothing is gets all bits set. */
static void complete(void)
{
	struct kvm_run *run = m.toy.run[0];
	struct kvm_regs regs;

	CHECK_EQ(run->exit_reason, KVM_EXIT_MMIO);
	CHECK_EQ(run->mmio.phys_addr, AT);
	CHECK_EQ(run->mmio.is_write, 0);
	memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	toy_regs(&m.toy, 0, &regs);
	CHECK_EQ(regs.rax, 0xff);
	nowhere++;
}

static void *loads(void *arg)
{
	int port;

	(void)arg;
	while (!over) {
		toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
		port = machine_run(&m, 0);
		CHECKF(!port || port == TOY_MC, "%d", port);
		if (!port)
			complete();
		else
			told++;
	}
	return NULL;
}

static void slots(void)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST };
	pthread_t thread;
	int i;

	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	CHECK_EQ(pthread_create(&thread, NULL, loads, NULL), 0);
	for (i = 0; i < ROUNDS || !told; i++) {
		toy_slot(&m.toy, 1, MACHINE_GPA, m.mem, 0, 0);
		CHECK_EQ(bez_vm_unmap(m.vm, MACHINE_GPA), 0);
		CHECK_EQ(bez_vm_map(m.vm, MACHINE_GPA, MACHINE_LEN, m.mem, 0,
				    NULL), 0);
		toy_slot(&m.toy, 1, MACHINE_GPA, m.mem, MACHINE_LEN, 0);
		if (i % 3 == 0)
			usleep(300);	/* that it also meets what is there */
	}
	over = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	tap_diag("told %u times, and %u times there was nothing", told, nowhere);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_GAVE_UP), 0);
	machine_unmake(&m);
}

static const struct tap_case cases[] = {
	{ .name = "slots go and come", .run = slots, .timeout_s = 60 },
};
TAP_MAIN(cases)
