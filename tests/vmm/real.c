/* SPDX-License-Identifier: MIT */
/*
 * What only a kernel with memory failure can show of the relay: its own signals, out
 * of KVM_RUN and to who asked for early notice, and huge pages that are lost.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "huge.h"
#include "live.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE	5
#define AT	machine_gpa(PAGE)
#define SRAR	0xbd80000000000134
#define SRAO	0xbd000000000000c0

static struct machine m;

static void need_gib(void)
{
	live_need_linux(6, 0, "lost page of 1 GiB");
	huge_need_gib(1);
}

static void make(const struct machine_options *options)
{
	if (!live_is_real())
		tap_skip("this kernel has no memory failure, or we are not root");
	if (options->huge == HUGE_GIB)
		need_gib();
	else if (options->huge)
		huge_need(2);		/* and one for the reset */
	machine_make(&m, options);
}

static void load(size_t page, int port)
{
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(page) + 16, 0, 0);
	CHECK_EQ(machine_run(&m, 0), port);
}

static uint64_t rax(void)
{
	struct kvm_regs regs;

	toy_regs(&m.toy, 0, &regs);
	return regs.rax;
}

static void check_mc(int vcpu, uint64_t status, uint64_t mcg, size_t page)
{
	const struct toy_mc *mc = toy_mc(&m.toy, vcpu);

	CHECK_EQ(mc->valid, 1);
	CHECK_EQ(mc->bank, 9);
	CHECK_EQ(mc->status, status);
	CHECK_EQ(mc->addr, machine_gpa(page));
	CHECK_EQ(mc->misc, 0x8c);
	CHECK_EQ(mc->mcg_status, mcg);
	/* the registers themselves, as KVM has them: put away by the guest */
	CHECK_EQ(toy_msr(&m.toy, vcpu, 0x401 + 4 * 9), 0);
	CHECK_EQ(toy_msr(&m.toy, vcpu, 0x402 + 4 * 9), machine_gpa(page));
	CHECK_EQ(toy_msr(&m.toy, vcpu, 0x403 + 4 * 9), 0x8c);
}

/* ------------------------------------------------ what the kernel says, bare */

static struct {
	int count, code, lsb;
	void *addr;
} heard;

static void hear(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	heard.count++;
	heard.code = info->si_code;
	heard.lsb = info->si_addr_lsb;
	heard.addr = info->si_addr;
}

/* No bezoar in it: what the relay rests on. */
static void bare(size_t pages, int flags)
{
	struct sigaction act = { .sa_sigaction = hear, .sa_flags = SA_SIGINFO };
	const size_t len = pages * 4096;
	unsigned char *mem;
	struct toy toy;
	int i;

	toy_need();
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	CHECK(mem != MAP_FAILED);
	memset(mem, 1, len);
	toy_make(&toy, 1);
	toy_slot(&toy, 1, MACHINE_GPA, mem, len, 0);
	toy_cpuid(&toy, 0, "GenuineIntel");
	toy_boot(&toy, 0);
	CHECK_EQ(sigaction(SIGBUS, &act, NULL), 0);
	live_poison(mem + PAGE * 4096);
	CHECK_EQ(heard.count, 0);
	toy_begin(&toy, 0, TOY_LOAD, AT + 16, 0, 0);
	for (i = 1; i <= 2; i++) {
		CHECK_EQ(toy_run(&toy, 0), -EINTR);
		CHECK_EQ(heard.count, i);
		CHECK_EQ(heard.code, BUS_MCEERR_AR);
		CHECK_EQ(heard.lsb, 12);
		CHECK(heard.addr == mem + PAGE * 4096);
	}
	toy_unmake(&toy);
	munmap(mem, len);
}

static void bare_small(void)
{
	if (!live_is_real())
		tap_skip("this kernel has no memory failure, or we are not root");
	bare(16, 0);
}

static void bare_huge(void)
{
	if (!live_is_real())
		tap_skip("this kernel has no memory failure, or we are not root");
	huge_need(1);
	bare(HUGE_PAGE / 4096, MAP_HUGETLB);
}

/* ----------------------------------------------------- while the guest runs */

static _Atomic int running;

static void *spins(void *arg)
{
	const int vcpu = *(const int *)arg;
	int r;

	running++;
	do {
		r = machine_run(&m, vcpu);
	} while (r == TOY_MC);
	CHECK_EQ(r, TOY_DONE);
	return NULL;
}

static const int numbers[TOY_VCPUS] = { 0, 1 };

static void spin(pthread_t *threads, int vcpus, size_t page)
{
	int i;

	running = 0;
	for (i = 0; i < vcpus; i++) {
		toy_begin(&m.toy, i, TOY_SPIN, machine_gpa(page), 0, 0);
		CHECK_EQ(pthread_create(&threads[i], NULL, spins,
					(void *)&numbers[i]), 0);
	}
	while (running != vcpus)
		;
}

static void leave(pthread_t *threads, int vcpus, size_t page)
{
	int i;

	*(volatile unsigned char *)(m.mem + page * 4096) = 1;
	for (i = 0; i < vcpus; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static uint64_t checks(int vcpu)
{
	return *(volatile uint64_t *)&toy_mc(&m.toy, vcpu)->count;
}

/* It is lost by somebody else, and the guest has not touched it. */
static void early(void)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST,
					   .early = 1 };
	pthread_t thread[1];

	make(&o);
	memset(m.mem + 4096, 0, 4096);
	spin(thread, 1, 1);
	machine_lose(&m, PAGE);
	while (!checks(0))
		;
	leave(thread, 1, 1);
	CHECK_EQ(checks(0), 1);
	check_mc(0, SRAO, 5, PAGE);
	CHECK_EQ(machine_last(&m)->error, BEZ_VM_ERROR_SRAO);
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK(bez_vm_lost_in(m.vm, AT, 1));
	/* and who touches it all the same */
	load(PAGE, TOY_MC);
	check_mc(0, SRAR, 7, PAGE);
	machine_unmake(&m);
}

/* Both read the page at that moment. Each is told of it, and of the other's. */
static void both(void)
{
	const struct machine_options o = { .vcpus = 2,
					   .flags = BEZ_VM_NO_BROADCAST };
	pthread_t thread[2];
	uint64_t left;
	int i;

	make(&o);
	memset(m.mem + PAGE * 4096, 0, 4096);
	spin(thread, 2, PAGE);
	machine_lose(&m, PAGE);
	/* each time the same answer */
	while (checks(0) < 3 || checks(1) < 3)
		;
	for (i = 0; i < 2; i++) {
		CHECK_EQ(toy_mc(&m.toy, i)->status, SRAR);
		CHECK_EQ(toy_mc(&m.toy, i)->addr, AT);
		CHECK_EQ(toy_mc(&m.toy, i)->rip, toy_rip(TOY_SPIN));
	}
	/* the instruction goes on by itself where the page is fresh */
	CHECK_EQ(bez_lost_clear(m.mem + PAGE * 4096, 4096), 0);
	leave(thread, 2, PAGE);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED),
		 checks(0) + checks(1));
	CHECK_EQ(bez_vm_reset(m.vm, &left), 0);
	CHECK_EQ(left, 0);
	machine_unmake(&m);
}

/* -------------------------------------------------------------- huge pages */

static void lose_huge(size_t width)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST,
					   .huge = width };
	const struct bez_vm_event *e;
	struct bez_vm_lost lost;
	unsigned char got[64];
	uint64_t at = 0;

	make(&o);
	machine_lose(&m, PAGE);
	/* another page of it than the bad one: the host has lost all */
	load(PAGE + 2, TOY_MC);
	check_mc(0, SRAR, 7, PAGE + 2);
	e = machine_last(&m);
	CHECK_EQ(e->outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(e->gpa, machine_gpa(PAGE + 2));
	load(PAGE, TOY_MC);
	check_mc(0, SRAR, 7, PAGE);
	CHECK_EQ(bez_vm_lost_next(m.vm, &at, &lost), 0);
	CHECK_EQ(lost.gpa, MACHINE_GPA);
	CHECK_EQ(lost.len, width);
	CHECK_EQ(bez_vm_lost_next(m.vm, &at, &lost), -ENOENT);
	CHECK_EQ(bez_vm_read(m.vm, got, machine_gpa(40), sizeof(got)),
		 sizeof(got));
	CHECK_EQ(bez_vm_write(m.vm, machine_gpa(41), got, sizeof(got)),
		 sizeof(got));
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 2);
	/* mremap(2) moves huge pages since Linux 5.16; of a gigabyte there is hardly
	 * another one */
	if (!live_linux(5, 16) || (width == HUGE_GIB && !huge_free_gib())) {
		CHECK_EQ(bez_vm_reset(m.vm, &at), -ENOMEM);
		CHECK_EQ(at, width);
		load(PAGE + 1, TOY_MC);
	} else {
		CHECK_EQ(bez_vm_reset(m.vm, &at), 0);
		CHECK_EQ(at, 0);
		load(PAGE, TOY_DONE);
		CHECK_EQ(rax(), 0);
		CHECK_EQ(toy_mc(&m.toy, 0)->count, 2);
	}
	machine_unmake(&m);
}

static void huge(void)
{
	lose_huge(HUGE_PAGE);
}

static void gib(void)
{
	lose_huge(HUGE_GIB);
}

static void huge_early(void)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST,
					   .huge = HUGE_PAGE, .early = 1 };

	make(&o);
	machine_lose(&m, PAGE);
	/* in low memory, which is good: until it is told */
	do {
		toy_begin(&m.toy, 0, TOY_LOAD, 0, 0, 0);
} while (machine_run(&m, 0) == TOY_DONE && !m.events &&
		 !bez_outcome_count(BEZ_OUTCOME_STALE));
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_STALE), 0);
	CHECK_EQ(machine_last(&m)->outcome, BEZ_VM_OUTCOME_DELIVERED);
	CHECK_EQ(toy_mc(&m.toy, 0)->status, SRAO);
	CHECK_EQ(toy_mc(&m.toy, 0)->mcg_status, 5);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr & -HUGE_PAGE, MACHINE_GPA);
	CHECK_EQ(toy_mc(&m.toy, 0)->misc, 0x8c);
	CHECK(bez_vm_lost_in(m.vm, machine_gpa(100), 1));
	machine_unmake(&m);
}

/* Two of its pages were lost there, where memory is of smaller ones: all of it is. */
static void huge_imported(void)
{
	static const char list[] = "{\"bezoar-vm-lost\": 1, \"ranges\": ["
		"{\"gpa\": \"0x205000\", \"len\": \"0x1000\"},"
		"{\"gpa\": \"0x300000\", \"len\": \"0x2000\"}]}";
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST,
					   .huge = HUGE_PAGE };
	struct bez_vm_lost lost;
	unsigned char got[64];
	uint64_t at = 0;

	make(&o);
	CHECK_EQ(bez_vm_import(m.vm, list, sizeof(list) - 1), 0);
	CHECK_EQ(bez_vm_lost_next(m.vm, &at, &lost), 0);
	CHECK_EQ(lost.gpa, MACHINE_GPA);
	CHECK_EQ(lost.len, HUGE_PAGE);
	CHECK_EQ(bez_vm_lost_next(m.vm, &at, &lost), -ENOENT);
	CHECK_EQ(bez_vm_read(m.vm, got, machine_gpa(40), sizeof(got)),
		 sizeof(got));
	load(PAGE + 2, TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, machine_gpa(PAGE + 2));
	CHECK_EQ(toy_mc(&m.toy, 0)->misc, 0x8c);
	/* twice is once */
	CHECK_EQ(bez_vm_import(m.vm, list, sizeof(list) - 1), 0);
	machine_unmake(&m);
}

/* A part of it is what the guest may only read: zeros are not what was there. */
static void huge_rom(void)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST,
					   .huge = HUGE_PAGE };
	uint64_t left = 0;

	make(&o);
	CHECK_EQ(bez_vm_map(m.vm, MACHINE_GPA - 4096, 4096, m.mem + 40 * 4096,
			    BEZ_VM_MAP_READ_ONLY, NULL), 0);
	machine_lose(&m, PAGE);
	load(PAGE, TOY_MC);
	CHECK_EQ(bez_vm_reset(m.vm, &left), -EROFS);
	CHECK_EQ(left, HUGE_PAGE);
	CHECK(bez_vm_lost_in(m.vm, MACHINE_GPA - 4096, 4096));
	machine_unmake(&m);
}

/* ------------------------------------------------------------------ a reset */

static void heals(void)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST };
	uint64_t left;
	size_t page;

	make(&o);
	for (page = 0; page < 8; page++) {
		machine_lose(&m, page);
		load(page, TOY_MC);
		check_mc(0, SRAR, 7, page);
	}
	CHECK_EQ(bez_vm_reset(m.vm, &left), 0);
	CHECK_EQ(left, 0);
	CHECK(!bez_vm_lost_in(m.vm, 0, ~0ull));
	for (page = 0; page < 10; page++) {
		load(page, TOY_DONE);
		CHECK_EQ(rax(), page < 8 ? 0 : machine_byte(page));
	}
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 8);
	machine_unmake(&m);
}

/* Others may write the file, and fill the hole: so what is lost of it is closed by a
 * mapping in its place. The guest is told all the same, each time. */
static void file(void)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST,
					   .file = 1 };
	uint64_t left = 7;
	int i;

	make(&o);
	machine_lose(&m, PAGE);
	for (i = 1; i <= 3; i++) {
		load(PAGE, TOY_MC);
		check_mc(0, SRAR, 7, PAGE);
		CHECK_EQ(toy_mc(&m.toy, 0)->count, i);
	}
	load(PAGE + 1, TOY_DONE);
	CHECK_EQ(rax(), machine_byte(PAGE + 1));
	/* it is said whose the file is: a fresh page takes the place */
	CHECK_EQ(bez_vm_reset(m.vm, &left), 0);
	CHECK_EQ(left, 0);
	load(PAGE, TOY_DONE);
	CHECK_EQ(rax(), 0);
	CHECK_EQ(m.mem[(PAGE + 1) * 4096], machine_byte(PAGE + 1));
	machine_unmake(&m);
}

/* What an import has closed is poison for KVM if the kernel can do that, and else a
 * mapping that it says EFAULT of. */
static void imported(void)
{
	static const char list[] = "{\"bezoar-vm-lost\": 1, \"ranges\": ["
		"{\"gpa\": \"0x205000\", \"len\": \"0x1000\"}]}";
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST };

	make(&o);
	CHECK_EQ(bez_vm_import(m.vm, list, sizeof(list) - 1), 0);
	load(PAGE, TOY_MC);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, machine_gpa(PAGE));
	CHECK_EQ(toy_mc(&m.toy, 0)->count, 1);
	CHECK_EQ(m.events, 1);
	load(PAGE + 1, TOY_DONE);
	CHECK_EQ(rax(), machine_byte(PAGE + 1));
	machine_unmake(&m);
}

static const struct tap_case cases[] = {
	{ .name = "what KVM_RUN says", .run = bare_small },
	{ .name = "what KVM_RUN says of a huge page", .run = bare_huge },
	{ .name = "early notice", .run = early },
	{ .name = "two vCPUs in the page", .run = both },
	{ .name = "a huge page", .run = huge },
	{ .name = "a gigabyte", .run = gib },
	{ .name = "early notice of a huge page", .run = huge_early },
	{ .name = "imported, of a huge page", .run = huge_imported },
	{ .name = "a huge page, read only in part", .run = huge_rom },
	{ .name = "reset", .run = heals },
	{ .name = "imported", .run = imported },
	{ .name = "memory of a file", .run = file },
};
TAP_MAIN(cases)
