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

#define CODE	2			/* pages: of the guest's program */
#define UP	3			/* it is in there */
#define END	4			/* it is to leave */
#define OTHER	(MACHINE_GPA + MACHINE_LEN)

static struct machine m;
static unsigned char *other;
/* How often KVM_RUN was left of a kick; how often the region was there by then. */
static _Atomic unsigned int left, still;
/* Who runs it is to wait before he says that he has left. */
static _Atomic int hold;

static int is_region(const void *at)
{
	bez_region_t region;

	return !bez_region_at(at, &region);
}

static volatile unsigned char *page(size_t i)
{
	return m.mem + i * 4096;
}

/* 1: movb $1, UP; cmpb $0, END; jz 1b; ret */
static void program(void)
{
	unsigned char code[] = { 0xc6, 0x04, 0x25, 0, 0, 0, 0, 1,
				 0x80, 0x3c, 0x25, 0, 0, 0, 0, 0,
				 0x74, 0xee, 0xc3 };
	uint32_t up = (uint32_t)machine_gpa(UP), end = (uint32_t)machine_gpa(END);

	memcpy(code + 3, &up, 4);
	memcpy(code + 11, &end, 4);
	memcpy(m.mem + CODE * 4096, code, sizeof(code));
	*page(UP) = *page(END) = 0;
	toy_begin(&m.toy, 0, TOY_CALL, machine_gpa(CODE), 0, 0);
}

static int by_us(void)
{
	return bez_vcpu_run(m.vcpu[0]);
}

static int by_itself(void)
{
	int ran = toy_run(&m.toy, 0);

	still += ran == -EINTR && is_region(other);
	while (hold)
		;
	return bez_vcpu_deliver(m.vcpu[0], ran);
}

/* Nothing but a kick brings it out. */
static void *runs(void *arg)
{
	int (*const *run)(void) = arg;

	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_vcpu_deliver(m.vcpu[0], -EINTR), -EINTR);
	while ((*run)() == -EINTR)
		left++;
	CHECK_EQ(toy_port(&m.toy, 0), TOY_DONE);
	return NULL;
}

static void goes_in(void)
{
	*page(UP) = 0;
	while (!*page(UP))
		;
}

static pthread_t begin(int (*const *run)(void))
{
	const struct machine_options o = { .flags = BEZ_VM_NO_BROADCAST };
	pthread_t thread;

	left = still = 0;
	machine_make(&m, &o);
	other = live_pages(1);
	program();
	CHECK_EQ(pthread_create(&thread, NULL, runs, (void *)(uintptr_t)run), 0);
	goes_in();
	return thread;
}

static void end(pthread_t thread)
{
	*page(END) = 1;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	machine_unmake(&m);
}

static void map(void)
{
	CHECK_EQ(bez_vm_map(m.vm, OTHER, 4096, other, 0, NULL), 0);
	CHECK(is_region(other));
}

static uint64_t unmap(void)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	CHECK_EQ(bez_vm_unmap(m.vm, OTHER), 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	CHECK(!is_region(other));
	return (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000u +
	       (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
}

/* It has left before unmap() is back, and each time again. */
static void leaves(void)
{
	static int (*const run)(void) = by_us;
	pthread_t thread = begin(&run);
	unsigned int i;

	for (i = 1; i <= 100; i++) {
		map();
		unmap();
		while (left < i)
			;
		goes_in();
	}
	end(thread);
}

/* When it leaves the region is there. */
static void leaves_by_itself(void)
{
	static int (*const run)(void) = by_itself;
	pthread_t thread = begin(&run);

	map();
	unmap();
	CHECK(still >= 1);
	end(thread);
}

/* Somebody who does not come is waited for once. */
static void does_not_come(void)
{
	static int (*const run)(void) = by_itself;
	pthread_t thread = begin(&run);
	uint64_t first, then = 0, ns;
	int i;

	hold = 1;
	map();
	first = unmap();
	for (i = 0; i < 5; i++) {
		map();
		ns = unmap();
		then = !then || ns < then ? ns : then;
	}
	CHECKF(then < first / 4, "%lu ns, then %lu", first, then);
	CHECK_EQ(left, 0);
	hold = 0;
	/* and once he has come, again */
	while (!left)
		;
	goes_in();
	map();
	unmap();
	while (left < 2)
		;
	end(thread);
}

static void *loads(void *arg)
{
	(void)arg;
	CHECK_EQ(bez_vcpu_run(m.vcpu[0]), 0);
	return NULL;
}

/* A vCPU that nobody runs by now, and one's own: neither is waited for, or kicked. */
static void outside(void)
{
	const struct machine_options o = { .vcpus = 2, .flags = BEZ_VM_NO_BROADCAST };
	pthread_t thread;

	machine_make(&m, &o);
	other = live_pages(1);
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

static const struct tap_case cases[] = {
	{ .name = "it leaves", .run = leaves, .timeout_s = 20 },
	{ .name = "it leaves by itself", .run = leaves_by_itself, .timeout_s = 20 },
	{ .name = "it does not come", .run = does_not_come, .timeout_s = 20 },
	{ .name = "outside", .run = outside, .timeout_s = 20 },
};
TAP_MAIN(cases)
