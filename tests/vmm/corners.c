/* SPDX-License-Identifier: MIT */
/*
 * Where the way of an access through KVM has corners: stores in pieces, memory that is
 * replaced meanwhile, memory that the monitor has closed itself, what a monitor does with
 * struct kvm_run.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	5
#define AT	machine_gpa(PAGE)

static struct machine m;
static const struct machine_options plain = { .flags = BEZ_VM_NO_BROADCAST };

/* Only where KVM takes lost memory for a device. */
static void need_emulated(void)
{
	if (live_is_real())
		tap_skip("KVM sends a signal here, and nothing is emulated");
}

static uint64_t checks(int vcpu)
{
	return *(volatile uint64_t *)&toy_mc(&m.toy, vcpu)->count;
}

/* What is stored. */
static uint64_t pattern(void)
{
	memset(m.mem + 4096, 0x5a, 16);
	return machine_gpa(1);
}

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)arg;
	memset(dst, machine_byte(offset / 4096), len);
	return 0;
}

static uint64_t wrote_gpa, wrote_len;

static void wrote(struct bez_vm *vm, uint64_t gpa, uint64_t len, void *arg)
{
	(void)vm;
	(void)arg;
	wrote_gpa = gpa;
	wrote_len += len;
}

/* The page has a source: it is replaced, and all 16 bytes are in it. And the monitor
 * hears that it is dirty. */
static void wide_store_is_whole(void)
{
	const struct bez_source from = bez_source_callback(fill, NULL);
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct machine_options o = plain;
	size_t i;

	need_emulated();
	policy.source = &from;
	o.wrote = wrote;
	o.policy = &policy;
	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	toy_begin(&m.toy, 0, TOY_STORE16, AT + 32, pattern(), 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	for (i = 0; i < 4096; i++)
		CHECK_EQ(m.mem[PAGE * 4096 + i],
			 i >= 32 && i < 48 ? 0x5a : machine_byte(PAGE));
	CHECK_EQ(checks(0), 0);
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_GOOD);
	CHECK_EQ(machine_last(&m)->error, BEZ_VM_ERROR_NONE);
	CHECK_EQ(machine_last(&m)->gpa, AT);
	/* in two pieces */
	CHECK_EQ(wrote_gpa, AT + 40);
	CHECK_EQ(wrote_len, 16);
	machine_unmake(&m);
}

/* Half of it is lost, and half is not: that one is stored. */
static void store_over_the_edge(void)
{
	size_t i;

	need_emulated();
	machine_make(&m, &plain);
	machine_lose(&m, PAGE);
	toy_begin(&m.toy, 0, TOY_STORE16, AT + 4096 - 8, pattern(), 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	CHECK_EQ(toy_mc(&m.toy, 0)->mcg_status, 6);
	for (i = 0; i < 4096; i++)
		CHECK_EQ(m.mem[(PAGE + 1) * 4096 + i],
			 i < 8 ? 0x5a : machine_byte(PAGE + 1));
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	machine_unmake(&m);
}

/* Half of it is a device's: the monitor gets that half. */
static void store_to_a_device(void)
{
	int r;

	need_emulated();
	machine_make(&m, &plain);
	machine_lose(&m, MACHINE_PAGES - 1);
	toy_begin(&m.toy, 0, TOY_STORE16, machine_gpa(MACHINE_PAGES) - 8,
		  pattern(), 0);
	do {
		r = bez_vcpu_run(m.vcpu[0]);
	} while (r == -EINTR);
	CHECK_EQ(r, 0);
	CHECK_EQ(m.toy.run[0]->exit_reason, KVM_EXIT_MMIO);
	CHECK_EQ(m.toy.run[0]->mmio.phys_addr, machine_gpa(MACHINE_PAGES));
	CHECK_EQ(m.toy.run[0]->mmio.is_write, 1);
	CHECK_EQ(m.toy.run[0]->mmio.len, 8);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, machine_gpa(MACHINE_PAGES - 1));
	machine_unmake(&m);
}

/* The same, and the other half is good by now: stored, and the monitor hears of it. */
static void half_is_stored(void)
{
	const struct bez_source from = bez_source_callback(fill, NULL);
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct machine_options o = plain;
	const unsigned char *end;
	size_t i;
	int r;

	need_emulated();
	policy.source = &from;
	o.wrote = wrote;
	o.policy = &policy;
	machine_make(&m, &o);
	machine_lose(&m, MACHINE_PAGES - 1);
	toy_begin(&m.toy, 0, TOY_STORE16, machine_gpa(MACHINE_PAGES) - 8,
		  pattern(), 0);
	do {
		r = bez_vcpu_run(m.vcpu[0]);
	} while (r == -EINTR);
	CHECK_EQ(r, 0);
	CHECK_EQ(m.toy.run[0]->exit_reason, KVM_EXIT_MMIO);
	CHECK_EQ(m.toy.run[0]->mmio.phys_addr, machine_gpa(MACHINE_PAGES));
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_GOOD), 1);
	CHECK_EQ(machine_last(&m)->gpa, machine_gpa(MACHINE_PAGES - 1));
	CHECK_EQ(wrote_gpa, machine_gpa(MACHINE_PAGES) - 8);
	CHECK_EQ(wrote_len, 8);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	end = m.mem + MACHINE_LEN;
	for (i = 1; i <= 4096; i++)
		CHECK_EQ(end[-(long)i], i <= 8 ? 0x5a :
					machine_byte(MACHINE_PAGES - 1));
	CHECK_EQ(checks(0), 0);
	machine_unmake(&m);
}

/* A store that cannot be told of where it was: the page is told of later. */
static void store_is_held(void)
{
	need_emulated();
	machine_make(&m, &plain);
	machine_lose(&m, PAGE);
	toy_set_msr(&m.toy, 0, 0x17a, 4);
	toy_begin(&m.toy, 0, TOY_STORE, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	CHECK_EQ(checks(0), 0);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_HELD), 1);
	toy_set_msr(&m.toy, 0, 0x17a, 0);
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(1), 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	CHECK_EQ(toy_mc(&m.toy, 0)->mcg_status, 5);
	CHECK_EQ(toy_mc(&m.toy, 0)->status, 0xbd000000000000c0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	machine_unmake(&m);
}

/* For the monitor, with what it would be at a device. */
static void leaves_closed(int how)
{
	const struct kvm_run *run = m.toy.run[0];
	int r;

	toy_begin(&m.toy, 0, how, AT + 16, 0, 0);
	do {
		r = bez_vcpu_run(m.vcpu[0]);
	} while (r == -EINTR);
	CHECK_EQ(r, 0);
	CHECK_EQ(run->exit_reason, KVM_EXIT_MMIO);
	CHECK_EQ(run->mmio.phys_addr, AT + 16);
	CHECK_EQ(run->mmio.is_write, how == TOY_STORE);
}

/* Memory that the monitor has closed: its exit, as without the library. */
static void closed_by_the_monitor(void)
{
	need_emulated();
	machine_make(&m, &plain);
	CHECK_EQ(mprotect(m.mem + PAGE * 4096, 4096, PROT_NONE), 0);
	leaves_closed(TOY_LOAD);
	CHECK_EQ(checks(0), 0);
	CHECK(!bez_vm_lost_in(m.vm, AT, 1));
	machine_unmake(&m);
}

/* A store there, too: not the end of the monitor. */
static void closed_to_stores(void)
{
	const int prot = *(const int *)tap_data();

	need_emulated();
	machine_make(&m, &plain);
	CHECK_EQ(mprotect(m.mem + PAGE * 4096, 4096, prot), 0);
	leaves_closed(TOY_STORE);
	CHECK_EQ(m.toy.run[0]->mmio.data[0], 0x5a);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	CHECK_EQ(m.events, 0);
	machine_unmake(&m);
}

/* No room to say that it is lost, as the list of another guest has taken all: no byte that
 * nobody wrote is handed out. */
static void no_room(void)
{
	const size_t all = 32768 * 4096ul;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;
	void *other;

	need_emulated();
	machine_make(&m, &plain);
	other = mmap(NULL, all, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(other != MAP_FAILED);
	madvise(other, all, MADV_NOHUGEPAGE);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(other, all, &policy, &r), 0);
	CHECK_EQ(bez_lost_add(other, all), 0);
	live_poison(m.mem + PAGE * 4096);
	toy_begin(&m.toy, 0, TOY_WIDE, AT - 4, 0, 0);
	CHECK_EQ(machine_run(&m, 0), -EHWPOISON);
	CHECK_EQ(checks(0), 0);
	CHECK_EQ(bez_region_remove(r), 0);
	machine_unmake(&m);
}

/* The monitor has KVM put registers into struct kvm_run, and gives them back. */
static void registers_in_the_run(void)
{
	struct kvm_run *run;

	need_emulated();
	machine_make(&m, &plain);
	machine_lose(&m, PAGE);
	run = m.toy.run[0];
	run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS |
			      KVM_SYNC_X86_EVENTS;
	/* it serves a machine check: nothing is told, nobody asks for registers */
	toy_set_msr(&m.toy, 0, 0x17a, 4);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(run->s.regs.sregs.cr3, 0x1000);
	CHECK_EQ(run->s.regs.regs.rip, toy_rip(TOY_LOAD));
	toy_set_msr(&m.toy, 0, 0x17a, 0);
	while (!machine_count(&m, BEZ_VM_OUTCOME_DELIVERED))
		CHECK_EQ(bez_vcpu_run(m.vcpu[0]), -EINTR);
	CHECK_EQ(run->s.regs.sregs.cr3, 0x1000);
	CHECK_EQ(run->s.regs.regs.rip, toy_rip(TOY_LOAD));
	CHECK(run->s.regs.events.exception.pending ||
	      run->s.regs.events.exception.injected);
	CHECK_EQ(run->s.regs.events.exception.nr, 18);
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS |
			      KVM_SYNC_X86_EVENTS;
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->rip, toy_rip(TOY_LOAD));
	machine_unmake(&m);
}

/* A monitor that clears immediate_exit after each KVM_RUN does not lose ours. */
static void monitor_clears(void)
{
	machine_make(&m, &plain);
	memset(m.mem + 4096, 0, 4096);
	toy_begin(&m.toy, 0, TOY_SPIN, machine_gpa(1), 0, 0);
	CHECK_EQ(bez_vm_report(m.vm, NULL, BEZ_VM_ERROR_SRAO, AT), 0);
	m.toy.run[0]->immediate_exit = 0;
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	machine_unmake(&m);
}

/* All the memory that a guest address can name below 64 GiB. */
static void large(void)
{
	const uint64_t len = 60ull << 30;
	void *big;

	need_emulated();
	machine_make(&m, &plain);
	big = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (big == MAP_FAILED)
		tap_skip("no 60 GiB of addresses: %s", strerror(errno));
	CHECK_EQ(bez_vm_map(m.vm, 4ull << 30, len, big, 0, NULL), 0);
	machine_lose(&m, PAGE);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	machine_unmake(&m);
}

/* An instruction whose end lies on the lost page. */
static void straddles(void)
{
	static const unsigned char mov[] = { 0xb8, 1, 2, 3, 4, 0xc3 };

	need_emulated();
	machine_make(&m, &plain);
	memcpy(m.mem + PAGE * 4096 - 2, mov, sizeof(mov));
	machine_lose(&m, PAGE);
	toy_begin(&m.toy, 0, TOY_CALL, AT - 2, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	CHECK_EQ(toy_mc(&m.toy, 0)->status, 0xbd80000000000150);
	machine_unmake(&m);
}

static void rom_is_no_zeros(void)
{
	uint64_t left = 0;
	unsigned char byte;

	machine_make(&m, &plain);
	CHECK_EQ(bez_vm_unmap(m.vm, MACHINE_GPA), 0);
	CHECK_EQ(bez_vm_map(m.vm, MACHINE_GPA, MACHINE_LEN, m.mem,
			    BEZ_VM_MAP_READ_ONLY, NULL), 0);
	machine_lose(&m, PAGE);
	CHECK_EQ(bez_vm_read(m.vm, &byte, AT, 1), 1);
	CHECK_EQ(bez_vm_write(m.vm, AT + 4096, &byte, 1), 1);
	CHECK_EQ(bez_vm_reset(m.vm, &left), -EROFS);
	CHECK_EQ(left, 4096);
	CHECK_EQ(bez_vm_read(m.vm, &byte, AT, 1), 1);
	machine_unmake(&m);
}

static _Atomic int entered;

static void on_lost(const struct bez_lost *lost, void *arg)
{
	const size_t at = (size_t)((unsigned char *)lost->addr - m.mem);

	(void)arg;
	CHECK(at == PAGE * 4096 || at == (PAGE + 1) * 4096);
	entered++;
}

/* Who asks for it hears of each page that is entered, whoever has met it. */
static void each_that_is_entered(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct machine_options o = plain;
	unsigned char byte;

	policy.on_lost = on_lost;
	o.policy = &policy;
	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	machine_lose(&m, PAGE + 1);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(bez_vm_read(m.vm, &byte, AT + 4096, 1), 1);
	while (entered < 2)
		sched_yield();
	CHECK_EQ(m.events, 1);
	machine_unmake(&m);
}

/* A store to what the guest may only read is the monitor's, and nothing is written. */
static void stores_to_rom(void)
{
	const uint64_t gpa = 0x10000000;
	unsigned char *rom;
	int r;

	machine_make(&m, &plain);
	if (ioctl(m.toy.vm, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) <= 0)
		tap_skip("no memory in this KVM that a guest may only read");
	rom = live_pages(4);
	memset(rom, 7, 4 * 4096);
	CHECK_EQ(bez_vm_map(m.vm, gpa, 4 * 4096, rom, BEZ_VM_MAP_READ_ONLY, NULL), 0);
	toy_slot(&m.toy, 2, gpa, rom, 4 * 4096, KVM_MEM_READONLY);
	toy_begin(&m.toy, 0, TOY_STORE, gpa + 100, 0, 0);
	do {
		r = bez_vcpu_run(m.vcpu[0]);
	} while (r == -EINTR);
	CHECK_EQ(r, 0);
	CHECK_EQ(m.toy.run[0]->exit_reason, KVM_EXIT_MMIO);
	CHECK_EQ(m.toy.run[0]->mmio.phys_addr, gpa + 100);
	CHECK_EQ(m.toy.run[0]->mmio.is_write, 1);
	CHECK_EQ(rom[100], 7);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	CHECK_EQ(rom[100], 7);
	CHECK_EQ(m.events, 0);
	machine_unmake(&m);
}

/* -------------------------------------------------------------------- two vCPUs */

static _Atomic int second_runs, wants;

static void *second(void *arg)
{
	int r;

	toy_begin(&m.toy, 1, TOY_LOAD, machine_gpa(1), 0, 0);
	CHECK_EQ(machine_run(&m, 1), TOY_DONE);
	second_runs = 1;
	while (!wants)
		sched_yield();
	toy_begin(&m.toy, 1, TOY_LOAD, AT + 4096, 0, 0);
	while (wants != 2 || checks(1) < 2) {
		r = bez_vcpu_run(m.vcpu[1]);
		CHECKF(!r || r == -EINTR, "%d", r);
	}
	(void)arg;
	return NULL;
}

/* Both meet a page at the same time: each is told of its own and the other's, and that
 * the other was first is no reason to give the guest up. */
static void both_meet(void)
{
	const struct machine_options o = {
		.vcpus = 2, .not_ready = BEZ_VM_NOT_READY_GIVE_UP,
		.patience_ns = 30000000000,
	};
	pthread_t thread;
	int r;

	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	machine_lose(&m, PAGE + 1);
	CHECK_EQ(pthread_create(&thread, NULL, second, NULL), 0);
	while (!second_runs)
		sched_yield();
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	wants = 1;
	while (checks(0) < 2 || checks(1) < 2) {
		r = bez_vcpu_run(m.vcpu[0]);
		CHECKF(!r || r == -EINTR, "%d", r);
	}
	wants = 2;
	while (pthread_tryjoin_np(thread, NULL)) {
		r = bez_vcpu_run(m.vcpu[0]);
		CHECKF(!r || r == -EINTR, "%d", r);
	}
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_GAVE_UP), 0);
	machine_unmake(&m);
}

/* The other is in the guest's count, and has not run here yet: it is waited for. */
static void not_yet_run(void)
{
	const struct machine_options o = { .vcpus = 2,
					   .patience_ns = 300000000 };
	int r = -EINTR;

	machine_make(&m, &o);
	machine_lose(&m, PAGE);
	toy_begin(&m.toy, 0, TOY_LOAD, AT, 0, 0);
	while (r == -EINTR)
		r = bez_vcpu_run(m.vcpu[0]);
	CHECK_EQ(r, -EBUSY);
	CHECK_EQ(checks(0), 0);
	machine_unmake(&m);
}

/* A vCPU goes to another thread, and back: a kick finds it. */
static void *hops(void *arg)
{
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(1), 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	return arg;
}

static void *reports(void *arg)
{
	usleep(100000);			/* it is in the guest by then, mostly */
	CHECK_EQ(bez_vm_report(m.vm, NULL, BEZ_VM_ERROR_SRAO, AT), 0);
	return arg;
}

static void hop(void)
{
	pthread_t thread;

	machine_make(&m, &plain);
	hops(NULL);
	CHECK_EQ(pthread_create(&thread, NULL, hops, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	memset(m.mem + 4096, 0, 4096);
	toy_begin(&m.toy, 0, TOY_SPIN, machine_gpa(1), 0, 0);
	CHECK_EQ(pthread_create(&thread, NULL, reports, NULL), 0);
	CHECK_EQ(machine_run(&m, 0), TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	machine_unmake(&m);
}

static const int closed[] = { PROT_NONE, PROT_READ };

static const struct tap_case cases[] = {
	{ .name = "a wide store is whole", .run = wide_store_is_whole },
	{ .name = "a store over the edge", .run = store_over_the_edge },
	{ .name = "a store to a device", .run = store_to_a_device },
	{ .name = "half of a store is good", .run = half_is_stored },
	{ .name = "a store is held", .run = store_is_held },
	{ .name = "closed by the monitor", .run = closed_by_the_monitor },
	{ .name = "closed by the monitor, and stored to",
	  .run = closed_to_stores, .data = &closed[0] },
	{ .name = "closed to stores by the monitor", .run = closed_to_stores,
	  .data = &closed[1] },
	{ .name = "no room to say so", .run = no_room },
	{ .name = "registers in the run", .run = registers_in_the_run },
	{ .name = "the monitor clears", .run = monitor_clears },
	{ .name = "large", .run = large },
	{ .name = "an instruction straddles", .run = straddles },
	{ .name = "read only", .run = rom_is_no_zeros },
	{ .name = "each that is entered", .run = each_that_is_entered },
	{ .name = "stores to read only", .run = stores_to_rom },
	{ .name = "both meet", .run = both_meet },
	{ .name = "not yet run", .run = not_yet_run },
	{ .name = "hop", .run = hop },
};
TAP_MAIN(cases)
