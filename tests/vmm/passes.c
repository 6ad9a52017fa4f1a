/* SPDX-License-Identifier: MIT */
/*
 * Memory goes while vCPUs are in KVM_RUN: whoever is in there may have a signal of it
 * before it, and has to have left once before there is no region any more.
 */
#define _GNU_SOURCE
#include "machine.h"

#include "live.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CODE	2			/* pages: of the guest's program */
#define UP	3			/* it is in there */
#define END	4			/* it is to leave */
#define OTHER	(MACHINE_GPA + MACHINE_LEN)

#define MORE	(OTHER + 4096)
#define MANY	20
#define PASS_NS	200000000u		/* as in src/vmm/pass.c */

static struct machine m;
static unsigned char *other;
static int end_of[2];			/* of a pipe: who reads there sleeps */
/* How often KVM_RUN was left of a kick; how often the region was there by then. */
static _Atomic unsigned int left[TOY_VCPUS], still[TOY_VCPUS];
/* What the thread does behind KVM_RUN. GO: on with it. */
enum { GO, SPIN, SLEEP };
static _Atomic int then[TOY_VCPUS];
static _Atomic unsigned int outside;	/* does so */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int is_region(const void *at)
{
	bez_region_t region;

	return !bez_region_at(at, &region);
}

static volatile unsigned char *page(size_t i)
{
	return m.mem + i * 4096;
}

/* 1: movb $1, UP; cmpb $0, END; jz 1b; ret. Each vCPU has a byte. */
static void program(int i)
{
	unsigned char code[] = { 0xc6, 0x04, 0x25, 0, 0, 0, 0, 1,
				 0x80, 0x3c, 0x25, 0, 0, 0, 0, 0,
				 0x74, 0xee, 0xc3 };
	uint32_t up = (uint32_t)(machine_gpa(UP) + (size_t)i);
	uint32_t end = (uint32_t)machine_gpa(END);

	memcpy(code + 3, &up, 4);
	memcpy(code + 11, &end, 4);
	memcpy(m.mem + CODE * 4096 + i * 64, code, sizeof(code));
	page(UP)[i] = *page(END) = 0;
	toy_begin(&m.toy, i, TOY_CALL, machine_gpa(CODE) + (size_t)i * 64, 0, 0);
}

static void wait_outside(int i)
{
	char c;

	if (then[i] == GO)
		return;
	outside++;
	while (then[i] == SPIN)
		;
	/* kicks come in between */
	while (then[i] == SLEEP && read(end_of[0], &c, 1) != 1)
		CHECK_EQ(errno, EINTR);
	outside--;
}

static int by_us(int i)
{
	int r = bez_vcpu_run(m.vcpu[i]);

	/* as one that was paused: docs/vmm.md */
	if (r == -EINTR && then[i] != GO)
		r = bez_vcpu_deliver(m.vcpu[i], -EINTR);
	wait_outside(i);
	return r;
}

static int by_itself(int i)
{
	int ran = toy_run(&m.toy, i);
	uint64_t begin = now_ns();

	/* long enough for who would not wait. Who sleeps is seen to be outside, and
	 * who waits for the other in here does */
	if (ran == -EINTR && then[i] == GO) {
		while (now_ns() < begin + 5000000 * (uint64_t)(i + 1))
			;
		still[i] += is_region(other);
	}
	if (then[i] == SPIN)
		wait_outside(i);
	ran = bez_vcpu_deliver(m.vcpu[i], ran);
	wait_outside(i);
	return ran;
}

struct who {
	pthread_t thread;
	int vcpu;
	int (*run)(int i);
};

/* Nothing but a kick brings it out. */
static void *runs(void *arg)
{
	const struct who *who = arg;
	const int i = who->vcpu;

	CHECK_EQ(bez_thread_attach(), 0);
	if (who->run == by_itself)
		CHECK_EQ(bez_vcpu_deliver(m.vcpu[i], -EINTR), -EINTR);
	while (who->run(i) == -EINTR)
		left[i]++;
	CHECK_EQ(toy_port(&m.toy, i), TOY_DONE);
	return NULL;
}

static void goes_in(int i)
{
	page(UP)[i] = 0;
	while (!page(UP)[i])
		;
}

static void make(int vcpus)
{
	const struct machine_options o = { .vcpus = vcpus,
					   .flags = BEZ_VM_NO_BROADCAST };

	machine_make(&m, &o);
	other = live_pages(2);
	CHECK_EQ(pipe(end_of), 0);
}

static void begin(struct who *who)
{
	program(who->vcpu);
	CHECK_EQ(pthread_create(&who->thread, NULL, runs, who), 0);
	goes_in(who->vcpu);
}

static void end(struct who *who, size_t n)
{
	size_t i;

	*page(END) = 1;
	for (i = 0; i < n; i++)
		CHECK_EQ(pthread_join(who[i].thread, NULL), 0);
	machine_unmake(&m);
}

static void map(void)
{
	CHECK_EQ(bez_vm_map(m.vm, OTHER, 4096, other, 0, NULL), 0);
	CHECK(is_region(other));
}

static uint64_t unmap(void)
{
	uint64_t begin = now_ns(), ns;

	CHECK_EQ(bez_vm_unmap(m.vm, OTHER), 0);
	ns = now_ns() - begin;
	CHECK(!is_region(other));
	return ns;
}

/* It has to leave, and each time again. */
static void leaves(void)
{
	struct who who = { .run = by_us };
	unsigned int i;

	make(1);
	begin(&who);
	for (i = 1; i <= 100; i++) {
		map();
		unmap();
		while (left[0] < i)
			;
		goes_in(0);
	}
	end(&who, 1);
}

/* When it leaves the region is there: of each of two. Once in a while a thread may have
 * had to wait for a processor for too long. */
static void before_the_region(void)
{
	struct who who[] = { { .run = by_itself }, { .vcpu = 1, .run = by_itself } };
	unsigned int i;

	make(2);
	begin(&who[0]);
	begin(&who[1]);
	for (i = 0; i < MANY && !(still[0] && still[1]); i++) {
		map();
		unmap();
		while (left[0] <= i || left[1] <= i)
			;
		goes_in(0);
		goes_in(1);
	}
	CHECKF(still[0] && still[1], "%u, %u", still[0], still[1]);
	end(who, 2);
}

/* One that does not come takes nothing from the other's time. */
static void beside_one_that_does_not(void)
{
	struct who who[] = { { .run = by_itself }, { .vcpu = 1, .run = by_itself } };
	unsigned int i;

	make(2);
	begin(&who[0]);
	begin(&who[1]);
	for (i = 0; i < MANY && !still[1]; i++) {
		then[0] = SPIN;
		map();
		unmap();
		while (left[1] <= i)
			;
		then[0] = GO;
		while (left[0] <= i)
			;
		goes_in(0);
		goes_in(1);
	}
	CHECK(still[1]);
	end(who, 2);
}

/* It is waited for once. */
static void does_not_come(void)
{
	struct who who = { .run = by_itself };
	uint64_t first, least = 0, ns;
	unsigned int i;

	make(1);
	begin(&who);
	then[0] = SPIN;
	map();
	first = unmap();
	for (i = 0; i < 5; i++) {
		map();
		ns = unmap();
		least = !least || ns < least ? ns : least;
	}
	CHECKF(least < first / 4, "%lu ns, then %lu", first, least);
	CHECK_EQ(left[0], 0);
	then[0] = GO;
	/* and once it has come, again */
	while (!left[0])
		;
	goes_in(0);
	map();
	unmap();
	while (left[0] < 2)
		;
	end(&who, 1);
}

static _Atomic int is_over;

static void *unmaps(void *arg)
{
	(void)arg;
	unmap();
	is_over = 1;
	return NULL;
}

/* Whoever else tidies up meanwhile leaves the region alone. */
static void others_map(void)
{
	struct who who = { .run = by_itself };
	int i, was, in_time = 0;
	pthread_t thread;

	make(1);
	begin(&who);
	for (i = 0; i < MANY && !in_time; i++) {
		unsigned int before = left[0];

		is_over = 0;
		then[0] = SPIN;
		map();
		CHECK_EQ(pthread_create(&thread, NULL, unmaps, NULL), 0);
		while (!outside)
			;
		CHECK_EQ(bez_vm_map(m.vm, MORE, 4096, other + 4096, 0, NULL), 0);
		was = is_region(other);
		/* late: its time may have been over before */
		in_time = !is_over;
		CHECK(was || !in_time);
		then[0] = GO;
		CHECK_EQ(pthread_join(thread, NULL), 0);
		while (left[0] == before)
			;
		goes_in(0);
		CHECK_EQ(bez_vm_unmap(m.vm, MORE), 0);
		goes_in(0);
	}
	CHECK(in_time);
	end(&who, 1);
}

/* One that is outside, and stays there, is not waited for. */
static void stays_outside(int (*run)(int i), int how)
{
	struct who who = { .run = run };
	uint64_t least = 0, ns;
	unsigned int i;

	make(1);
	begin(&who);
	for (i = 0; i < MANY && (!least || least >= PASS_NS / 2); i++) {
		/* a kick brings it out */
		map();
		then[0] = how;
		unmap();
		while (!outside)
			;
		map();
		ns = unmap();
		least = !least || ns < least ? ns : least;
		then[0] = GO;
		if (how == SLEEP)
			CHECK_EQ(write(end_of[1], "", 1), 1);
		while (outside)
			;
		goes_in(0);
	}
	CHECKF(least < PASS_NS / 2, "%lu ns", least);
	end(&who, 1);
}

static void paused(void)
{
	stays_outside(by_us, SPIN);
}

static void asleep(void)
{
	stays_outside(by_itself, SLEEP);
}

static void *loads(void *arg)
{
	(void)arg;
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), 0);
	return NULL;
}

/* A vCPU that nobody runs by now, and one's own: neither is waited for, or kicked; nor
 * is anybody where another slot has the memory. */
static void nobody(void)
{
	pthread_t thread;

	make(2);
	toy_begin(&m.toy, 0, TOY_LOAD, machine_gpa(CODE), 0, 0);
	CHECK_EQ(pthread_create(&thread, NULL, loads, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	map();
	unmap();
	CHECK_EQ(m.toy.run[0]->immediate_exit, 0);
	CHECK_EQ(m.toy.run[1]->immediate_exit, 0);
	/* which calls KVM_RUN itself */
	CHECK_EQ(bez_vcpu_deliver(m.vcpu[1], -EINTR), -EINTR);
	map();
	unmap();
	CHECK_EQ(m.toy.run[1]->immediate_exit, 0);
	machine_unmake(&m);
}

static void two_slots(void)
{
	struct who who = { .run = by_us };

	make(1);
	begin(&who);
	map();
	CHECK_EQ(bez_vm_map(m.vm, MORE, 4096, other, 0, NULL), 0);
	CHECK_EQ(bez_vm_unmap(m.vm, MORE), 0);
	CHECK(is_region(other));
	goes_in(0);
	CHECK_EQ(left[0], 0);
	unmap();
	while (!left[0])
		;
	end(&who, 1);
}

static const struct tap_case cases[] = {
	{ .name = "it leaves", .run = leaves, .timeout_s = 60 },
	{ .name = "before the region", .run = before_the_region, .timeout_s = 60 },
	{ .name = "beside one that does not come", .run = beside_one_that_does_not,
	  .timeout_s = 60 },
	{ .name = "it does not come", .run = does_not_come, .timeout_s = 60 },
	{ .name = "others map", .run = others_map, .timeout_s = 60 },
	{ .name = "paused", .run = paused, .timeout_s = 60 },
	{ .name = "asleep", .run = asleep, .timeout_s = 60 },
	{ .name = "nobody", .run = nobody, .timeout_s = 60 },
	{ .name = "two slots", .run = two_slots, .timeout_s = 60 },
};
TAP_MAIN(cases)
