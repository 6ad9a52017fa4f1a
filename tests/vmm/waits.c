/* SPDX-License-Identifier: MIT */
/*
 * A guest that cannot take a machine check now. KVM would drop it or kill the guest
 * in each of these; nothing of the kind may come of our doing.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define MCG_STATUS	0x17a
#define MCG_CTL		0x17b
#define MC_CTL(i)	(0x400u + 4 * (i))
#define MC_STATUS(i)	(0x401u + 4 * (i))
#define VALID		(1ull << 63)
#define MCIP		4
#define PAGE		5
#define AT		machine_gpa(PAGE)

static struct machine m;

static void make(uint32_t not_ready, int vcpus)
{
	const struct machine_options o = {
		.not_ready = not_ready, .vcpus = vcpus,
		.flags = vcpus > 1 ? 0 : BEZ_VM_NO_BROADCAST,
		.patience_ns = 200000000,
	};

	machine_make(&m, &o);
	machine_lose(&m, PAGE);
}

/* Ways in which it is not ready, and how it becomes so. */
struct not_ready {
	void (*set)(int on);
};

static void serves(int on)
{
	toy_set_msr(&m.toy, 0, MCG_STATUS, on ? MCIP : 0);
}

static void cr4(int on)
{
	toy_cr4_mce(&m.toy, 0, !on);
}

static void mcg_ctl(int on)
{
	toy_set_msr(&m.toy, 0, MCG_CTL, on ? 0 : ~0ull);
}

static void all_banks(int on)
{
	uint32_t i;

	for (i = 0; i < 10; i++)
		toy_set_msr(&m.toy, 0, MC_STATUS(i), on ? VALID : 0);
}

static void all_off(int on)
{
	uint32_t i;

	for (i = 0; i < 10; i++)
		toy_set_msr(&m.toy, 0, MC_CTL(i), on ? 0 : ~0ull);
}

/* The one that it met: it stands there until it can be told. */
static void held(void)
{
	const struct not_ready *way = tap_data();
	int r = -EINTR;

	make(BEZ_VM_NOT_READY_HOLD, 1);
	way->set(1);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_HELD);
	while (r == -EINTR)
		r = bez_vcpu_run(m.vcpu[0]);
	CHECK_EQ(r, -EBUSY);
	CHECK(machine_count(&m, BEZ_VM_OUTCOME_HELD) > 0);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_PAUSED), 1);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 0);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	way->set(0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 1);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	CHECK_EQ(toy_mc(&m.toy, 0)->rip, toy_rip(TOY_LOAD));
	machine_unmake(&m);
}

static void paused(void)
{
	make(BEZ_VM_NOT_READY_PAUSE, 1);
	cr4(1);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), -EBUSY);
	CHECK_EQ(machine_run(&m, 0), -EBUSY);
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_PAUSED);
	cr4(0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	machine_unmake(&m);
}

static void gave_up(void)
{
	make(BEZ_VM_NOT_READY_GIVE_UP, 1);
	cr4(1);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), -EHWPOISON);
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_GAVE_UP);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 0);
	machine_unmake(&m);
}

/* Linux panics on a bank that says it was overwritten. */
static void another_bank(void)
{
	make(BEZ_VM_NOT_READY_HOLD, 1);
	toy_set_msr(&m.toy, 0, MC_STATUS(9), VALID | 77);
	toy_set_msr(&m.toy, 0, MC_CTL(8), 0);
	toy_mc(&m.toy, 0)->keep = 1;
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(machine_last(&m)->bank, 7);
	CHECK_EQ(toy_mc(&m.toy, 0)->valid, 2);
	CHECK_EQ(toy_msr(&m.toy, 0, MC_STATUS(9)), VALID | 77);
	CHECK_EQ(toy_msr(&m.toy, 0, MC_STATUS(7)), 0xbd80000000000134);
	machine_unmake(&m);
}

/* -------------------------------------------------------------- those that wait */

/* The guest serves what comes until @count machine checks were served: as soon as it
 * has cleared MCIP the next may come, on top of the end of its handler. */
static void serve(uint64_t count)
{
	while (toy_mc(&m.toy, 0)->count < count)
		CHECK_EQ(machine_run(&m, 0), TOY_MC);
}

/* The page of the @nth that was delivered. */
static size_t delivered(size_t nth)
{
	int i;

	for (i = 0; i < m.events; i++)
		if (m.event[i].outcome == BEZ_VM_OUTCOME_DELIVERED && !nth--)
			return (m.event[i].gpa - MACHINE_GPA) / 4096;
	CHECKF(0, "not so many were");
	return 0;
}

static void report(size_t page)
{
	CHECK_EQ(bez_vm_report(m.vm, NULL, BEZ_VM_ERROR_SRAO,
			       machine_gpa(page)), 0);
}

static void in_order(void)
{
	size_t i;
	int r;

	make(BEZ_VM_NOT_READY_HOLD, 1);
	serves(1);
	for (i = 0; i < MACHINE_PAGES; i++)
		report((i * 11 + 3) % MACHINE_PAGES);
	toy_begin(&m.toy, 0, TOY_SPIN, machine_gpa(1), 0, 0);
	memset(m.mem + 4096, 0, 4096);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_HELD), MACHINE_PAGES);
	for (i = 0; i < MACHINE_PAGES; i++)
		CHECK_EQ(m.event[i].gpa,
			 machine_gpa((i * 11 + 3) % MACHINE_PAGES));
	/* the same again */
	for (i = 0; i < 10; i++)
		report(i);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_MERGED), 10);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	serves(0);
	serve(MACHINE_PAGES);
	for (i = 0; i < MACHINE_PAGES; i++)
		CHECK_EQ(delivered(i), (i * 11 + 3) % MACHINE_PAGES);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), MACHINE_PAGES);
	/* each was one, and the guest goes on */
	CHECK_EQ(toy_mc(&m.toy, 0)->count, MACHINE_PAGES);
	m.mem[4096] = 9;
	do {
		r = machine_run(&m, 0);
	} while (r == TOY_MC);		/* the ends of handlers */
	CHECK_EQ(r, TOY_DONE);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, MACHINE_PAGES);
	machine_unmake(&m);
}

/* One that comes while another is served: by itself, without an exit of the guest. */
static void ticks(void)
{
	make(BEZ_VM_NOT_READY_HOLD, 1);
	memset(m.mem + 4096, 0, 4096);
	toy_mc(&m.toy, 0)->stay = 1;
	toy_begin(&m.toy, 0, TOY_SPIN, machine_gpa(1), 0, 0);
	report(7);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	report(8);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_HELD), 1);
	toy_set_msr(&m.toy, 0, MCG_STATUS, 0);
	/* it spins: only the ticker gets it out */
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, machine_gpa(8));
	machine_unmake(&m);
}

static void too_many(void)
{
	size_t i, full = 0;

	make(BEZ_VM_NOT_READY_HOLD, 1);
	serves(1);
	for (i = 0; i < 1000; i++) {
		int r = bez_vm_report(m.vm, NULL, BEZ_VM_ERROR_UCNA,
				      machine_gpa(0) + i % 256 * 512);

		CHECK(!r || r == -ENOSPC);
		full += r != 0;
	}
	CHECK(full >= 1000 - 128 - 1);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_FULL), full);
	machine_unmake(&m);
}

/* ------------------------------------------------------------------- broadcast */

static _Atomic int second_runs;

/* It has been in the guest once, and only then counts. */
static void *second(void *arg)
{
	(void)arg;
	toy_begin(&m.toy, 1, TOY_LOAD, machine_gpa(1), 0, 0);
	CHECK_EQ(machine_run(&m, 1), TOY_DONE);
	toy_begin(&m.toy, 1, TOY_SPIN, machine_gpa(1), 0, 0);
	second_runs = 1;
	for (;;) {
		int r = bez_vcpu_run(m.vcpu[1]);

		if (r == -EINTR)
			continue;
		CHECK_EQ(r, 0);
		if (toy_port(&m.toy, 1) == TOY_DONE)
			return NULL;
		CHECK_EQ(toy_port(&m.toy, 1), TOY_MC);
	}
}

static pthread_t start_second(void)
{
	pthread_t thread;

	second_runs = 0;
	CHECK_EQ(pthread_create(&thread, NULL, second, NULL), 0);
	while (!second_runs)
		;
	return thread;
}

/* Two vCPUs: one meets it, both are told, and at the other nothing is to blame. */
static void broadcast(void)
{
	volatile unsigned char *flag;
	pthread_t thread;

	make(BEZ_VM_NOT_READY_HOLD, 2);
	flag = m.mem + 4096;
	memset(m.mem + 4096, 0, 4096);
	thread = start_second();
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	while (!*(volatile uint64_t *)&toy_mc(&m.toy, 1)->count)
		;
	CHECK_EQ(toy_mc(&m.toy, 1)->mcg_status, 5);
	CHECK_EQ(toy_mc(&m.toy, 1)->valid, 0);
	CHECK_EQ(machine_last(&m)->others, 1);
	*flag = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(toy_mc(&m.toy, 1)->count, 1);
	machine_unmake(&m);
}

static void *halts(void *arg)
{
	toy_begin(&m.toy, 1, TOY_LOAD, machine_gpa(1), 0, 0);
	CHECK_EQ(machine_run(&m, 1), TOY_DONE);
	toy_begin(&m.toy, 1, TOY_HALT, 0, 0, 0);
	second_runs = 1;
	CHECK_EQ(machine_run(&m, 1), TOY_MC);
	return arg;
}

/* The other has nothing to do, as most have: it is woken. */
static void broadcast_wakes(void)
{
	pthread_t thread;

	make(BEZ_VM_NOT_READY_HOLD, 2);
	second_runs = 0;
	CHECK_EQ(pthread_create(&thread, NULL, halts, NULL), 0);
	while (!second_runs)
		;
	usleep(50000);			/* it has halted by then, mostly */
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->mcg_status, 7);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(toy_mc(&m.toy, 1)->count, 1);
	CHECK_EQ(toy_mc(&m.toy, 1)->mcg_status, 5);
	machine_unmake(&m);
}

/* The other serves one of its own: not now; and then both. */
static void broadcast_waits(void)
{
	volatile unsigned char *flag;
	pthread_t thread;
	int i;

	make(BEZ_VM_NOT_READY_HOLD, 2);
	flag = m.mem + 4096;
	memset(m.mem + 4096, 0, 4096);
	toy_set_msr(&m.toy, 1, MCG_STATUS, MCIP);
	thread = start_second();
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	for (i = 0; i < 5; i++)
		CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	CHECK_EQ(toy_mc(&m.toy, 1)->count, 0);
	*flag = 1;			/* and is done, and out of the way */
	CHECK_EQ(pthread_join(thread, NULL), 0);
	toy_set_msr(&m.toy, 1, MCG_STATUS, 0);
	*flag = 0;
	thread = start_second();
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	while (!*(volatile uint64_t *)&toy_mc(&m.toy, 1)->count)
		;
	*flag = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	machine_unmake(&m);
}

/* ----------------------------------------------------------------------- kinds */

/* Deferred errors of AMD raise nothing: the guest finds them when it looks. */
static void amd_deferred(void)
{
	const struct machine_options o = { .vendor = "AuthenticAMD" };

	machine_make(&m, &o);
	memset(m.mem + 4096, 0, 4096);
	toy_begin(&m.toy, 0, TOY_SPIN, machine_gpa(1), 0, 0);
	report(3);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(toy_msr(&m.toy, 0, MCG_STATUS), 0);
	CHECK_EQ(toy_msr(&m.toy, 0, MC_STATUS(9)) & ~0xffffull,
		 0x9c00180000000000);
	m.mem[4096] = 1;
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	machine_unmake(&m);
}

static void amd_met(void)
{
	const struct machine_options o = { .vendor = "AuthenticAMD",
					   .vcpus = 2 };

	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->status & ~0xffffull, 0xbc00080000000000);
	CHECK_EQ(toy_mc(&m.toy, 0)->mcg_status, 7);
	CHECK_EQ(machine_last(&m)->others, 0);
	machine_unmake(&m);
}

/* To KVM before Linux 6.0 it would be a machine check. */
static void refused(void)
{
	make(BEZ_VM_NOT_READY_HOLD, 1);
	toy_begin(&m.toy, 0, TOY_HALT, 0, 0, 0);
	CHECK_EQ(bez_vm_report(m.vm, m.vcpu[0], BEZ_VM_ERROR_UCNA,
			       machine_gpa(10)), 0);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_REFUSED), 1);
	CHECK_EQ(machine_last(&m)->reason, -EOPNOTSUPP);
	CHECK_EQ(toy_msr(&m.toy, 0, MC_STATUS(9)), 0);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	machine_unmake(&m);
}

static void corrected(void)
{
	if (!live_linux(6, 0)) {
		refused();
		return;
	}
	make(BEZ_VM_NOT_READY_HOLD, 1);
	memset(m.mem + 4096, 0, 4096);
	toy_begin(&m.toy, 0, TOY_SPIN, machine_gpa(1), 0, 0);
	CHECK_EQ(bez_vm_report(m.vm, m.vcpu[0], BEZ_VM_ERROR_CORRECTED,
			       machine_gpa(9)), 0);
	CHECK_EQ(bez_vm_report(m.vm, m.vcpu[0], BEZ_VM_ERROR_UCNA,
			       machine_gpa(10)), 0);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 2);
	CHECK_EQ(toy_msr(&m.toy, 0, MC_STATUS(9)) >> 61 & 1, 0);
	CHECK_EQ(toy_msr(&m.toy, 0, MC_STATUS(8)) >> 61 & 1, 1);
	CHECK_EQ(toy_msr(&m.toy, 0, MC_STATUS(9) + 1), machine_gpa(9));
	CHECK_EQ(toy_msr(&m.toy, 0, MC_STATUS(8) + 1), machine_gpa(10));
	m.mem[4096] = 1;
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 0);
	machine_unmake(&m);
}

/* KVM stores an MCG_STATUS of 0 with it: not over the one that is being served. */
static void status_stays(void)
{
	live_need_linux(6, 0, "KVM that tells a guest of UCNA");
	make(BEZ_VM_NOT_READY_HOLD, 1);
	memset(m.mem + 4096, 0, 4096);
	serves(1);
	toy_begin(&m.toy, 0, TOY_SPIN, machine_gpa(1), 0, 0);
	CHECK_EQ(bez_vm_report(m.vm, m.vcpu[0], BEZ_VM_ERROR_UCNA,
			       machine_gpa(10)), 0);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_HELD);
	CHECK_EQ(toy_msr(&m.toy, 0, MCG_STATUS), MCIP);
	serves(0);
	while (!machine_count(&m, BEZ_VM_OUTCOME_DELIVERED))
		CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(toy_msr(&m.toy, 0, MC_STATUS(9) + 1), machine_gpa(10));
	m.mem[4096] = 1;
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	machine_unmake(&m);
}

/* What it has met is told, however much lies in the banks that nobody has read. */
static void one_is_kept(void)
{
	const struct machine_options o = { .vendor = "AuthenticAMD",
					   .patience_ns = 50000000 };
	size_t i;

	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	memset(m.mem + 4096, 0, 4096);
	for (i = 0; i < 20; i++)
		CHECK_EQ(bez_vm_report(m.vm, m.vcpu[0], BEZ_VM_ERROR_UCNA,
				       machine_gpa(20 + i)), 0);
	toy_begin(&m.toy, 0, TOY_SPIN, machine_gpa(1), 0, 0);
	while (!machine_count(&m, BEZ_VM_OUTCOME_HELD))
		CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 8);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 1);
	CHECK_EQ(toy_mc(&m.toy, 0)->valid, 9);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_PAUSED), 0);
	machine_unmake(&m);
}

static void reset(void)
{
	uint64_t left = 77;
	struct kvm_regs regs;

	make(BEZ_VM_NOT_READY_HOLD, 1);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	serves(1);
	report(9);
	CHECK_EQ(bez_vm_reset(m.vm, &left), 0);
	CHECK_EQ(left, 0);
	serves(0);
	CHECK(!bez_vm_lost_in(m.vm, 0, ~0ull));
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	toy_regs(&m.toy, 0, &regs);
	CHECK_EQ(regs.rax, 0);
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 1);
	machine_unmake(&m);
}

static const struct not_ready ways[] = {
	{ serves }, { cr4 }, { mcg_ctl }, { all_banks }, { all_off },
};

static const struct tap_case cases[] = {
	{ .name = "serves another", .run = held, .data = &ways[0] },
	{ .name = "CR4.MCE", .run = held, .data = &ways[1] },
	{ .name = "MCG_CTL", .run = held, .data = &ways[2] },
	{ .name = "no bank", .run = held, .data = &ways[3] },
	{ .name = "no bank that reports", .run = held, .data = &ways[4] },
	{ .name = "pause", .run = paused },
	{ .name = "give up", .run = gave_up },
	{ .name = "another bank", .run = another_bank },
	{ .name = "in order", .run = in_order },
	{ .name = "ticks", .run = ticks },
	{ .name = "too many", .run = too_many },
	{ .name = "broadcast", .run = broadcast },
	{ .name = "broadcast, one is halted", .run = broadcast_wakes },
	{ .name = "broadcast, one is not ready", .run = broadcast_waits },
	{ .name = "AMD, deferred", .run = amd_deferred },
	{ .name = "AMD, met", .run = amd_met },
	{ .name = "corrected, and no action", .run = corrected },
	{ .name = "no action, while it serves another", .run = status_stays },
	{ .name = "a bank is kept for what it meets", .run = one_is_kept },
	{ .name = "reset", .run = reset },
};
TAP_MAIN(cases)
