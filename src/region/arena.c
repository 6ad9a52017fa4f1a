/* SPDX-License-Identifier: MIT */
#include "region/arena.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "core/core.h"
#include "core/own.h"

#define LINE		64u
#define HUGE		(2u << 20)	/* only a preference: any size works */
#define FIRST		(256u << 10)
#define MOST		(4u << 20)

struct chunk {
	struct chunk *next;
	size_t bytes;
	uint32_t own;		/* core/own.h */
};

static struct {
	struct chunk *chunks;
	char *at, *end;
	size_t next_bytes;
} arena = { .next_bytes = FIRST };

/* Aligned to its size class, so that huge pages fit. */
static char *map(size_t bytes)
{
	size_t slack = bytes >= HUGE ? HUGE : 0, before;
	char *p = mmap(NULL, bytes + slack, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (slack) {
		before = -(uintptr_t)p & (HUGE - 1);
		if (before)
			munmap(p, before);
		if (slack - before)
			munmap(p + before + bytes, slack - before);
		p += before;
		madvise(p, bytes, MADV_HUGEPAGE);
	}
	if (madvise(p, bytes, MADV_POPULATE_WRITE))
		memset(p, 0, bytes);	/* before 5.14 */
	return p;
}

static int grow(void)
{
	struct chunk *c = (struct chunk *)map(arena.next_bytes);

	if (!c)
		return -ENOMEM;
	c->next = arena.chunks;
	c->bytes = arena.next_bytes;
	c->own = bz_own_add(c, c->bytes);
	arena.chunks = c;
	arena.at = (char *)c + LINE;
	arena.end = (char *)c + c->bytes;
	if (arena.next_bytes < MOST)
		arena.next_bytes *= 2;
	return 0;
}

void *bz_arena_get(size_t bytes)
{
	char *p;

	bytes = (bytes + LINE - 1) & ~(size_t)(LINE - 1);
	/* what is left at the end of a chunk is lost: little of much */
	while ((size_t)(arena.end - arena.at) < bytes)
		if (grow())
			return NULL;
	p = arena.at;
	arena.at += bytes;
	return p;
}

void bz_arena_reset(void)
{
	while (arena.chunks) {
		struct chunk *c = arena.chunks;

		arena.chunks = c->next;
		bz_own_drop(c->own);
		munmap(c, c->bytes);
	}
	arena.at = NULL;
	arena.end = NULL;
	arena.next_bytes = FIRST;
}
