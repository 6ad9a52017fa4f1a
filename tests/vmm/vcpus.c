/* SPDX-License-Identifier: MIT */
/* vCPUs come and go: what waits for one that goes, and whose number it was. */
#define _GNU_SOURCE
#include "fake_kvm.h"

#include "tap.h"
#include "vmm/vmm.h"

#include <bezoar/vmm.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>

#define PAGES	512u
#define GPA	0x100000ull
#define QUEUE	128			/* of errors, for each vCPU */
#define MCIP	4

static struct bez_vm *vm;
static struct bez_vcpu *vcpu[FAKE_VCPUS];
static struct kvm_run *run[FAKE_VCPUS];
static struct bez_vm_event last;
static int full;
static _Atomic int kicks, over, many;
static uint32_t flags = BEZ_VM_NO_BROADCAST;
static struct bez_vm_event refused;

static void told(const struct bez_vm_event *event, void *arg)
{
	(void)arg;
	if (atomic_load(&many))
		return;
	if (event->outcome == BEZ_VM_OUTCOME_FULL)
		full++;
	if (event->outcome == BEZ_VM_OUTCOME_REFUSED)
		refused = *event;
	else if (event->outcome != BEZ_VM_OUTCOME_HELD)
		last = *event;
	/* with no lock held: this takes it */
	CHECK_EQ(bez_vm_unmap(vm, 1ull << 40), -ENOENT);
}

/* What it is to leave KVM_RUN by is set before. */
static void kick(struct bez_vcpu *of, void *arg)
{
	(void)arg;
	kicks++;
	if (flags && !many)		/* nobody looks meanwhile */
		CHECK_EQ(run[bez_vcpu_index(of)]->immediate_exit, 1);
}

static void add(int i)
{
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU + i, run[i], &vcpu[i]), 0);
}

static void make(int count)
{
	struct bez_vm_options o = {
		.size = sizeof(o), .kvm_fd = FAKE_KVM, .vm_fd = FAKE_VM,
		.flags = flags, .event = told,
		.max_vcpus = (uint32_t)count, .kick = kick,
	};
	void *mem = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	fake_reset();
	CHECK(mem != MAP_FAILED);
	CHECK_EQ(bez_start(NULL), 0);
	CHECK_EQ(bez_vm_create(&o, &vm), 0);
	CHECK_EQ(bez_vm_map(vm, GPA, PAGES * 4096, mem, 0, NULL), 0);
	for (i = 0; i < count; i++) {
		run[i] = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(run[i] != MAP_FAILED);
		add(i);
	}
}

static void report(int i, unsigned int page)
{
	CHECK_EQ(bez_vm_report(vm, vcpu[i], BEZ_VM_ERROR_SRAO,
			       GPA + page * 4096), 0);
}

static uint64_t count(enum bez_vm_outcome outcome)
{
	return bez_vm_outcome_count(vm, outcome);
}

/* Of what it has looked at and what it has not; the other tells of both. */
static void handed_over(void)
{
	make(2);
	fake.mcg_status = MCIP;
	report(1, 3);
	CHECK_EQ(bez_vcpu_deliver(vcpu[1], -EINTR), -EINTR);
	CHECK_EQ(count(BEZ_VM_OUTCOME_HELD), 1);
	report(1, 4);
	CHECK_EQ(bez_vcpu_remove(vcpu[1]), 0);
	CHECK_EQ(run[0]->immediate_exit, 1);
	fake.mcg_status = 0;
	CHECK_EQ(bez_vcpu_deliver(vcpu[0], -EINTR), -EINTR);
	CHECK_EQ(last.gpa, GPA + 3 * 4096);
	fake.mcg_status = 0;
	CHECK_EQ(bez_vcpu_deliver(vcpu[0], -EINTR), -EINTR);
	CHECK_EQ(last.gpa, GPA + 4 * 4096);
	CHECK(last.vcpu == vcpu[0]);
	CHECK_EQ(count(BEZ_VM_OUTCOME_DELIVERED), 2);
	CHECK_EQ(fake.raised, 2);
	CHECK_EQ(full, 0);
}

/* The first has no room, the next has. */
static void to_who_has_room(void)
{
	unsigned int i;

	make(3);
	for (i = 0; i < QUEUE; i++)
		report(0, i);
	report(2, 200);
	CHECK_EQ(bez_vcpu_remove(vcpu[2]), 0);
	CHECK_EQ(full, 0);
	CHECK_EQ(count(BEZ_VM_OUTCOME_FULL), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu[1], -EINTR), -EINTR);
	CHECK_EQ(count(BEZ_VM_OUTCOME_DELIVERED), 1);
	CHECK_EQ(last.gpa, GPA + 200 * 4096);
}

/* No room, and then nobody: each is told of, and once. */
static void no_room(void)
{
	unsigned int i;

	make(2);
	for (i = 0; i < QUEUE; i++)
		report(0, i);
	report(1, 200);
	report(1, 201);
	CHECK_EQ(bez_vcpu_remove(vcpu[1]), 0);
	CHECK_EQ(full, 2);
	CHECK_EQ(count(BEZ_VM_OUTCOME_FULL), 2);
	CHECK_EQ(last.outcome, BEZ_VM_OUTCOME_FULL);
	CHECK_EQ(last.error, BEZ_VM_ERROR_SRAO);
	CHECK_EQ(last.gpa, GPA + 201 * 4096);
	CHECK_EQ(last.reason, -ENOSPC);
	CHECK(!last.vcpu);
	CHECK_EQ(bez_vcpu_remove(vcpu[0]), 0);
	CHECK_EQ(full, 2 + QUEUE);
	CHECK_EQ(count(BEZ_VM_OUTCOME_FULL), 2 + QUEUE);
	CHECK_EQ(last.reason, -ENOENT);
	CHECK_EQ(bez_vm_destroy(vm), 0);
}

static void ten_thousand(void)
{
	size_t before, after;
	struct bez_vcpu *more;
	int i;

	make(2);
	before = mallinfo2().uordblks;
	for (i = 0; i < 10000; i++) {
		CHECK_EQ(bez_vcpu_remove(vcpu[i & 1]), 0);
		add(i & 1);
		CHECK_EQ(bez_vcpu_index(vcpu[i & 1]), i & 1);
	}
	after = mallinfo2().uordblks;
	CHECK(after < before + 1000000);
	CHECK_EQ(bez_vcpu_add(vm, FAKE_VCPU + 2, run[0], &more), -ENOSPC);
	/* the last that came is one like any other */
	report(1, 7);
	CHECK_EQ(bez_vcpu_deliver(vcpu[1], -EINTR), -EINTR);
	CHECK_EQ(count(BEZ_VM_OUTCOME_DELIVERED), 1);
	CHECK(last.vcpu == vcpu[1]);
}

static void *looks(void *arg)
{
	CHECK_EQ(bez_vcpu_deliver(arg, -EINTR), -EINTR);
	return NULL;
}

/* Who has a thread of its own, and that may be in KVM_RUN. */
static void kicked(void)
{
	pthread_t thread;

	make(2);
	CHECK_EQ(pthread_create(&thread, NULL, looks, vcpu[1]), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(kicks, 0);
	report(1, 3);
	CHECK_EQ(kicks, 1);
	report(0, 4);			/* nobody has run it yet */
	CHECK_EQ(kicks, 1);
	CHECK_EQ(run[0]->immediate_exit, 1);
}

static void *joins(void *arg)
{
	while (!over)
		CHECK_EQ(bez_vcpu_deliver(arg, -EINTR), -EINTR);
	return NULL;
}

/* To be told with the one that met it, and KVM says no: not in silence. */
static void other_refused(void)
{
	pthread_t thread;

	flags = 0;
	make(2);
	fake.fails = KVM_X86_SET_MCE;
	fake.fails_fd = FAKE_VCPU + 1;
	fake.err = EFAULT;
	report(0, 3);
	CHECK_EQ(pthread_create(&thread, NULL, joins, vcpu[1]), 0);
	while (!count(BEZ_VM_OUTCOME_DELIVERED))
		CHECK_EQ(bez_vcpu_deliver(vcpu[0], -EINTR), -EINTR);
	over = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(count(BEZ_VM_OUTCOME_REFUSED), 1);
	CHECK_EQ(refused.reason, -EFAULT);
	CHECK_EQ(refused.error, BEZ_VM_ERROR_NONE);
	CHECK(refused.vcpu == vcpu[1]);
}

/* -------------------------------------------------------------------- all at once */

#define REPORTERS 2
#define ROUNDS	3000

static _Atomic(struct bez_vcpu *) comes_and_goes;
static _Atomic uint64_t sent, no_room_for;

/* To one that may be gone by now, and to whoever has room. */
static void *sends(void *arg)
{
	uint64_t n = *(const uint64_t *)arg;
	int r;

	while (!over) {
		struct bez_vcpu *to = n & 1 ? atomic_load(&comes_and_goes) : NULL;

		n = n * 6364136223846793005u + 1442695040888963407u;
		r = bez_vm_report(vm, to, BEZ_VM_ERROR_CORRECTED,
				  GPA + (n >> 40) % PAGES * 4096);
		CHECKF(!r || r == -ENOSPC || (to && r == -ENOENT), "%d", r);
		sent += !r;
		no_room_for += r == -ENOSPC;
	}
	return NULL;
}

/* What it is told is read at once, so that there is room in its banks. */
static void look_and_read(struct bez_vcpu *of)
{
	int i;

	CHECK_EQ(bez_vcpu_deliver(of, -EINTR), -EINTR);
	for (i = 0; i < FAKE_BANKS; i++)
		fake.status[i] = 0;
}

static void *always_there(void *arg)
{
	(void)arg;
	while (!over)
		look_and_read(vcpu[0]);
	return NULL;
}

/* Each error that was taken becomes one thing, and one only. */
static void while_others_send(void)
{
	static const uint64_t seed[REPORTERS] = { 3, 10 };
	pthread_t thread[REPORTERS + 1];
	int i;

	make(2);
	many = 1;
	comes_and_goes = vcpu[1];
	for (i = 0; i < REPORTERS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, sends,
					(void *)&seed[i]), 0);
	CHECK_EQ(pthread_create(&thread[REPORTERS], NULL, always_there, NULL), 0);
	for (i = 0; i < ROUNDS || sent < 10000; i++) {
		CHECK_EQ(bez_vcpu_remove(vcpu[1]), 0);
		add(1);
		comes_and_goes = vcpu[1];
	}
	over = 1;
	for (i = 0; i <= REPORTERS; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
	CHECK_EQ(bez_vcpu_remove(vcpu[1]), 0);
	for (i = 0; i < 2 * QUEUE; i++)
		look_and_read(vcpu[0]);
	tap_diag("%llu errors, and %llu without room", (unsigned long long)sent,
		 (unsigned long long)no_room_for);
	CHECK_EQ(count(BEZ_VM_OUTCOME_DELIVERED) + count(BEZ_VM_OUTCOME_MERGED) +
		 count(BEZ_VM_OUTCOME_FULL), sent + no_room_for);
	CHECK(count(BEZ_VM_OUTCOME_DELIVERED) > 0);
	CHECK_EQ(bez_vcpu_remove(vcpu[0]), 0);
	CHECK_EQ(bez_vm_destroy(vm), 0);
}

static _Atomic int gone;

static void *removes(void *arg)
{
	CHECK_EQ(bez_vcpu_remove(arg), 0);
	gone = 1;
	return NULL;
}

/* Who has found a vCPU before it went may still put something into its inbox. */
static void a_sender_is_waited_for(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	const struct bzv_item item = { .gpa = GPA + 5 * 4096, .restart = 1,
				       .error = BEZ_VM_ERROR_SRAO };
	struct bzv_inbox *inbox;
	pthread_t thread;
	int i;

	make(2);
	atomic_fetch_add(&vm->senders, 1);
	inbox = &vcpu[1]->inbox;
	CHECK_EQ(pthread_create(&thread, NULL, removes, vcpu[1]), 0);
	while (atomic_load(&vm->vcpu[1]))
		sched_yield();
	for (i = 0; i < 100 && !gone; i++)
		nanosleep(&ms, NULL);
	CHECK(!gone);
	CHECK_EQ(bzv_inbox_put(inbox, &item), 0);
	atomic_fetch_sub(&vm->senders, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(bez_vcpu_deliver(vcpu[0], -EINTR), -EINTR);
	CHECK_EQ(count(BEZ_VM_OUTCOME_DELIVERED), 1);
	CHECK_EQ(last.gpa, GPA + 5 * 4096);
}

/* ------------------------------------------------------------------- the end */

#define SLOTS	8000ul

static uint64_t cpu_ns(void)
{
	struct timespec t;

	CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Each slot has memory of its own. */
static void thousands(void)
{
	uint64_t start, made, ended;
	unsigned char *mem;
	unsigned long i;

	make(1);
	CHECK_EQ(bez_vcpu_remove(vcpu[0]), 0);
	mem = mmap(NULL, 2 * SLOTS * 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mem != MAP_FAILED);
	start = cpu_ns();
	for (i = 0; i < SLOTS; i++)
		CHECK_EQ(bez_vm_map(vm, (1ull << 40) + 2 * i * 4096, 4096,
				    mem + 2 * i * 4096, 0, NULL), 0);
	made = cpu_ns();
	CHECK_EQ(bez_vm_destroy(vm), 0);
	ended = cpu_ns();
	tap_diag("made in %u ms, gone in %u us",
		 (unsigned int)((made - start) / 1000000),
		 (unsigned int)((ended - made) / 1000));
	CHECK(ended - made < (made - start) / 4);
}

static const struct tap_case cases[] = {
	{ .name = "handed over", .run = handed_over },
	{ .name = "to who has room", .run = to_who_has_room },
	{ .name = "no room", .run = no_room },
	{ .name = "kicked", .run = kicked },
	{ .name = "another is refused", .run = other_refused, .timeout_s = 20 },
	{ .name = "ten thousand", .run = ten_thousand },
	{ .name = "a sender is waited for", .run = a_sender_is_waited_for },
	{ .name = "while others send", .run = while_others_send, .timeout_s = 60 },
	{ .name = "the end of thousands", .run = thousands, .timeout_s = 120 },
};
TAP_MAIN(cases)
