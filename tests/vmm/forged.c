/* SPDX-License-Identifier: MIT */
/*
 * The signals that a kernel with memory failure sends, of memory that is lost: by
 * KVM to the thread of a vCPU, to the helper thread before anybody has touched it, and
 * to the monitor for what it touches itself.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE	5
#define AT	machine_gpa(PAGE)

static struct machine m;
static _Atomic int32_t runner;

/*
 * What the kernel alone may send a thread can send itself. The thread of a vCPU does so
 * in the handler of a signal that keeps SIGBUS back: it comes when that returns to
 * where KVM_RUN was left. The helper thread does so where it tells of a loss.
 */
static struct {
	struct machine *to;
	size_t page;
	_Atomic int armed;
} order;

static void forge(struct machine *to, int code, size_t page)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = code;
	info.si_addr = to->mem + page * 4096;
	info.si_addr_lsb = 12;
	syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info);
}

/* Just now, and not an instruction later: a signal of the kernel's comes with the
 * end of the system call. */
static int left_kvm_run(const ucontext_t *uc)
{
	static const unsigned char call[2] = { 0x0f, 0x05 };

	return uc->uc_mcontext.gregs[REG_RSI] == KVM_RUN &&
	       uc->uc_mcontext.gregs[REG_RAX] == -EINTR &&
	       !memcmp((const char *)uc->uc_mcontext.gregs[REG_RIP] - 2, call,
		       sizeof(call));
}

static void on_kick(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	if (order.armed && gettid() == runner && left_kvm_run(context)) {
		order.armed = 0;
		forge(order.to, BUS_MCEERR_AR, order.page);
	}
}

static void kicks_keep_sigbus(void)
{
	struct sigaction act = { .sa_sigaction = on_kick,
				 .sa_flags = SA_SIGINFO };

	sigemptyset(&act.sa_mask);
	sigaddset(&act.sa_mask, SIGBUS);
	CHECK_EQ(sigaction(SIGUSR1, &act, NULL), 0);
}

/* Lost to nobody's harm, so that the helper thread has something to tell. */
static _Atomic int noticed;

static void on_lost(const struct bez_lost *lost, void *arg)
{
	const size_t *page = arg;

	(void)lost;
	forge(order.to, BUS_MCEERR_AO, *page);
	noticed++;
}

static void notice(struct machine *to, size_t page)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *scratch = live_pages(1), byte;
	bez_region_t region;
	int before = noticed;

	order.to = to;
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.on_lost = on_lost;
	policy.on_lost_arg = &page;
	CHECK_EQ(bez_region_add(scratch, 4096, &policy, &region), 0);
	live_poison(scratch);
	CHECK_EQ(bez_copy(&byte, scratch, 1), 1);
	while (noticed == before)
		;
	CHECK_EQ(bez_region_remove(region), 0);
	munmap(scratch, 4096);
}

/* Spins on page 1, and leaves by itself when it is told to. */
static void *spins(void *arg)
{
	struct machine *of = arg;
	int r;

	/* it has run once: KVM_RUN is what a signal will find it in */
	runner = (int32_t)gettid();
	do {
		r = machine_run(of, 0);
	} while (r == TOY_MC);
	CHECK_EQ(r, TOY_DONE);
	return NULL;
}

static pthread_t begin(struct machine *of)
{
	pthread_t thread;

	memset(of->mem + 4096, 0, 4096);
	toy_begin(&of->toy, 0, TOY_SPIN, machine_gpa(1), 0, 0);
	runner = 0;
	CHECK_EQ(pthread_create(&thread, NULL, spins, of), 0);
	while (!runner)
		;
	return thread;
}

static void end(struct machine *of, pthread_t thread)
{
	*(volatile unsigned char *)(of->mem + 4096) = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static uint64_t checks(struct machine *of)
{
	return *(volatile uint64_t *)&toy_mc(&of->toy, 0)->count;
}

static void make(struct machine *of)
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST,
					   .patience_ns = 60000000000 };

	machine_make(of, &o);
	machine_lose(of, PAGE);
}

static void in_kvm_run(void)
{
	pthread_t thread;
	int i;

	make(&m);
	kicks_keep_sigbus();
	order.to = &m;
	order.page = PAGE;
	thread = begin(&m);
	for (i = 0; i < 5; i++) {
		uint64_t before = checks(&m);

		/* what comes while KVM_RUN has an exit is met again: here by us */
		while (checks(&m) == before) {
			order.armed = 1;
			CHECK_EQ(syscall(SYS_tgkill, getpid(), runner, SIGUSR1),
				 0);
			sched_yield();
		}
		order.armed = 0;
		CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
		CHECK_EQ(toy_mc(&m.toy, 0)->mcg_status, 7);
	}
	end(&m, thread);
	CHECK(bez_outcome_count(BEZ_OUTCOME_RELAYED) >= 5);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), checks(&m));
	machine_unmake(&m);
}

static void early_notice(void)
{
	pthread_t thread;

	make(&m);
	thread = begin(&m);
	notice(&m, PAGE);
	while (!checks(&m))
		;
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	CHECK_EQ(toy_mc(&m.toy, 0)->mcg_status, 5);
	CHECK_EQ(toy_mc(&m.toy, 0)->status, 0xbd000000000000c0);
	CHECK(bez_vm_lost_in(m.vm, AT, 4096));
	end(&m, thread);
	CHECK_EQ(machine_count(&m, BEZ_VM_OUTCOME_DELIVERED), 1);
	machine_unmake(&m);
}

/* A hint, and it is wrong: the page is good. */
static void early_and_wrong(void)
{
	pthread_t thread;

	make(&m);
	thread = begin(&m);
	notice(&m, PAGE + 1);
	notice(&m, PAGE);
	while (!checks(&m))
		;
	end(&m, thread);
	CHECK_EQ(checks(&m), 1);
	CHECK_EQ(toy_mc(&m.toy, 0)->addr, AT);
	CHECK(!bez_vm_lost_in(m.vm, AT + 4096, 4096));
	machine_unmake(&m);
}

/* The monitor's own load: never the guest's, and no way out was prepared. */
static void own_access(void)
{
	make(&m);
	live_read(m.mem + PAGE * 4096);
	CHECK(0);
}

static void own_access_in_scope(void)
{
	volatile int caught = 0;

	make(&m);
	BEZ_TRY {
		live_read(m.mem + PAGE * 4096);
	} BEZ_CATCH(lost) {
		caught = lost->addr == m.mem + PAGE * 4096;
	}
	CHECK(caught);
	CHECK_EQ(m.events, 0);
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(1), 0, 0);
	CHECK_EQ(machine_run(&m, 0), TOY_DONE);
	CHECK_EQ(checks(&m), 0);
	machine_unmake(&m);
}

/* ------------------------------------------------------- slots come and go */

static void slot_is_gone(void)
{
	pthread_t thread;
	uint64_t gpa;

	make(&m);
	CHECK_EQ(bez_vm_unmap(m.vm, MACHINE_GPA), 0);
	CHECK_EQ(bez_vm_gpa(m.vm, m.mem, &gpa), -ENOENT);
	CHECK(!bez_vm_lost_in(m.vm, AT, 4096));
	CHECK_EQ(bez_vm_map(m.vm, MACHINE_GPA, MACHINE_LEN, m.mem, 0, NULL), 0);
	thread = begin(&m);
	notice(&m, PAGE);
	while (!checks(&m))
		;
	end(&m, thread);
	machine_unmake(&m);
}

/* While errors are on their way: told of memory that it has, or of none. */
static void slots_change(void)
{
	static unsigned char *other;
	pthread_t thread;
	int i, r;

	make(&m);
	other = live_pages(16);
	thread = begin(&m);
	for (i = 0; i < 300; i++) {
		uint64_t gpa = 0x10000000 + (uint64_t)(i % 7) * 0x100000;

		CHECK_EQ(bez_vm_map(m.vm, gpa, 16 * 4096, other, 0, NULL), 0);
		notice(&m, PAGE);
		r = bez_vm_report(m.vm, NULL, BEZ_VM_ERROR_SRAO, gpa);
		CHECK(!r || r == -ENOSPC);
		CHECK_EQ(bez_vm_unmap(m.vm, gpa), 0);
		while (bez_vm_outcome_count(m.vm, BEZ_VM_OUTCOME_FULL) +
		       bez_vm_outcome_count(m.vm, BEZ_VM_OUTCOME_GONE) +
		       bez_vm_outcome_count(m.vm, BEZ_VM_OUTCOME_DELIVERED) +
		       bez_vm_outcome_count(m.vm, BEZ_VM_OUTCOME_MERGED) <=
		       (uint64_t)i)
			;
	}
	end(&m, thread);
	CHECK(checks(&m) > 0);
	machine_unmake(&m);
}

/* ---------------------------------------------------------------- two machines */

static struct machine n;

static void two(void)
{
	struct bez_vm_options o = { .size = sizeof(o) };
	pthread_t thread;

	make(&m);
	/* the second by hand, as the library is started already */
	toy_make(&n.toy, 1);
	o.kvm_fd = n.toy.kvm;
	o.vm_fd = n.toy.vm;
	o.kick_signal = SIGUSR1;
	o.flags = BEZ_VM_NO_BROADCAST;
	o.vendor = BEZ_VM_VENDOR_INTEL;
	CHECK_EQ(bez_vm_create(&o, &n.vm), 0);
	n.mem = live_pages(MACHINE_PAGES);
	CHECK_EQ(bez_vm_map(n.vm, MACHINE_GPA, MACHINE_LEN, n.mem, 0, NULL), 0);
	/* memory of the other is not to be had twice */
	CHECK_EQ(bez_vm_map(n.vm, 0x40000000, 4096, m.mem, 0, NULL), -EEXIST);
	toy_slot(&n.toy, 1, MACHINE_GPA, n.mem, MACHINE_LEN, 0);
	toy_cpuid(&n.toy, 0, "GenuineIntel");
	CHECK_EQ(bez_vcpu_add(n.vm, n.toy.vcpu[0], n.toy.run[0], &n.vcpu[0]), 0);
	toy_boot(&n.toy, 0);
	machine_lose(&n, PAGE + 1);
	thread = begin(&n);
	notice(&m, PAGE);
	notice(&n, PAGE + 1);
	while (!checks(&n))
		;
	CHECK_EQ(toy_mc(&n.toy, 0)->addr, AT + 4096);
	end(&n, thread);
	CHECK_EQ(checks(&n), 1);
	CHECK(!bez_vm_lost_in(n.vm, AT, 4096));
	CHECK(bez_vm_lost_in(m.vm, AT, 4096));
	CHECK(!bez_vm_lost_in(m.vm, AT + 4096, 4096));
	CHECK_EQ(bez_vcpu_remove(n.vcpu[0]), 0);
	CHECK_EQ(bez_vm_destroy(n.vm), 0);
	machine_unmake(&m);
}

static const struct tap_case cases[] = {
	{ .name = "in KVM_RUN", .run = in_kvm_run },
	{ .name = "early notice", .run = early_notice },
	{ .name = "early notice of a good page", .run = early_and_wrong },
	{ .name = "own access", .run = own_access, .want_signal = SIGBUS },
	{ .name = "own access, in a scope", .run = own_access_in_scope },
	{ .name = "a slot is gone", .run = slot_is_gone },
	{ .name = "slots change", .run = slots_change },
	{ .name = "two machines", .run = two },
};
TAP_MAIN(cases)
