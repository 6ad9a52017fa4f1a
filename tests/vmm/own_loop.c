/* SPDX-License-Identifier: MIT */
/*
 * A monitor that calls KVM_RUN itself (bez_vcpu_deliver()) and has a kick of its own,
 * with two vCPUs: what one meets is told to both.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define PAGE	5
#define AT	(machine_gpa(PAGE) + 16)
#define FLAG	1			/* the page where the second vCPU waits */

static struct machine m;
static pthread_t thread[TOY_VCPUS];
static _Atomic int runs[TOY_VCPUS];
static _Atomic int kicks[TOY_VCPUS];

static void kick(struct bez_vcpu *vcpu, void *arg)
{
	uint32_t i = bez_vcpu_index(vcpu);

	(void)arg;
	kicks[i]++;
	if (runs[i])
		pthread_kill(thread[i], SIGUSR1);
}

/* Until the guest leaves by a port. */
static int loop(int i)
{
	int r;

	do {
		r = bez_vcpu_deliver(m.vcpu[i], toy_run(&m.toy, i));
	} while (r == -EINTR);
	return r ? r : toy_port(&m.toy, i);
}

static void enter(int i)
{
	thread[i] = pthread_self();
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_vcpu_deliver(m.vcpu[i], -EINTR), -EINTR);
	runs[i] = 1;
}

static void *second(void *arg)
{
	int port;

	(void)arg;
	toy_begin(&m.toy, 1, TOY_SPIN, machine_gpa(FLAG), 0, 0);
	enter(1);
	while ((port = loop(1)) == TOY_MC)
		;
	CHECK_EQ(port, TOY_DONE);
	return NULL;
}

/* The second is in the guest, and nothing but a kick brings it out. */
static void broadcast(void)
{
	const struct machine_options o = { .vcpus = 2, .kick = kick };
	volatile unsigned char *flag;
	pthread_t other;

	machine_make(&m, &o);
	flag = m.mem + FLAG * 4096;
	memset(m.mem + FLAG * 4096, 0, 4096);
	machine_lose(&m, PAGE);
	CHECK_EQ(pthread_create(&other, NULL, second, NULL), 0);
	while (!runs[1])
		;
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	enter(0);
	CHECK_EQ(loop(0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, machine_gpa(PAGE));
	CHECK_EQ(toy_mc(&m.toy, 0)->mcg_status, 7);
	CHECK_EQ(toy_mc(&m.toy, 0)->rip, toy_rip(TOY_LOAD));
	while (!*(volatile uint64_t *)&toy_mc(&m.toy, 1)->count)
		;
	CHECK_EQ(toy_mc(&m.toy, 1)->mcg_status, 5);
	CHECK_EQ(toy_mc(&m.toy, 1)->valid, 0);
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(machine_last(&m)->others, 1);
	CHECK(kicks[1] >= 1);
	*flag = 1;
	CHECK_EQ(pthread_join(other, NULL), 0);
	CHECK_EQ(toy_mc(&m.toy, 1)->count, 1);
	/* and each of the two runs on by itself */
	CHECK_EQ(m.toy.run[0]->immediate_exit, 0);
	CHECK_EQ(m.toy.run[1]->immediate_exit, 0);
	machine_unmake(&m);
}

/* A vCPU that runs is kicked of a report to it, and comes out told. */
static void reported(void)
{
	const struct machine_options o = { .vcpus = 2, .kick = kick,
					   .flags = BEZ_VM_NO_BROADCAST };
	volatile unsigned char *flag;
	pthread_t other;

	machine_make(&m, &o);
	flag = m.mem + FLAG * 4096;
	memset(m.mem + FLAG * 4096, 0, 4096);
	CHECK_EQ(pthread_create(&other, NULL, second, NULL), 0);
	while (!runs[1])
		;
	CHECK_EQ(kicks[1], 0);
	CHECK_EQ(bez_vm_report(m.vm, m.vcpu[1], BEZ_VM_ERROR_SRAO,
			       machine_gpa(9)), 0);
	CHECK(kicks[1] >= 1);
	while (!*(volatile uint64_t *)&toy_mc(&m.toy, 1)->count)
		;
	CHECK_EQ(toy_mc(&m.toy, 1)->addr, machine_gpa(9));
	CHECK_EQ(kicks[0], 0);
	*flag = 1;
	CHECK_EQ(pthread_join(other, NULL), 0);
	machine_unmake(&m);
}

static const struct tap_case cases[] = {
	{ .name = "broadcast", .run = broadcast, .timeout_s = 20 },
	{ .name = "reported", .run = reported, .timeout_s = 20 },
};
TAP_MAIN(cases)
