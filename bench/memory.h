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
	long huge_before;	/* vm.nr_hugepages as it was; -1: left alone */
};

int bench_memory_open(size_t slots, size_t stride, size_t used,
		      struct bench_memory *ret_memory);

/* The same with @slots hugetlb pages of 2 MiB, all used; the mirror is ordinary
 * memory. -ENOSPC: they could not be set aside. */
int bench_memory_open_huge(size_t slots, struct bench_memory *ret_memory);

/* The same with the pages of a memfd, mapped MAP_SHARED. Its descriptor is
 * *@ret_fd. Such pages are lost by another way than bench_memory_poison(). */
int bench_memory_open_shared(size_t slots, int *ret_fd,
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
