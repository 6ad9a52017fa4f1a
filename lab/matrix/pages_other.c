/* SPDX-License-Identifier: MIT */
/* Page types: what the kernel does something else with, and what a program
 * stands on. */
#define _GNU_SOURCE
#include "gmem.h"
#include "matrix.h"

#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGES	6
#define KSM	"/sys/kernel/mm/ksm/"
#define KPF_KSM	21			/* of /proc/kpageflags */

static uint64_t pagemap(const void *at)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &entry, sizeof(entry),
		       (off_t)((uintptr_t)at / SMALL * sizeof(entry))),
		 sizeof(entry));
	close(fd);
	return entry;
}

static void plain(struct matrix_memory *m)
{
	m->unit = SMALL;
	m->len = PAGES * SMALL;
	m->flags = MAP_PRIVATE | MAP_ANONYMOUS;
	matrix_map(m);
	madvise(m->at, m->len, MADV_NOHUGEPAGE);
	matrix_choose(m, 2 * SMALL);
	matrix_fill(m->at, m->len);
}

/* ---------------------------------------------------------------- merged by KSM */

static int is_merged(const void *at)
{
	uint64_t frame = pagemap(at) & ((1ull << 55) - 1), flags = 0;
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &flags, sizeof(flags),
		       (off_t)(frame * sizeof(flags))), sizeof(flags));
	close(fd);
	return flags >> KPF_KSM & 1;
}

/* There is another page with the same bytes, and the kernel has found that. */
static void ksm(struct matrix_memory *m, int fresh)
{
	time_t end = time(NULL) + 30 * (time_t)tap_patience();
	struct matrix_memory twin = *m;

	(void)fresh;
	plain(m);
	plain(&twin);
	if (madvise(m->at, m->len, MADV_MERGEABLE))
		tap_skip("why-not: no KSM in this kernel");
	CHECK_EQ(madvise(twin.at, twin.len, MADV_MERGEABLE), 0);
	CHECK_EQ(matrix_tell(KSM "sleep_millisecs", "0"), 0);
	CHECK_EQ(matrix_tell(KSM "pages_to_scan", "1000"), 0);
	CHECK_EQ(matrix_tell(KSM "run", "1"), 0);
	while (!is_merged(m->at + m->lose) && time(NULL) < end)
		sched_yield();
	CHECK_EQ(matrix_tell(KSM "run", "0"), 0);
	CHECKF(is_merged(m->at + m->lose), "it was not merged");
}

/* ------------------------------------------------------------------ swapped out */

static void swapped(struct matrix_memory *m, int fresh)
{
	static unsigned char area[64 * SMALL];
	struct matrix_memory swap = { .fd = -1 };
	uint32_t head[] = { 1, COUNT(area) / SMALL - 1, 0 };

	(void)fresh;
	matrix_on_disk(&swap, area);	/* its name goes to the keeper */
	memcpy(area + 1024, head, sizeof(head));
	memcpy(area + SMALL - 10, "SWAPSPACE2", 10);
	CHECK_EQ(pwrite(swap.fd, area, sizeof(area), 0), sizeof(area));
	CHECK_EQ(fsync(swap.fd), 0);
	close(swap.fd);
	CHECKF(!swapon(swap.path, 0), "swapon: %s", strerror(errno));
	plain(m);
}

/* Out, and in again without our touch: it is on the swap still. */
static void out_and_in(struct matrix_memory *m)
{
	time_t end = time(NULL) + 30 * (time_t)tap_patience();
	char byte;
	struct iovec here = { &byte, 1 }, there = { m->at + m->lose, 1 };

	while (pagemap(m->at + m->lose) >> 63 && time(NULL) < end)
		CHECK_EQ(madvise(m->at, m->len, MADV_PAGEOUT), 0);
	CHECKF(pagemap(m->at + m->lose) >> 62 == 1, "it is not out");
	CHECK_EQ(process_vm_readv(getpid(), &here, 1, &there, 1, 0), 1);
}

/* ------------------------------------------------------------- a thread's own */

static unsigned char *part_of_stack;

static void *on_stack(void *victim)
{
	unsigned char *room = alloca((PAGES + 1) * SMALL);

	part_of_stack = room + SMALL - 1 - ((uintptr_t)room - 1) % SMALL;
	((void (*)(void))(uintptr_t)victim)();
	return NULL;
}

/* Frames of callers: those that run are below. */
static void around_stack(void (*victim)(void))
{
	static const size_t len = 64 * SMALL;
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	pthread_attr_t attr;
	pthread_t thread;

	CHECK(at != MAP_FAILED);
	madvise(at, len, MADV_NOHUGEPAGE);
	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstack(&attr, at, len), 0);
	CHECK_EQ(pthread_create(&thread, &attr, on_stack,
				(void *)(uintptr_t)victim), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void stack(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	m->unit = SMALL;
	m->len = PAGES * SMALL;
	m->at = part_of_stack;
	matrix_choose(m, 2 * SMALL);
	matrix_fill(m->at, m->len);
}

/* The page that the kernel knows of this thread. */
static void tls(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	m->unit = m->len = SMALL;
	m->at = (unsigned char *)(pthread_self() & -SMALL);
	m->touch = pthread_self() & (SMALL - 1);
}

/* -------------------------------------------------------------------------- text */

/* What is right there is a function, which returns 42. */
static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };

static const unsigned char *with_code(struct matrix_memory *m)
{
	unsigned char *bytes = mmap(NULL, MATRIX_BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(bytes != MAP_FAILED);
	memcpy(bytes, matrix_bytes, MATRIX_BYTES);
	matrix_choose(m, 2 * SMALL);
	memcpy(bytes + m->touch, code, sizeof(code));
	matrix_bytes = bytes;
	return bytes;
}

static void map_text(struct matrix_memory *m)
{
	m->flags = MAP_PRIVATE;
	m->read_only = 1;
	matrix_map(m);
	CHECK_EQ(mprotect(m->at, m->len, PROT_READ | PROT_EXEC), 0);
	CHECK_EQ(matrix_wrong(m, 0, m->len), 0);
}

static void text_disk(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	matrix_on_disk(m, with_code(m));
	map_text(m);
}

static void text_tmpfs(struct matrix_memory *m, int fresh)
{
	char path[] = "/dev/shm/matrix-XXXXXX";

	(void)fresh;
	m->unit = SMALL;
	m->len = PAGES * SMALL;
	m->fd = mkostemp(path, O_CLOEXEC);
	CHECKF(m->fd >= 0, "%s: %s", path, strerror(errno));
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(write(m->fd, with_code(m), m->len), m->len);
	map_text(m);
}

static void call(struct matrix_memory *m)
{
	int (*fn)(void) = (int (*)(void))(uintptr_t)(m->at + m->touch);

	CHECK_EQ(fn(), 42);
}

/* ------------------------------------------------------------- a guest's, and ours */

static void guest_memfd(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	m->unit = SMALL;
	m->len = PAGES * SMALL;
	m->fd = gmem_open(m->len);
	m->flags = MAP_SHARED;
	matrix_map(m);
	matrix_choose(m, 2 * SMALL);
	matrix_fill(m->at, m->len);
}

const struct matrix_page matrix_other_pages[] = {
	{ .name = "ksm", .make = ksm },
	{ .name = "swapped", .make = swapped, .ready = out_and_in },
	{ .name = "stack", .make = stack, .around = around_stack },
	{ .name = "text-disk", .make = text_disk, .meet = call },
	{ .name = "text-tmpfs", .make = text_tmpfs, .meet = call },
	{ .name = "tls", .make = tls, .around = around_stack },
	{ .name = "libc-data" },
	{ .name = "own-tables" },
	{ .name = "dax" },
	{ .name = "guest-memfd", .make = guest_memfd },
	{ .name = NULL },
};
