/* SPDX-License-Identifier: MIT */
/*
 * Pause and resume by immediate_exit, as docs/vmm.md has it: each pause comes, each
 * resume goes on, and what the library has set it for is told all the same.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define PAGE	5
#define FLAG	1			/* the page where the vCPU waits */
#define ROUNDS	100

static struct machine m;
static _Atomic int pause_wanted, stands, calls, ends;

static void nap(long ns)
{
	const struct timespec ts = { .tv_nsec = ns };

	nanosleep(&ts, NULL);
}

static void stand_still(void)
{
	stands = 1;
	while (pause_wanted)
		sched_yield();
	stands = 0;
}

static void *vcpu(void *arg)
{
	struct kvm_run *run = m.toy.run[0];
	int r;

	(void)arg;
	toy_begin(&m.toy, 0, TOY_SPIN, machine_gpa(FLAG), 0, 0);
	for (;;) {
		if (atomic_load(&pause_wanted))
			__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		calls++;
		r = bez_vcpu_run(m.vcpu[0]);
		if (r == -EINTR &&
		    __atomic_exchange_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST))
			r = bez_vcpu_deliver(m.vcpu[0], -EINTR);
		if (r == -EINTR) {
			if (atomic_load(&pause_wanted))
				stand_still();
			continue;
		}
		CHECK_EQ(r, 0);
		if (toy_port(&m.toy, 0) == TOY_DONE)
			return NULL;
		CHECK_EQ(toy_port(&m.toy, 0), TOY_MC);
	}
}

static void *reports(void *arg)
{
	int *sent = arg;

	while (!ends) {
		const uint64_t was = toy_mc(&m.toy, 0)->count;

		CHECK_EQ(bez_vm_report(m.vm, NULL, BEZ_VM_ERROR_SRAO,
				       machine_gpa(PAGE)), 0);
		++*sent;
		/* no other kick is there to help, but when it is paused */
		while (*(volatile uint64_t *)&toy_mc(&m.toy, 0)->count == was)
			sched_yield();
	}
	return NULL;
}

static void pauses(void)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST };
	pthread_t thread, reporter;
	int i, sent = 0, before;

	machine_make(&m, &o);
	memset(m.mem + FLAG * 4096, 0, 4096);
	CHECK_EQ(pthread_create(&thread, NULL, vcpu, NULL), 0);
	while (calls < 1)
		sched_yield();
	CHECK_EQ(pthread_create(&reporter, NULL, reports, &sent), 0);
	for (i = 0; i < ROUNDS; i++) {
		atomic_store(&pause_wanted, 1);
		__atomic_store_n(&m.toy.run[0]->immediate_exit, 1, __ATOMIC_SEQ_CST);
		pthread_kill(thread, SIGUSR1);
		while (i % 3 && !stands)
			sched_yield();
		pause_wanted = 0;
		nap(100000);
	}
	ends = 1;
	CHECK_EQ(pthread_join(reporter, NULL), 0);
	nap(10000000);
	/* and the byte is not left behind */
	before = calls;
	nap(20000000);
	CHECK_EQ(calls, before);
	CHECK_EQ(m.toy.run[0]->immediate_exit, 0);
	m.mem[FLAG * 4096] = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, sent);
	CHECK_EQ(bez_vm_outcome_count(m.vm, BEZ_VM_OUTCOME_DELIVERED), sent);
	CHECK(sent > 0);
	machine_unmake(&m);
}

static const struct tap_case cases[] = {
	{ .name = "pauses and resumes", .run = pauses, .timeout_s = 60 },
};
TAP_MAIN(cases)
