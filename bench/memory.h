/* SPDX-License-Identifier: MIT */
/*
 * The memory that is lost and its mirror: @slots places of one page, @stride
 * pages apart, of which @used, in random order, have content and are poisoned.
 */
#ifndef BEZOAR_BENCH_MEMORY_H
#define BEZOAR_BENCH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench_memory {
	char *data;
	char *mirror;		/* its byte 0 is that of data */
	size_t len;		/* of each */
	size_t page;
	size_t stride;
	size_t slots;
	size_t used;
	uint32_t *order;	/* all slots, shuffled; the first are used */
	int poison;		/* see poison.h */
};

int bench_memory_open(size_t slots, size_t stride, size_t used,
		      struct bench_memory *ret_memory);
void bench_memory_close(struct bench_memory *memory);

/* Lose all used pages. */
int bench_memory_poison(const struct bench_memory *memory);

/* Every byte of every used page is what it was. */
bool bench_memory_good(const struct bench_memory *memory);

static inline char *bench_memory_slot(const struct bench_memory *memory,
				      size_t slot)
{
	return memory->data + slot * memory->stride * memory->page;
}

/* The @i-th page in the shuffled order. */
static inline char *bench_memory_at(const struct bench_memory *memory,
				    size_t i)
{
	return bench_memory_slot(memory, memory->order[i]);
}

#endif
