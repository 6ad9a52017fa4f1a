/* SPDX-License-Identifier: MIT */
/*
 * Memory that a guest has at two addresses: it is told of the one that it has touched,
 * where KVM says which that was, and a monitor hears of both.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

#define PAGE	5
#define AGAIN	(MACHINE_GPA + MACHINE_LEN)	/* the same once more */
#define WROTE	8

static struct machine m;
static uint64_t wrote_gpa[WROTE], wrote_len[WROTE];
static int wrotes;

static void wrote(struct bez_vm *vm, uint64_t gpa, uint64_t len, void *arg)
{
	(void)arg;
	/* no lock is held: this takes it */
	CHECK_EQ(bez_vm_map(vm, 1ull << 32, 4096, m.mem, 0, NULL), 0);
	CHECK_EQ(bez_vm_unmap(vm, 1ull << 32), 0);
	CHECK(wrotes < WROTE);
	wrote_gpa[wrotes] = gpa;
	wrote_len[wrotes++] = len;
}

static void make(void)
{
	const struct machine_options o = {
		.flags = BEZ_VM_NO_BROADCAST, .wrote = wrote,
	};

	machine_make(&m, &o);
	CHECK_EQ(bez_vm_map(m.vm, AGAIN, MACHINE_LEN, m.mem, 0, NULL), 0);
	toy_slot(&m.toy, 2, AGAIN, m.mem, MACHINE_LEN, 0);
	wrotes = 0;
}

/* KVM sends a signal where the kernel knows of the loss, and that has the monitor's
 * address alone. */
static uint64_t told_of(uint64_t gpa)
{
	return live_is_real() ? machine_gpa(PAGE) : gpa;
}

static void touches(enum toy_op op, uint64_t gpa)
{
	make();
	machine_lose(&m, PAGE);
	toy_begin(&m.toy, 0, op, gpa, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, told_of(gpa));
	CHECK_EQ(machine_last(&m)->gpa, told_of(gpa));
	CHECK_EQ((uint64_t)machine_last(&m)->hva,
		 (uint64_t)m.mem + PAGE * 4096);
	machine_unmake(&m);
}

static void touched(void)
{
	static const enum toy_op op[] = { TOY_LOAD, TOY_STORE, TOY_CALL };
	size_t i;

	for (i = 0; i < sizeof(op) / sizeof(op[0]); i++) {
		touches(op[i], machine_gpa(PAGE));
		touches(op[i], AGAIN + PAGE * 4096);
	}
}

/* The slot that KVM has named goes before it is told. */
static void one_goes(void)
{
	int r;

	make();
	machine_lose(&m, PAGE);
	toy_set_msr(&m.toy, 0, 0x17a, 4);	/* it serves another */
	toy_begin(&m.toy, 0, TOY_STORE, AGAIN + PAGE * 4096, 0, 0);
	do {
		r = bez_vcpu_run(m.vcpu[0]);
	} while (r == -EINTR &&
		 !machine_count(&m, BEZ_VM_OUTCOME_HELD));
	CHECK_EQ(bez_vm_unmap(m.vm, AGAIN), 0);
	toy_set_msr(&m.toy, 0, 0x17a, 0);
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(PAGE), 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, machine_gpa(PAGE));
	machine_unmake(&m);
}

static void reset(void)
{
	uint64_t left = 7;

	make();
	machine_lose(&m, PAGE);
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(PAGE), 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(wrotes, 0);
	CHECK_EQ(bez_vm_reset(m.vm, &left), 0);
	CHECK_EQ(left, 0);
	CHECK_EQ(wrotes, 2);
	CHECK_EQ(wrote_gpa[0], machine_gpa(PAGE));
	CHECK_EQ(wrote_gpa[1], AGAIN + PAGE * 4096);
	CHECK_EQ(wrote_len[0], 4096);
	CHECK_EQ(wrote_len[1], 4096);
	/* and nothing of what was whole */
	CHECK_EQ(bez_vm_reset(m.vm, &left), 0);
	CHECK_EQ(wrotes, 2);
	machine_unmake(&m);
}

static const struct tap_case cases[] = {
	{ .name = "touched", .run = touched },
	{ .name = "one goes", .run = one_goes },
	{ .name = "reset", .run = reset },
};
TAP_MAIN(cases)
