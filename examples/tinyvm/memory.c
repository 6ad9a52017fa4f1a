/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE	4096u
#define MIB	(1ull << 20)
#define GUARD	MIB

/* image.S */
extern const unsigned char kernel_image[], kernel_image_end[];

static void lay_out(struct memory *m, uint64_t mib)
{
	uint64_t len = (mib * MIB - KERNEL_SPACE) / (SLOTS - 1) & ~(uint64_t)(PAGE - 1);
	uint64_t at = KERNEL_SPACE;
	int i;

	m->slot[0].len = KERNEL_SPACE;
	for (i = 1; i < SLOTS; i++) {
		m->slot[i].len = len;
		m->slot[i].gpa = at;
		at += len;
		if (i == 1)		/* a hole; the next two touch */
			at += 3 * MIB;
		if (i == SLOTS - 2)
			at = 4ull << 30;
	}
	m->frames = len / PAGE * (SLOTS - 1);
}

int memory_make(struct memory *m, uint64_t mib)
{
	uint64_t total = GUARD;
	unsigned char *at;
	int i;

	lay_out(m, mib);
	for (i = 0; i < SLOTS; i++)
		total += m->slot[i].len + GUARD;
	at = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		  -1, 0);
	if (at == MAP_FAILED) {
		fprintf(stderr, "tinyvm: memory: %s\n", strerror(errno));
		return -1;
	}
	for (i = SLOTS - 1; i >= 0; i--) {
		struct slot *s = &m->slot[i];

		s->hva = at + GUARD;
		at = s->hva + s->len;
		if (mprotect(s->hva, s->len, PROT_READ | PROT_WRITE)) {
			fprintf(stderr, "tinyvm: memory: %s\n", strerror(errno));
			return -1;
		}
	}
	return 0;
}

/* ------------------------------------------------------------ the kernel */

enum { P = 1, W = 2, U = 4 };
#define NX	(1ull << 63)

static uint64_t *page_table(struct memory *m, uint32_t level)
{
	return (uint64_t *)(void *)(m->slot[0].hva + TABLES_AT + level * PAGE);
}

/* The first 2 MiB are where they are; what has rights of its own has them. */
static void map_kernel(struct memory *m)
{
	const struct image *image = m->image;
	uint64_t at;
	uint32_t level;

	for (level = 0; level < 3; level++)
		page_table(m, level)[0] = (TABLES_AT + (level + 1) * PAGE) | P | W | U;
	for (at = PAGE; at < KERNEL_SPACE; at += PAGE) {
		uint64_t rights = P | W | NX;

		if (at >= KERNEL_BASE && at < image->text_end)
			rights = P;
		else if (at >= image->user && at < image->user_end)
			rights = P | U;
		else if (at >= image->stacks && at < image->stacks_end)
			rights |= U;
		page_table(m, 3)[at / PAGE] = at | rights;
	}
}

#define SEGMENT(type)	(0x00cf00000000ffffull | (uint64_t)(type) << 40)
#define LONG_MODE	(1ull << 53)
#define DEFAULT_SIZE	(1ull << 54)

static void make_gdt(struct memory *m, uint32_t cpus)
{
	uint64_t *gdt = (uint64_t *)(void *)(m->slot[0].hva + GDT_AT);
	uint32_t i;

	gdt[KERNEL_CODE / 8] = (SEGMENT(0x9b) | LONG_MODE) & ~DEFAULT_SIZE;
	gdt[KERNEL_DATA / 8] = SEGMENT(0x93);
	gdt[USER_DATA / 8] = SEGMENT(0xf3);
	gdt[USER_CODE / 8] = (SEGMENT(0xfb) | LONG_MODE) & ~DEFAULT_SIZE;
	for (i = 0; i < cpus; i++) {
		uint64_t base = m->image->tss + i * TSS_SIZE;
		uint64_t *entry = &gdt[FIRST_TSS / 8 + 2 * i];

		entry[0] = (TSS_SIZE - 1) | (base & 0xffffff) << 16 | 0x8bull << 40 |
			   (base >> 24 & 0xff) << 56;
		entry[1] = base >> 32;
	}
}

void memory_load(struct memory *m, uint32_t cpus)
{
	unsigned char *to = m->slot[0].hva + KERNEL_BASE;
	int i;

	memcpy(to, kernel_image, (size_t)(kernel_image_end - kernel_image));
	m->image = (const struct image *)(void *)to;
	m->board = (struct board *)(void *)(m->slot[0].hva + m->image->board);
	map_kernel(m);
	make_gdt(m, cpus);
	m->board->ranges = SLOTS - 1;
	for (i = 1; i < SLOTS; i++) {
		m->board->range[i - 1].frame = m->slot[i].gpa / PAGE;
		m->board->range[i - 1].count = m->slot[i].len / PAGE;
	}
}

/* ---------------------------------------------------------------- frames */

int64_t memory_index(const struct memory *m, uint64_t frame)
{
	uint64_t before = 0;
	int i;

	for (i = 1; i < SLOTS; i++) {
		const struct slot *s = &m->slot[i];

		if (frame >= s->gpa / PAGE && frame < (s->gpa + s->len) / PAGE)
			return (int64_t)(before + frame - s->gpa / PAGE);
		before += s->len / PAGE;
	}
	return -1;
}

uint64_t memory_frame(const struct memory *m, uint64_t index)
{
	int i = 1;

	for (; index >= m->slot[i].len / PAGE; i++)
		index -= m->slot[i].len / PAGE;
	return m->slot[i].gpa / PAGE + index;
}

unsigned char *memory_at(const struct memory *m, uint64_t frame)
{
	int i;

	for (i = 0; i < SLOTS; i++) {
		const struct slot *s = &m->slot[i];

		if (frame >= s->gpa / PAGE && frame < (s->gpa + s->len) / PAGE)
			return s->hva + (frame * PAGE - s->gpa);
	}
	return NULL;
}
