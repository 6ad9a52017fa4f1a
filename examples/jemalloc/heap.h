/* SPDX-License-Identifier: MIT */
/*
 * A heap that never hands out lost memory: an arena of jemalloc's, on regions.
 *
 *  - Each extent that jemalloc asks for is a region of its own (DEGRADE), so what
 *    is lost in there is entered in the inventory.
 *  - heap_alloc() looks at each block before it hands it out. That alone is what is
 *    relied on: freed blocks wait in caches of threads and inside slabs that are in
 *    use, where no hook of jemalloc's is asked.
 *  - An extent that comes back and has a lost page goes for good: by munmap(2), if
 *    it is a whole region, else it stays closed. A small block that has one is
 *    never freed.
 *  - Told of a loss (bez_quarantine_add()), the arena gives all that is free back
 *    to the hooks, so that a lost page in there goes at once.
 *
 * What jemalloc writes about its blocks, and this about its regions, lies apart from
 * them, in memory that is in no region: a page of that is lost as it is without
 * bezoar, with the process.
 */
#ifndef BEZOAR_EXAMPLE_HEAP_H
#define BEZOAR_EXAMPLE_HEAP_H

#include <stddef.h>

/* Of all threads; after bez_start(). 0 or a negative errno. Stop when nobody uses
 * it, before bez_stop(); all blocks are gone then. */
int heap_start(void);
int heap_stop(void);

/* What a thread keeps for itself: before its first block and after its last. */
int heap_thread_start(void);
void heap_thread_stop(void);

/* NULL: no memory. What is in it is anything, and none of it was lost when this was
 * called. */
void *heap_alloc(size_t size);
void heap_free(void *block);

struct heap_stats {
	size_t mapped;		/* bytes that are registered */
	size_t closed;		/* of these, in extents that stay closed */
	size_t kept;		/* in small blocks that are never freed */
	size_t refused;		/* blocks that jemalloc gave and that were lost */
};
void heap_stats(struct heap_stats *ret);

#endif
