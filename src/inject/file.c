/* SPDX-License-Identifier: MIT */
/*
 * TRUNCATE: the file below a mapping is cut off at the address. Undo writes
 * the bytes back at its end, a page at a time: the file never reaches over
 * bytes that are not there yet, so no mapping of it shows zeros in between.
 */
#define _GNU_SOURCE
#include "inject.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static bool is_file(int fd, uint64_t dev, uint64_t ino)
{
	struct stat st;

	return !bzi_sys_stat(fd, &st) && S_ISREG(st.st_mode) &&
	       st.st_dev == dev && st.st_ino == ino;
}

/* Open @path for writing if it is the file that is mapped. */
static int open_if(const char *path, const struct bzi_memory *m)
{
	int fd = bzi_sys_open(path, O_RDWR);

	if (fd < 0 || is_file(fd, m->dev, m->ino))
		return fd;
	bzi_sys_close(fd);
	return -ENOENT;
}

/* A file without a name is found if one of our descriptors has it open. */
static int open_by_descriptor(const struct bzi_memory *m)
{
	int fd, max = bzi_sys_max_fd();
	int r = -ENOENT;
	char path[32];

	for (fd = 0; r < 0 && fd < max; fd++) {
		if (!is_file(fd, m->dev, m->ino))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		r = open_if(path, m);
	}
	return r;
}

/* map_files needs CAP_CHECKPOINT_RESTORE; the name may be another's by now. */
static int open_mapped(const struct bzi_memory *m)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/map_files/%" PRIxPTR "-%"
		 PRIxPTR, (uintptr_t)m->map_start, (uintptr_t)m->map_end);
	fd = open_if(path, m);
	if (fd < 0 && m->path[0] == '/')
		fd = open_if(m->path, m);
	if (fd < 0)
		fd = open_by_descriptor(m);
	return fd == -ENOENT ? -EACCES : fd;
}

static int read_tail(struct bzi_token *t)
{
	uint64_t at = t->cut;

	while (at < t->end) {
		ssize_t n = bzi_sys_pread(t->fd, t->copy + (at - t->cut),
					  t->end - at, at);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? (int)n : -EBUSY; /* it is being cut */
		at += (uint64_t)n;
	}
	return 0;
}

/*
 * Private pages that were written are lost with the file and are not in it.
 * Everything of the mapping from addr on goes, not only what was asked for.
 */
static int check_unchanged(const struct bzi_memory *m, struct bzi_token *t)
{
	size_t size = (size_t)(m->map_end - m->addr);
	char seen[4096];
	size_t at, n;

	if (size > t->end - t->cut)
		size = t->end - t->cut;
	for (at = 0; at < size; at += n) {
		n = size - at < sizeof(seen) ? size - at : sizeof(seen);
		if (bzi_sys_peek(seen, m->addr + at, n) != (ssize_t)n ||
		    memcmp(seen, t->copy + at, n))
			return -EOPNOTSUPP;
	}
	return 0;
}

static int save_tail(const struct bzi_memory *m, struct bzi_token *t)
{
	uint64_t size = t->end - t->cut;
	int r;

	if (size > SIZE_MAX - t->page)
		return -ENOMEM;
	r = bzi_token_room(t, size, PROT_READ | PROT_WRITE);
	if (!r)
		r = bzi_hide(t->copy, t->copy_len);
	if (!r)
		r = read_tail(t);
	if (!r && !m->shared)
		r = check_unchanged(m, t);
	return r;
}

static int put(const struct bzi_memory *m, struct bzi_token *t)
{
	struct stat st;
	int fd, r;

	if (!m->file || m->huge || m->pieces > 1)
		return -EOPNOTSUPP;
	fd = open_mapped(m);
	if (fd < 0)
		return fd;
	t->fd = bzi_sys_dup_high(fd);
	bzi_sys_close(fd);
	if (t->fd < 0)
		return t->fd;
	r = bzi_sys_stat(t->fd, &st);
	if (r)
		return r;
	t->dev = m->dev;
	t->ino = m->ino;
	t->cut = m->offset;
	t->end = (uint64_t)st.st_size;
	if (t->end <= t->cut)
		return -EALREADY;
	if (bzi_wants_undo(t))
		r = save_tail(m, t);
	return r ? r : bzi_sys_truncate(t->fd, t->cut);
}

static int undo(struct bzi_token *t)
{
	struct stat st;
	uint64_t at;
	int r;

	if (!is_file(t->fd, t->dev, t->ino))
		return -ESTALE;
	r = bzi_sys_stat(t->fd, &st);
	if (r)
		return r;
	at = (uint64_t)st.st_size;
	if (at < t->cut)
		return -ESTALE;
	while (at < t->end) {
		/* up to the end of a page, no further */
		size_t n = t->page - at % t->page;
		ssize_t done;

		if (n > t->end - at)
			n = t->end - at;
		done = bzi_sys_pwrite(t->fd, t->copy + (at - t->cut), n, at);
		if (done == -EINTR)
			continue;
		if (done <= 0)
			return done ? (int)done : -EIO;
		at += (uint64_t)done;
	}
	return 0;
}

static int available(void)
{
	return 0;
}

const struct bzi_backend bzi_file = {
	.name = "truncate",
	.fidelity = BEZ_INJECT_FIDELITY_KERNEL,
	.available = available,
	.put = put,
	.undo = undo,
};
