/* SPDX-License-Identifier: MIT */
#include "memory.h"
#include "poison.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Different in each word and in each slot, and never zero. */
static uint64_t word(uint32_t slot, size_t i)
{
	return ((uint64_t)slot << 32 | (i + 1)) * 0x9e3779b97f4a7c15u;
}

static void fill(char *page, size_t size, uint32_t slot)
{
	for (size_t i = 0; i < size / sizeof(uint64_t); i++)
		((uint64_t *)(void *)page)[i] = word(slot, i);
}

static bool good(const char *page, size_t size, uint32_t slot)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < size / sizeof(uint64_t); i++)
		wrong |= ((const uint64_t *)(const void *)page)[i] ^
			 word(slot, i);
	return wrong == 0;
}

/* The same shuffle in each run: chance is not what is measured. */
static uint32_t *shuffled(size_t count)
{
	uint32_t *order = calloc(count, sizeof(*order));
	uint64_t state = 88172645463325252u;

	for (size_t i = 0; order && i < count; i++) {
		size_t other;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		other = state % (i + 1);
		order[i] = order[other];
		order[other] = (uint32_t)i;
	}
	return order;
}

/* Pages of the base size: what is lost is one page, not a huge one. */
static char *map(size_t len)
{
	char *addr = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (addr == MAP_FAILED)
		return NULL;
	madvise(addr, len, MADV_NOHUGEPAGE);
	return addr;
}

int bench_memory_open(size_t slots, size_t stride, size_t used,
		      struct bench_memory *ret_memory)
{
	struct bench_memory m = { .slots = slots, .stride = stride,
				  .used = used };

	m.page = (size_t)sysconf(_SC_PAGESIZE);
	m.len = slots * stride * m.page;
	m.poison = poison_open();
	if (m.poison < 0)
		return m.poison;
	m.order = shuffled(slots);
	m.data = map(m.len);
	m.mirror = map(m.len);
	if (!m.order || !m.data || !m.mirror) {
		bench_memory_close(&m);
		return -ENOMEM;
	}
	for (size_t i = 0; i < used; i++) {
		char *page = bench_memory_at(&m, i);

		fill(page, m.page, m.order[i]);
		memcpy(m.mirror + (page - m.data), page, m.page);
	}
	*ret_memory = m;
	return 0;
}

void bench_memory_close(struct bench_memory *memory)
{
	if (memory->data)
		munmap(memory->data, memory->len);
	if (memory->mirror)
		munmap(memory->mirror, memory->len);
	free(memory->order);
	close(memory->poison);
}

/* Page by page: the kernel takes no range that is more than one mapping, and
 * some ways to replace leave many. */
int bench_memory_poison(const struct bench_memory *memory)
{
	int err = poison_begin(memory->poison, memory->data, memory->len), end;

	for (size_t i = 0; err == 0 && i < memory->used; i++)
		err = poison_mark(memory->poison, bench_memory_at(memory, i),
				  memory->page);
	end = poison_end(memory->poison, memory->data, memory->len);
	return err < 0 ? err : end;
}

bool bench_memory_good(const struct bench_memory *memory)
{
	bool all = true;

	for (size_t i = 0; i < memory->used; i++)
		all &= good(bench_memory_at(memory, i), memory->page,
			    memory->order[i]);
	return all;
}
