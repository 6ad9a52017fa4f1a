/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "memory.h"
#include "poison.h"

#include <errno.h>
#include <stdio.h>
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

static char *map(size_t len, int flags, int fd)
{
	char *addr = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	return addr == MAP_FAILED ? NULL : addr;
}

/* Pages of the base size: what is lost is one page, not a huge one. */
static char *map_plain(size_t len)
{
	char *addr = map(len, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	if (addr)
		madvise(addr, len, MADV_NOHUGEPAGE);
	return addr;
}

/* What @m says of itself is there; map the rest, and fill it. */
static int open_rest(struct bench_memory *m)
{
	m->poison = poison_open();
	if (m->poison < 0)
		return m->poison;
	m->order = shuffled(m->slots);
	if (!m->order || !m->data || !m->mirror)
		return -ENOMEM;
	for (size_t i = 0; i < m->used; i++) {
		char *page = bench_memory_at(m, i);

		fill(page, m->page, m->order[i]);
		memcpy(m->mirror + (page - m->data), page, m->page);
	}
	return 0;
}

static int open_or_close(struct bench_memory *m, struct bench_memory *ret)
{
	int err = open_rest(m);

	if (err < 0)
		bench_memory_close(m);
	else
		*ret = *m;
	return err;
}

int bench_memory_open(size_t slots, size_t stride, size_t used,
		      struct bench_memory *ret_memory)
{
	struct bench_memory m = { .slots = slots, .stride = stride,
				  .used = used, .huge_before = -1 };

	m.page = (size_t)sysconf(_SC_PAGESIZE);
	m.len = slots * stride * m.page;
	m.data = map_plain(m.len);
	m.mirror = map_plain(m.len);
	return open_or_close(&m, ret_memory);
}

#define POOL "/proc/sys/vm/nr_hugepages"

static long pool_read(void)
{
	FILE *f = fopen(POOL, "r");
	long n = -1;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

static void pool_write(long n)
{
	FILE *f = fopen(POOL, "w");

	if (f) {
		fprintf(f, "%ld\n", n);
		fclose(f);
	}
}

int bench_memory_open_huge(size_t slots, struct bench_memory *ret_memory)
{
	struct bench_memory m = { .slots = slots, .stride = 1, .used = slots,
				  .page = (size_t)2 << 20, .poison = -1,
				  .huge_before = pool_read() };

	m.len = slots * m.page;
	/* one more: a page is placed before the other is given back */
	pool_write(m.huge_before + (long)slots + 1);
	m.data = map(m.len, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	if (!m.data) {
		bench_memory_close(&m);
		return -ENOSPC;
	}
	m.mirror = map(m.len, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	return open_or_close(&m, ret_memory);
}

int bench_memory_open_shared(size_t slots, int *ret_fd,
			     struct bench_memory *ret_memory)
{
	struct bench_memory m = { .slots = slots, .stride = 1, .used = slots,
				  .huge_before = -1 };
	int fd = memfd_create("bench", MFD_CLOEXEC);

	m.page = (size_t)sysconf(_SC_PAGESIZE);
	m.len = slots * m.page;
	if (fd < 0 || ftruncate(fd, (off_t)m.len) < 0)
		return -errno;
	m.data = map(m.len, MAP_SHARED, fd);
	m.mirror = map_plain(m.len);
	*ret_fd = fd;
	return open_or_close(&m, ret_memory);
}

void bench_memory_close(struct bench_memory *memory)
{
	if (memory->data)
		munmap(memory->data, memory->len);
	if (memory->mirror)
		munmap(memory->mirror, memory->len);
	free(memory->order);
	if (memory->poison >= 0)
		close(memory->poison);
	if (memory->huge_before >= 0)
		pool_write(memory->huge_before);
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
