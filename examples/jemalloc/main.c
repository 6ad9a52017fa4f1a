/* SPDX-License-Identifier: MIT */
/*
 * jemalloc: lose pages of a heap, free all that lies on them, and allocate again
 * what there is room for. No block is on a lost page any more, all others are as
 * they were, and the heap is no larger than before.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bezoar/bezoar.h>
#include <bezoar/inject.h>

#include "heap.h"

#define BLOCKS	20000u
#define LOSSES	10u

static struct block { unsigned char *at; size_t size; } block[BLOCKS];

static size_t size_of(size_t i)
{
	return i % 100 ? 16 + i * 37 % 3000 : 300000;
}

static int fill(void)
{
	size_t i, on_lost = 0;

	for (i = 0; i < BLOCKS; i++) {
		if (block[i].at)
			continue;
		block[i].size = size_of(i);
		block[i].at = heap_alloc(block[i].size);
		if (!block[i].at)
			return -1;
		on_lost += (size_t)bez_lost_in(block[i].at, block[i].size);
		if (!bez_lost_in(block[i].at, block[i].size))
			memset(block[i].at, (int)i & 0xff, block[i].size);
	}
	return (int)on_lost;
}

/* Read all of it, as any program would: it is left where it is lost. */
static int is_good(size_t i)
{
	volatile int good = 1;

	BEZ_TRY {
		size_t k;

		for (k = 0; k < block[i].size; k++)
			if (block[i].at[k] != (i & 0xff))
				good = 0;
	} BEZ_CATCH(lost) {
		(void)lost;
		return -1;
	}
	return good;
}

static void lose(size_t i)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t at = (uintptr_t)block[i].at & -page;
	bez_inject_t token;
	int r = bez_inject((void *)at, page, BEZ_INJECT_AUTO,
			   BEZ_INJECT_NO_UNDO, &token);

	if (r) {
		fprintf(stderr, "jemalloc: cannot lose a page here: %s\n",
			bez_inject_why(BEZ_INJECT_AUTO));
		exit(77);
	}
	bez_inject_forget(token);
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static double pair_ns(void)
{
	double begin = seconds();
	size_t i;

	for (i = 0; i < 2000000; i++) {
		void *p = heap_alloc(64);

		__asm__ volatile("" : : "r"(p) : "memory");
		heap_free(p);
	}
	return (seconds() - begin) / 2000000 * 1e9;
}

int main(void)
{
	struct heap_stats before, after;
	size_t i, hit = 0, wrong = 0;
	double quick;
	int on_lost;

	if (bez_start(NULL) || heap_start()) {
		fprintf(stderr, "jemalloc: cannot start\n");
		return 1;
	}
	quick = pair_ns();
	if (fill())
		return 1;
	heap_stats(&before);
	for (i = 0; i < LOSSES; i++)
		lose(100 + i * (BLOCKS / LOSSES - 1));
	for (i = 0; i < BLOCKS; i++) {
		int good = is_good(i);

		wrong += good == 0;
		if (good > 0 && i % 3)
			continue;
		hit += good < 0;
		heap_free(block[i].at);
		block[i].at = NULL;
	}
	on_lost = fill();
	for (i = 0; i < BLOCKS; i++)
		wrong += is_good(i) != 1;
	heap_stats(&after);
	printf("%u pages lost under %zu blocks; all of them and each third one "
	       "freed\n", LOSSES, hit);
	printf("allocated again: %d on a lost page (%zu were refused), %zu "
	       "wrong\n", on_lost, after.refused, wrong);
	printf("heap: %zu KiB before, %zu after, of it %zu closed and %zu in "
	       "blocks that are kept\n", before.mapped / 1024,
	       after.mapped / 1024, after.closed / 1024, after.kept / 1024);
	printf("a block and back: %.1f ns, with %u pages lost %.1f\n", quick,
	       (uint32_t)bez_lost_generation(), pair_ns());
	return on_lost || wrong || hit < LOSSES || heap_stop() || bez_stop();
}
