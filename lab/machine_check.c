/* SPDX-License-Identifier: MIT */
/*
 * What a process is told when the machine itself finds that a page is lost:
 * real machine checks, on processors that stand where they are meant to. The
 * kernel's side only.
 */
#define _GNU_SOURCE
#include "mce.h"
#include "poison.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { HERE = 0, THERE = 1 };	/* processors: who asks, and whom it meets */

static int linux_is(unsigned int major, unsigned int minor)
{
	unsigned int is_major = 0, is_minor = 0;
	struct utsname name;

	CHECK_EQ(uname(&name), 0);
	CHECK_EQ(sscanf(name.release, "%u.%u", &is_major, &is_minor), 2);
	return is_major > major || (is_major == major && is_minor >= minor);
}

/* A thread that touches a byte until it is told to stop, or SIGBUS comes. */
struct victim {
	pthread_t thread;
	unsigned char *at;
	int store;
	atomic_int stop;
	unsigned char value;
	int left;		/* -1: SIGBUS came */
};

static void touch(void *data)
{
	struct victim *v = data;

	if (v->store)
		lab_store_loop(v->at, &v->stop, v->value);
	else
		v->value = lab_load_loop(v->at, &v->stop);
}

static void *victim_thread(void *data)
{
	struct victim *v = data;

	lab_stay_on(THERE);
	v->left = attempt(touch, v);
	return NULL;
}

static void victim_starts(struct victim *v)
{
	lab_stay_on(HERE);
	CHECK_EQ(pthread_create(&v->thread, NULL, victim_thread, v), 0);
}

/* Raise it while the victim is in its loop, about @phys. */
static void strike(struct victim *v, enum lab_mce_kind kind, uint64_t phys)
{
	const struct lab_mce mce = {
		.kind = kind, .cpu = THERE, .phys = phys,
		.low = (uintptr_t)(v->store ? (void *)lab_store_loop :
				   (void *)lab_load_loop),
		.high = (uintptr_t)(v->store ? lab_store_loop_end :
				    lab_load_loop_end),
	};

	CHECK_EQ(lab_mce(&mce), 0);
	v->stop = 1;
	CHECK_EQ(pthread_join(v->thread, NULL), 0);
}

static void load(void)
{
	const enum lab_mce_kind *kind = tap_data();
	unsigned char *p, value;
	struct victim v = { .store = 0 };
	uint64_t phys;
	long kib;

	lab_need_mce();
	take_sigbus();
	p = anon(3, MAP_PRIVATE);
	kib = corrupted_kib();
	v.at = p + PAGE + 77;
	phys = lab_phys(v.at);
	victim_starts(&v);
	strike(&v, *kind, phys);
	CHECK_EQ(v.left, -1);
	CHECK_EQ(sigbus.count, 1);
	check_ar(p + PAGE);
	CHECK_EQ(corrupted_kib(), kib + 4);
	CHECK_EQ(pagemap(p + PAGE) & (PAGEMAP_PRESENT | PAGEMAP_SWAP), PAGEMAP_SWAP);
	CHECK_EQ(peek(p + PAGE + 78, &value), -1);
	check_ar(p + PAGE + 78);
	CHECK(page_is(p, fill_of(0)));
	CHECK(page_is(p + 2 * PAGE, fill_of(2)));
	(void)linux_is;
}

static const enum lab_mce_kind kinds[] = {
	LAB_MCE_LOAD, LAB_MCE_LOCAL, LAB_MCE_FETCH, LAB_MCE_NO_RESTART,
	LAB_MCE_OPTIONAL, LAB_MCE_DEFERRED, LAB_MCE_CORRECTED,
};

static const struct tap_case cases[] = {
	{ .name = "load", .run = load, .data = &kinds[LAB_MCE_LOAD] },
	{ .name = "load, one processor", .run = load,
	  .data = &kinds[LAB_MCE_LOCAL] },
};
TAP_MAIN(cases)
