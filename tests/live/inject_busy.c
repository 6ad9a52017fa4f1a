/* SPDX-License-Identifier: MIT */
/*
 * A kernel that has lost a page and says EBUSY, as it does when somebody else still had
 * the page for a moment: what counts is whether the page is lost.
 */
#define _GNU_SOURCE
#include "inject_util.h"
#include "tap.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES	4
#define SEED	5

int __real_bzi_sys_advise(void *at, size_t len, int advice);
int __wrap_bzi_sys_advise(void *at, size_t len, int advice);
int __real_bzi_corrupt_frame(uint64_t frame);
int __wrap_bzi_corrupt_frame(uint64_t frame);

static volatile int does = 1;

/* Also in the process that takes the signal for us. */
int __wrap_bzi_sys_advise(void *at, size_t len, int advice)
{
	if (advice != MADV_HWPOISON)
		return __real_bzi_sys_advise(at, len, advice);
	if (does)
		__real_bzi_sys_advise(at, len, advice);
	return -EBUSY;
}

int __wrap_bzi_corrupt_frame(uint64_t frame)
{
	if (does)
		__real_bzi_corrupt_frame(frame);
	return -EBUSY;
}

static const uint32_t madv = BEZ_INJECT_MADV, other = BEZ_INJECT_HWPOISON_INJECT;

static void lost(void)
{
	const uint32_t backend = *(const uint32_t *)tap_data();
	unsigned char *p = iu_pages(PAGES, SEED), byte;
	const size_t page = iu_page();
	bez_inject_t token;
	struct hit hit;
	size_t i;

	iu_need(backend);
	iu_catch();
	CHECK_EQ(bez_inject(p + page, 2 * page, backend, 0, &token), 0);
	for (i = 1; i < 3; i++) {
		CHECK(!iu_touch(p + i * page, &byte, &hit));
		CHECK_EQ((uintptr_t)hit.addr, (uintptr_t)(p + i * page));
	}
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(iu_differs(p, PAGES * page, SEED), PAGES * page);
}

static void not_lost(void)
{
	const uint32_t backend = *(const uint32_t *)tap_data();
	unsigned char *p = iu_pages(PAGES, SEED);
	const size_t page = iu_page();
	bez_inject_t token;

	iu_need(backend);
	does = 0;
	CHECK_EQ(bez_inject(p + page, 2 * page, backend, 0, &token), -EBUSY);
	CHECK_EQ(iu_differs(p, PAGES * page, SEED), PAGES * page);
}

static const struct tap_case cases[] = {
	{ .name = "and it is lost", .run = lost, .data = &madv },
	{ .name = "and it is not", .run = not_lost, .data = &madv },
	{ .name = "the frame, and it is lost", .run = lost, .data = &other },
	{ .name = "the frame, and it is not", .run = not_lost, .data = &other },
};
TAP_MAIN(cases)
