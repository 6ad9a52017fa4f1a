/* SPDX-License-Identifier: MIT */
/*
 * The guest's memory: slots that lie elsewhere here than there, in another order, and
 * with holes. The first is the kernel's, and holds its image and what a CPU needs to
 * begin in long mode; the others are for tasks.
 */
#ifndef TINYVM_MEMORY_H
#define TINYVM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "guest/board.h"

#define SLOTS	5

struct slot {
	uint64_t gpa, len;
	unsigned char *hva;
};

struct memory {
	struct slot slot[SLOTS];
	uint64_t frames;	/* of tasks */
	const struct image *image;
	struct board *board;
};

int memory_make(struct memory *m, uint64_t mib);
/* The image, its page tables, the GDT. */
void memory_load(struct memory *m, uint32_t cpus);

/* The number of a task's frame among them, and what it is. -1: it is none. */
int64_t memory_index(const struct memory *m, uint64_t frame);
uint64_t memory_frame(const struct memory *m, uint64_t index);
unsigned char *memory_at(const struct memory *m, uint64_t frame);

#endif
