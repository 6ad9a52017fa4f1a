/* SPDX-License-Identifier: MIT */
/* Page types: files, on a disk and in memory. */
#define _GNU_SOURCE
#include "matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES	6
#define SHMEM	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/* ------------------------------------------------------------------ on a disk */

/* A file that has @len bytes of content on the disk itself. */
void matrix_on_disk(struct matrix_memory *m, const void *content)
{
	const char *disk = getenv("BEZOAR_DISK");
	size_t at;

	if (!disk)
		tap_skip("why-not: no disk in this guest");
	m->unit = SMALL;
	m->len = PAGES * SMALL;
	snprintf(m->path, sizeof(m->path), "%s/matrix-XXXXXX", disk);
	m->fd = mkostemp(m->path, O_CLOEXEC);
	CHECKF(m->fd >= 0, "%s: %s", m->path, strerror(errno));
	/* by name, as it is opened by that again */
	memcpy(matrix_link->path, m->path, sizeof(m->path));
	/* one by one: what is written at once may come to lie in one page of
	 * several, which the kernel can not split while it is dirty (ext4, 6.16) */
	for (at = 0; at < m->len; at += SMALL)
		CHECK_EQ(write(m->fd, (const char *)content + at, SMALL), SMALL);
	CHECK_EQ(fsync(m->fd), 0);
	matrix_choose(m, 2 * SMALL);
}

/* Its page is in memory, and the victim has not touched it. */
static void seen_elsewhere(struct matrix_memory *m)
{
	m->see = mmap(NULL, m->unit, PROT_READ, MAP_SHARED, m->fd,
		      (off_t)(m->lose & -m->unit));
	CHECK(m->see != MAP_FAILED);
	(void)*(volatile unsigned char *)m->see;
}

static void touch_all(struct matrix_memory *m)
{
	CHECK_EQ(matrix_wrong(m, 0, m->len), 0);
}

static void clean(struct matrix_memory *m, int flags, int fresh)
{
	matrix_on_disk(m, matrix_bytes);
	m->flags = flags;
	matrix_map(m);
	if (fresh)
		seen_elsewhere(m);
	else
		touch_all(m);
}

static void private_clean(struct matrix_memory *m, int fresh)
{
	clean(m, MAP_PRIVATE, fresh);
}

static void private_copied(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	matrix_on_disk(m, matrix_bytes + HUGE);
	m->flags = MAP_PRIVATE;
	matrix_map(m);
	matrix_fill(m->at, m->len);
}

static void shared_clean(struct matrix_memory *m, int fresh)
{
	clean(m, MAP_SHARED, fresh);
	matrix_share(m, BEZ_SHARED_EXCLUSIVE);
}

static long number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	long n = -1;

	CHECK(f != NULL);
	CHECK_EQ(fscanf(f, "%ld", &n), 1);
	fclose(f);
	return n;
}

/* Who has no entry of the loss is told of none: the kernel forgets the page. */
static void shared_dirty(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	/* nobody writes it back, however long it takes to meet it: guest-init has
	 * seen to that */
	CHECK_EQ(number_in("/proc/sys/vm/dirty_writeback_centisecs"), 360000);
	matrix_on_disk(m, matrix_bytes + HUGE);
	m->flags = MAP_SHARED;
	matrix_map(m);
	matrix_fill(m->at, m->len);
	matrix_share(m, BEZ_SHARED_EXCLUSIVE);
}

/* What others read of the file: the new bytes if they are back, else the old
 * ones. Of the loss fsync(2) says one thing once, and then all is well. */
static void file_has_it(struct matrix_memory *m, int replaced)
{
	unsigned char got[SMALL];
	int r = fsync(m->fd);

	CHECKF(!r || errno == EIO, "fsync: %s", strerror(errno));
	CHECK_EQ(fsync(m->fd), 0);
	CHECK_EQ(pread(m->fd, got, SMALL, (off_t)m->lose), SMALL);
	CHECK(!memcmp(got, matrix_bytes + m->lose + (replaced ? 0 : HUGE),
		      SMALL));
}

/* ------------------------------------------------------------------- in memory */

static void in_memory(struct matrix_memory *m, int fresh)
{
	unsigned char *all;

	CHECK_EQ(ftruncate(m->fd, (off_t)m->len), 0);
	all = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	CHECK(all != MAP_FAILED);
	matrix_fill(all, m->len);
	m->flags = MAP_SHARED;
	matrix_map(m);
	if (fresh)
		seen_elsewhere(m);
	else
		touch_all(m);
	CHECK_EQ(munmap(all, m->len), 0);
	matrix_share(m, BEZ_SHARED_EXCLUSIVE);
}

static void memfd(struct matrix_memory *m, int fresh)
{
	m->unit = SMALL;
	m->len = PAGES * SMALL;
	m->fd = memfd_create("matrix", MFD_CLOEXEC);
	CHECK(m->fd >= 0);
	matrix_choose(m, 2 * SMALL);
	in_memory(m, fresh);
}

static void tmpfs(struct matrix_memory *m, int fresh)
{
	char path[] = "/dev/shm/matrix-XXXXXX";

	m->unit = SMALL;
	m->len = PAGES * SMALL;
	m->fd = mkostemp(path, O_CLOEXEC);
	CHECKF(m->fd >= 0, "%s: %s", path, strerror(errno));
	CHECK_EQ(unlink(path), 0);
	matrix_choose(m, 2 * SMALL);
	in_memory(m, fresh);
}

static void shared_anon(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	m->unit = SMALL;
	m->len = PAGES * SMALL;
	m->flags = MAP_SHARED | MAP_ANONYMOUS;
	matrix_map(m);
	matrix_fill(m->at, m->len);
	matrix_choose(m, 2 * SMALL);
	matrix_share(m, BEZ_SHARED_EXCLUSIVE);
}

/* Memory files have huge pages only while somebody says that they may. */
static void shmem_thp(struct matrix_memory *m, int fresh)
{
	m->unit = SMALL;
	m->len = HUGE;
	m->fd = memfd_create("matrix", MFD_CLOEXEC);
	CHECK(m->fd >= 0);
	CHECK_EQ(ftruncate(m->fd, (off_t)m->len), 0);
	m->flags = MAP_SHARED;
	matrix_map(m);
	matrix_choose(m, 7 * SMALL);
	CHECK_EQ(matrix_tell(SHMEM, "advise"), 0);
	CHECK_EQ(madvise(m->at, m->len, MADV_HUGEPAGE), 0);
	matrix_fill(m->at, m->len);
	CHECK_EQ(matrix_tell(SHMEM, "never"), 0);
	CHECK_EQ(matrix_huge_kb(m->at, "ShmemPmdMapped"), HUGE >> 10);
	if (fresh) {
		seen_elsewhere(m);
		CHECK_EQ(munmap(m->at, m->len), 0);
		CHECK(mmap(m->at, m->len, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_FIXED, m->fd, 0) == m->at);
	}
	matrix_share(m, BEZ_SHARED_EXCLUSIVE);
}

static void shmem_thp_pinned(struct matrix_memory *m, int fresh)
{
	(void)fresh;
	shmem_thp(m, 0);
	m->unsplit = 1;
}

/* Whoever reads the file reads what was put there. */
static void memory_has_it(struct matrix_memory *m, int replaced)
{
	unsigned char got[SMALL];

	if (!replaced)
		return;
	CHECK_EQ(pread(m->fd, got, SMALL, (off_t)m->lose), SMALL);
	CHECK(!memcmp(got, matrix_bytes + m->lose, SMALL));
}

const struct matrix_page matrix_file_pages[] = {
	{ .name = "file-private-clean", .make = private_clean },
	{ .name = "file-private-copied", .make = private_copied },
	{ .name = "file-shared-clean", .make = shared_clean },
	{ .name = "file-shared-dirty", .make = shared_dirty, .after = file_has_it },
	{ .name = "memfd", .make = memfd, .after = memory_has_it },
	{ .name = "tmpfs", .make = tmpfs, .after = memory_has_it },
	{ .name = "shmem-anon", .make = shared_anon },
	{ .name = "shmem-thp", .make = shmem_thp, .after = memory_has_it },
	{ .name = "shmem-thp-pinned", .make = shmem_thp_pinned,
	  .ready = matrix_pin },
	{ .name = NULL },
};
