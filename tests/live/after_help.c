/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "after_help.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "replace_see.h"

#define TIMES	100

struct kinds_memory after;
size_t after_page, after_at;
uint32_t after_flags;

void after_begin(size_t pages, uint32_t flags)
{
	after_page = live_page();
	after.fd = -1;
	after.at = live_pages(pages);
	after.len = pages * after_page;
	after.width = after_page;
	after_at = 2 * after_page;
	see_start(flags);
}

void after_begin_file(size_t pages, int flags)
{
	after_page = live_page();
	after.fd = memfd_create("after", MFD_CLOEXEC);
	after.len = pages * after_page;
	after.width = after_page;
	after_at = (pages - 1) * after_page + 5;
	CHECK_EQ(ftruncate(after.fd, (off_t)after.len), 0);
	after.at = mmap(NULL, after.len, PROT_READ | PROT_WRITE, flags,
			after.fd, 0);
	CHECK(after.at != MAP_FAILED);
	live_fill(after.at, after.len, 0);
	see_start(0);
}

unsigned char *after_extent(void)
{
	return after.at + kinds_extent(&after, after_at);
}

bez_region_t after_add(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	policy.flags = after_flags;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(after.at, after.len, &policy, &r), 0);
	return r;
}

/* ------------------------------------------------- ways to touch a byte of it */

/* Each: 1 if the answer was the one, with the extent and address. */
int after_right(const struct bez_lost *lost, const unsigned char *addr)
{
	return lost->addr == after_extent() && lost->width == after.width &&
	       lost->touched == addr;
}

static int load(unsigned char *addr)
{
	BEZ_TRY {
		live_read(addr);
	} BEZ_CATCH(lost) {
		return after_right(lost, addr);
	}
	return 0;
}

static int store(unsigned char *addr)
{
	BEZ_TRY {
		*(volatile unsigned char *)addr = 1;
	} BEZ_CATCH(lost) {
		return after_right(lost, addr);
	}
	return 0;
}

static int copy(unsigned char *addr)
{
	static unsigned char to[64];
	uint64_t word = 0;
	int order;

	return bez_copy(to, addr, 1) == 1 && bez_set(addr, 1, 1) == 1 &&
	       bez_compare(to, addr, 1, &order) == 1 &&
	       bez_load_u64((uint64_t *)((uintptr_t)addr & -8ul), &word) ==
		       -EFAULT;
}

static int call(unsigned char *addr)
{
	static int fd[2] = { -1, -1 };

	if (fd[0] < 0 && pipe(fd))
		return 0;
	if (write(fd[1], addr, 1) != -1 || errno != EFAULT)
		return 0;
	return write(fd[1], "x", 1) == 1 && read(fd[0], addr, 1) == -1 &&
	       errno == EFAULT && (close(fd[0]), close(fd[1]), fd[0] = -1);
}

static int recover(unsigned char *addr)
{
	return bez_recover(addr, 1) == -EFAULT;
}

static int known(unsigned char *addr)
{
	struct bez_lost lost;
	uint64_t i = 0;

	return bez_lost_in(addr, 1) == 1 && !bez_lost_next(&i, &lost) &&
	       lost.addr == after_extent() && lost.width == after.width &&
	       bez_lost_next(&i, &lost) == -ENOENT;
}

static void *in_thread(void *addr)
{
	bez_thread_attach();
	return (void *)(uintptr_t)(load(addr) && store(addr));
}

static int thread(unsigned char *addr)
{
	pthread_t t;
	void *r = NULL;

	return !pthread_create(&t, NULL, in_thread, addr) &&
	       !pthread_join(t, &r) && r;
}

static const struct way {
	const char *name;
	int (*touch)(unsigned char *addr);
} ways[] = {
	{ "load", load }, { "store", store }, { "copy", copy },
	{ "system call", call }, { "recover", recover }, { "list", known },
	{ "thread", thread },
};

void after_all_ways(const char *where)
{
	size_t i, n;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		for (n = 0; n < TIMES; n++)
			CHECKF(ways[i].touch(after_extent() +
					     n * 8191 % after.width),
			       "%s, %s: the %zuth was another", where,
			       ways[i].name, n + 1);
}

static int deep;

static void ways_there(void)
{
	after_all_ways(deep ? "in a child's child" : "in a child");
	if (!deep++)
		live_in_child(ways_there);
}

void after_in_child(void)
{
	deep = 0;
	live_in_child(ways_there);
}

void after_first_touch(void)
{
	BEZ_TRY {
		live_read(after.at + after_at);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == after_extent());
		CHECK_EQ(lost->width, after.width);
	}
}
