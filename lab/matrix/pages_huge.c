/* SPDX-License-Identifier: MIT */
/* Page types: huge pages that were set aside. */
#define _GNU_SOURCE
#include "matrix.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "huge.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#define BITS(n) ((int)((n) << MAP_HUGE_SHIFT))

static void choose(struct matrix_memory *m)
{
	matrix_choose(m, (m->len > m->unit ? m->unit : 0) + 7 * SMALL);
}

/* To fill a whole GiB takes long, and the rest of it is lost as well. */
static void fill(const struct matrix_memory *m)
{
	matrix_fill(m->at, m->len < MATRIX_BYTES ? m->len : MATRIX_BYTES);
}

static void anonymous(struct matrix_memory *m, int flags)
{
	m->flags = flags | MAP_ANONYMOUS | MAP_HUGETLB;
	matrix_map(m);
	fill(m);
	choose(m);
	if (flags & MAP_SHARED)
		matrix_share(m, BEZ_SHARED_EXCLUSIVE);
}

/* @fresh: the victim's mapping is one that it has not touched yet. */
static void file(struct matrix_memory *m, unsigned int bits, int fresh)
{
	m->fd = memfd_create("matrix", MFD_CLOEXEC | MFD_HUGETLB |
				       bits << MAP_HUGE_SHIFT);
	CHECKF(m->fd >= 0, "memfd of huge pages: %s", strerror(errno));
	CHECK_EQ(ftruncate(m->fd, (off_t)m->len), 0);
	m->flags = MAP_SHARED;
	matrix_map(m);
	fill(m);
	choose(m);
	matrix_share(m, BEZ_SHARED_EXCLUSIVE);
	if (!fresh)
		return;
	m->see = mmap(NULL, m->unit, PROT_READ, MAP_SHARED, m->fd,
		      (off_t)(m->lose & -m->unit));
	CHECK(m->see != MAP_FAILED);
	(void)*(volatile unsigned char *)m->see;
	CHECK_EQ(munmap(m->at, m->len), 0);
	CHECK(mmap(m->at, m->len, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, m->fd, 0) == m->at);
}

static void two_mib(struct matrix_memory *m)
{
	huge_need(8);
	m->unit = HUGE;
	m->len = 3 * HUGE;
}

static void one_gib(struct matrix_memory *m)
{
	huge_need_gib(1);
	m->unit = GIB;
	m->len = GIB;
}

static void two_private(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	two_mib(m);
	anonymous(m, MAP_PRIVATE | BITS(21u));
}

static void two_shared(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	two_mib(m);
	anonymous(m, MAP_SHARED | BITS(21u));
}

static void two_memfd(struct matrix_memory *m, int fresh)
{
	two_mib(m);
	file(m, 21, fresh);
}

static void gib_private(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	one_gib(m);
	anonymous(m, MAP_PRIVATE | BITS(30u));
}

static void gib_memfd(struct matrix_memory *m, int fresh)
{
	one_gib(m);
	file(m, 30, fresh);
}

const struct matrix_page matrix_huge_pages[] = {
	{ .name = "hugetlb-private", .make = two_private },
	{ .name = "hugetlb-shared", .make = two_shared },
	{ .name = "hugetlb-memfd", .make = two_memfd },
	{ .name = "gib-private", .make = gib_private },
	{ .name = "gib-memfd", .make = gib_memfd },
	{ .name = NULL },
};
