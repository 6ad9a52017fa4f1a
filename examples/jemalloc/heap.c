/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "heap.h"

#include <errno.h>
#include <jemalloc/jemalloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bezoar/bezoar.h>

static size_t page;
static unsigned int arena;
static bez_quarantine_t quarantine;
static _Atomic size_t mapped, closed, kept, refused;
static __thread unsigned int cache;
static __thread int flags;

/* -------------------------------------------------------------------- regions */

/*
 * What was mapped and is not unmapped yet: an array in a mapping of its own, of as
 * many bytes as @room. Whoever asks by address who has some memory may be told of
 * another's, once it is unmapped; who is in here knows that it is the heap's.
 */
static struct extent { void *at; size_t size; bez_region_t region; } *own;
static size_t owns, room;		/* under the lock, like own */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int grow(void)
{
	size_t more = room ? 2 * room : 16 * page;
	void *at = room ? mremap(own, room, more, MREMAP_MAYMOVE) :
			  mmap(NULL, more, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -ENOMEM;
	own = at;
	room = more;
	return 0;
}

static int own_add(const struct extent *extent)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if ((owns + 1) * sizeof(*own) > room)
		r = grow();
	if (!r)
		own[owns++] = *extent;
	pthread_mutex_unlock(&lock);
	return r;
}

static void own_drop(bez_region_t region)
{
	size_t i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < owns && own[i].region != region; i++)
		continue;
	if (i < owns)
		own[i] = own[--owns];
	pthread_mutex_unlock(&lock);
}

/* Nobody uses the heap any more. */
static int own_give_back(void)
{
	for (; owns; owns--) {
		const struct extent *last = &own[owns - 1];
		int r = bez_region_remove(last->region);

		if (r)
			return r;
		munmap(last->at, last->size);
		atomic_fetch_sub(&mapped, last->size);
	}
	return 0;
}

/* The region that [@at, @at + @size) is a part of: 1 if it is all of it. */
static int whole_region(void *at, size_t size, bez_region_t *ret)
{
	struct bez_region_info info = { .size = sizeof(info) };

	return !bez_region_at(at, ret) && !bez_region_info(*ret, &info) &&
	       info.addr == at && info.len == size;
}

static void *map_aligned(size_t size, size_t alignment)
{
	char *at = mmap(NULL, size + alignment, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (at == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)at & (alignment - 1);
	if (before)
		munmap(at, before);
	munmap(at + before + size, alignment - before);
	return at + before;
}

/* ---------------------------------------------------------------------- hooks */

static void *hook_alloc(extent_hooks_t *hooks, void *new_addr, size_t size,
			size_t alignment, bool *zero, bool *commit,
			unsigned int arena_index)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct extent extent = { .size = size };

	(void)hooks;
	(void)arena_index;
	if (new_addr)
		return NULL;
	extent.at = map_aligned(size, alignment);
	if (!extent.at)
		return NULL;
	policy.name = "heap";
	policy.flags = BEZ_POLICY_IS_MAPPED;
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	if (bez_region_add(extent.at, size, &policy, &extent.region))
		goto unmap;
	if (own_add(&extent)) {
		bez_region_remove(extent.region);
		goto unmap;
	}
	atomic_fetch_add(&mapped, size);
	*zero = true;
	*commit = true;
	return extent.at;
unmap:
	munmap(extent.at, size);
	return NULL;
}

/* What is around the lost pages goes back to the system. */
static void close_extent(char *at, size_t size)
{
	size_t i, end;

	for (i = 0; i < size; i = end) {
		end = i + page;
		if (bez_lost_in(at + i, page))
			continue;
		while (end < size && !bez_lost_in(at + end, page))
			end += page;
		madvise(at + i, end - i, MADV_DONTNEED);
	}
	atomic_fetch_add(&closed, size);
}

/* true: jemalloc is to keep it, and use it again. */
static bool hook_dalloc(extent_hooks_t *hooks, void *addr, size_t size,
			bool committed, unsigned int arena_index)
{
	bez_region_t region;

	(void)hooks;
	(void)committed;
	(void)arena_index;
	if (whole_region(addr, size, &region)) {
		if (bez_region_remove(region))
			return true;
		own_drop(region);
		munmap(addr, size);
		atomic_fetch_sub(&mapped, size);
		return false;
	}
	if (!bez_lost_in(addr, size))
		return true;
	close_extent(addr, size);
	return false;
}

/* The arena goes, and this is a part of a region of which others may have gone
 * already, or never will: heap_stop() takes all of it. */
static void hook_destroy(extent_hooks_t *hooks, void *addr, size_t size,
			 bool committed, unsigned int arena_index)
{
	(void)hooks;
	(void)addr;
	(void)size;
	(void)committed;
	(void)arena_index;
}

/* true: it was not done. Then it is not zeros, which of a lost page nobody could
 * say. */
static bool hook_purge(extent_hooks_t *hooks, void *addr, size_t size,
		       size_t offset, size_t length, unsigned int arena_index)
{
	(void)hooks;
	(void)size;
	(void)arena_index;
	if (bez_lost_in((char *)addr + offset, length))
		return true;
	return madvise((char *)addr + offset, length, MADV_DONTNEED) != 0;
}

static bool hook_split(extent_hooks_t *hooks, void *addr, size_t size,
		       size_t size_a, size_t size_b, bool committed,
		       unsigned int arena_index)
{
	(void)hooks;
	(void)addr;
	(void)size;
	(void)size_a;
	(void)size_b;
	(void)committed;
	(void)arena_index;
	return false;
}

static bool hook_merge(extent_hooks_t *hooks, void *a, size_t size_a, void *b,
		       size_t size_b, bool committed, unsigned int arena_index)
{
	bez_region_t of_a, of_b;

	(void)hooks;
	(void)size_a;
	(void)size_b;
	(void)committed;
	(void)arena_index;
	return bez_region_at(a, &of_a) || bez_region_at(b, &of_b) ||
	       of_a != of_b;
}

static extent_hooks_t hooks = {
	.alloc = hook_alloc,
	.dalloc = hook_dalloc,
	.destroy = hook_destroy,
	.purge_forced = hook_purge,
	.split = hook_split,
	.merge = hook_merge,
};

/* --------------------------------------------------------------------- blocks */

static int of_arena(const char *what)
{
	char name[64];

	snprintf(name, sizeof(name), "arena.%u.%s", arena, what);
	return -mallctl(name, NULL, NULL, NULL, 0);
}

/*
 * A block that has a lost page, and that nobody may have again. A small one shares
 * its slab with others and is kept; a large one has an extent of its own, which
 * goes back to the hooks with all that is free.
 */
static void give_up(void *block, size_t size)
{
	size_t small = 0, len = sizeof(small);

	/* the first size that has an extent of its own */
	if (mallctl("arenas.lextent.0.size", &small, &len, NULL, 0) ||
	    size < small) {
		atomic_fetch_add(&kept, size);
		return;
	}
	dallocx(block, MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE);
	of_arena("purge");
}

/* One relaxed load as long as nothing is lost in the process. */
static inline int is_lost(void *block)
{
	return (uint32_t)bez_lost_generation() &&
	       bez_lost_in(block, sallocx(block, 0));
}

void *heap_alloc(size_t size)
{
	void *block;

	while ((block = mallocx(size ? size : 1, flags)) && is_lost(block)) {
		atomic_fetch_add(&refused, 1);
		give_up(block, sallocx(block, 0));
	}
	return block;
}

void heap_free(void *block)
{
	if (!block)
		return;
	if (is_lost(block))
		give_up(block, sallocx(block, 0));
	else
		dallocx(block, flags);
}

/* ------------------------------------------------------------ beginning and end */

static void told(const struct bez_quarantined *what, void *arg)
{
	(void)arg;
	if (what->kind == BEZ_QUARANTINE_LOST)
		of_arena("purge");
}

/* As jemalloc has it since 5.3; its header does not say. */
struct arena_config {
	extent_hooks_t *hooks;
	bool metadata_use_hooks;
};

int heap_start(void)
{
	struct arena_config config = { &hooks, false };
	struct bez_quarantine q = BEZ_QUARANTINE_INIT;
	size_t len = sizeof(arena);
	int r;

	page = (size_t)sysconf(_SC_PAGESIZE);
	r = mallctl("experimental.arenas_create_ext", &arena, &len, &config,
		    sizeof(config));
	if (r)
		return -r;
	q.fn = told;
	r = bez_quarantine_add(&q, &quarantine);
	return r ? r : heap_thread_start();
}

int heap_stop(void)
{
	int r = bez_quarantine_remove(quarantine);

	heap_thread_stop();
	if (!r)
		r = of_arena("destroy");
	if (!r)
		r = own_give_back();
	if (!r) {
		atomic_store(&closed, 0);
		atomic_store(&kept, 0);
	}
	return r;
}

int heap_thread_start(void)
{
	size_t len = sizeof(cache);
	int r = mallctl("tcache.create", &cache, &len, NULL, 0);

	if (r)
		return -r;
	flags = (int)(MALLOCX_ARENA(arena) | MALLOCX_TCACHE(cache));
	return 0;
}

void heap_thread_stop(void)
{
	mallctl("tcache.destroy", NULL, NULL, &cache, sizeof(cache));
	flags = 0;
}

void heap_stats(struct heap_stats *ret)
{
	ret->mapped = atomic_load(&mapped);
	ret->closed = atomic_load(&closed);
	ret->kept = atomic_load(&kept);
	ret->refused = atomic_load(&refused);
}
