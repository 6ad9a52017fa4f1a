/* SPDX-License-Identifier: MIT */
/*
 * A real error in a real memory cell, and what the library makes of it: cases of
 * the lab for a machine whose firmware has EINJ. run starts it; by itself it does
 * nothing without HW_YES=1 in the environment.
 *
 * With HW_ROOT=FOLDER the firmware is files there, and what it would have lost is
 * lost by a marker: to try all this without such a machine.
 */
#define _GNU_SOURCE
#include "einj.h"
#include "live.h"
#include "tap.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define PAGES 3				/* the middle one is lost */
/* In the first line of its page: so it is met whether the firmware takes the
 * address or, with its mask, the page. */
#define TOUCHED (PAGE + 13)

enum trigger { LOAD, COPY_IN };

struct cell {
	int memfd;
	enum trigger trigger;
};

static unsigned char copy[PAGES * PAGE] __attribute__((aligned(4096)));

static uint64_t some_frame(const struct einj *e, const void *page)
{
	(void)e;
	(void)page;
	return 0x200;
}

static uint64_t mapped_once(const struct einj *e, uint64_t frame)
{
	(void)e;
	(void)frame;
	return 1;
}

static struct einj einj;

static void lose(unsigned char *byte, unsigned int type)
{
	const char *root = getenv("HW_ROOT"), *why;

	if (root) {
		einj.frame = some_frame;
		einj.mapped = mapped_once;
		if (type == EINJ_UNCORRECTED)
			live_mark_ready();
	}
	why = einj_why_not(&einj, type);
	if (why)
		tap_skip("%s", why);
	why = einj_inject(&einj, byte, type);
	CHECKF(!why, "%s", why);
	if (root && type == EINJ_UNCORRECTED)
		live_mark(byte - (uintptr_t)byte % PAGE, PAGE);
}

static unsigned char *memory(int is_memfd)
{
	const char *root = getenv("HW_ROOT"), *why;
	int fd = is_memfd ? memfd_create("hw", MFD_CLOEXEC) : -1;
	unsigned char *p;

	if (!getenv("HW_YES"))
		tap_skip("this harms memory: lab/hw/run --yes");
	einj = einj_at(root ? root : "");
	why = einj_keep(&einj);
	CHECKF(!why, "%s", why);
	CHECK(!is_memfd || (fd >= 0 && !ftruncate(fd, PAGES * 4096)));
	p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | (is_memfd ? 0 : MAP_ANONYMOUS), fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK_EQ(madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE), 0);
	live_fill(p, PAGES * PAGE, 1);
	live_fill(copy, sizeof(copy), 1);
	return p;
}

/* Returns the error of a system call, or 0. */
static int meet(unsigned char *p, enum trigger trigger)
{
	int fds[2];

	if (trigger == LOAD) {
		CHECK_EQ(live_read(p + TOUCHED), live_byte(TOUCHED, 1));
		return 0;
	}
	CHECK_EQ(pipe(fds), 0);
	if (write(fds[1], p + TOUCHED, 8) < 0)
		return errno;
	return 0;
}

/* What the last outcome was, of those that are about this page. */
static uint16_t outcome(const unsigned char *p)
{
	struct bez_event events[16];
	uint64_t seq = 0;
	uint16_t last = BEZ_OUTCOME_NONE;
	int i, n;

	while ((n = bez_events(&seq, events, 16)) > 0)
		for (i = 0; i < n; i++)
			if (events[i].addr >= (uintptr_t)p + PAGE &&
			    events[i].addr < (uintptr_t)p + 2 * PAGE)
				last = events[i].outcome;
	return last;
}

static void replaced(void)
{
	const struct cell *c = tap_data();
	unsigned char *p = memory(c->memfd);
	struct bez_source from = bez_source_mirror(copy);
	int error, i;

	live_start(0);
	live_region(p, PAGES * PAGE, &from, "hw");
	lose(p + TOUCHED, EINJ_UNCORRECTED);
	error = meet(p, c->trigger);
	if (c->trigger == COPY_IN) {
		/* S9: no signal, and EFAULT; then it is repaired, and goes on */
		CHECK_EQ(error, EFAULT);
		CHECK_EQ(bez_recover(p + TOUCHED, 8), 0);
		CHECK_EQ(meet(p, c->trigger), 0);
	} else {
		CHECK_EQ(error, 0);
		CHECK_EQ(outcome(p), BEZ_OUTCOME_REPLACED);
	}
	for (i = 0; i < 100; i++)
		CHECK_EQ(live_wrong(p, PAGES * PAGE, 1), 0);
}

static void degraded(void)
{
	const struct cell *c = tap_data();
	unsigned char *p = memory(c->memfd);
	struct bez_policy policy = { .size = sizeof(policy),
		.actions = { BEZ_ACTION_DEGRADE } };
	bez_region_t region;
	volatile int i;

	live_start(0);
	CHECK_EQ(bez_region_add(p, PAGES * PAGE, &policy, &region), 0);
	lose(p + TOUCHED, EINJ_UNCORRECTED);
	for (i = 0; i < 10; i++) {
		volatile int caught = 0;

		BEZ_TRY {
			meet(p, c->trigger);
		} BEZ_CATCH(lost) {
			CHECK_EQ((uintptr_t)lost->addr, (uintptr_t)p + PAGE);
			CHECK_EQ(lost->width, PAGE);
			caught = 1;
		}
		CHECK(caught);
	}
	CHECK_EQ(live_wrong(p, PAGE, 1), 0);
}

/* S5: no region is there, and the process dies of it. */
static void dies(void)
{
	const struct cell *c = tap_data();
	unsigned char *p = memory(c->memfd);

	live_start(0);
	lose(p + TOUCHED, EINJ_UNCORRECTED);
	meet(p, c->trigger);
}

/* What EDAC has counted of errors that were mended; -1: nobody counts. */
static long long counted(void)
{
	char path[512];
	long long sum = -1, one;
	size_t i;
	glob_t g;

	snprintf(path, sizeof(path), "%s/sys/devices/system/edac/mc/mc*/ce_count",
		 einj.root);
	if (glob(path, 0, NULL, &g))
		return -1;
	for (i = 0; i < g.gl_pathc; i++) {
		FILE *f = fopen(g.gl_pathv[i], "r");

		if (f && fscanf(f, "%lld", &one) == 1)
			sum = (sum < 0 ? 0 : sum) + one;
		if (f)
			fclose(f);
	}
	globfree(&g);
	return sum;
}

/* The firmware that is files counts by hand, if its file can be written. */
static void count_one(void)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/sys/devices/system/edac/mc/mc0/ce_count",
		 einj.root);
	f = fopen(path, "w");
	if (f) {
		fputs("1\n", f);
		fclose(f);
	}
}

/* One bit: the machine mends it, which it counts, and nobody is told. */
static void corrected(void)
{
	unsigned char *p = memory(0);
	const struct timespec nap = { .tv_nsec = 10000000 };
	long long before = counted();
	int tries = getenv("HW_ROOT") ? 10 : 3000;

	if (before < 0)
		tap_skip("nobody counts corrected errors here: no EDAC");
	live_start(0);
	lose(p + TOUCHED, EINJ_CORRECTED);
	CHECK_EQ(live_wrong(p, PAGES * PAGE, 1), 0);
	if (getenv("HW_ROOT"))
		count_one();
	while (counted() <= before && --tries)
		nanosleep(&nap, NULL);
	CHECKF(counted() > before, "EDAC has counted no error: none was met");
	CHECK_EQ(outcome(p), BEZ_OUTCOME_NONE);
}

#define CELL(page, trigger, action, run_it, ...) \
	{ .name = page "/einj/" trigger "/" action, .run = run_it, \
	  .data = &(const struct cell){ __VA_ARGS__ } }

static const struct tap_case cases[] = {
	{ .name = "corrected: nobody is told", .run = corrected },
	CELL("anon", "load", "replace", replaced, .trigger = LOAD),
	CELL("anon", "copy-in", "replace", replaced, .trigger = COPY_IN),
	CELL("anon", "load", "degrade", degraded, .trigger = LOAD),
	CELL("memfd-private", "load", "replace", replaced, 1, LOAD),
	{ .name = "anon/einj/load/default", .run = dies, .want_signal = SIGBUS,
	  .data = &(const struct cell){ .trigger = LOAD } },
};
TAP_MAIN(cases)
