/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "memory.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "find.h"
#include "index.h"

#define OTHER_FDS	64	/* left for everything else */

/* How many files may be open, with the limit raised as far as it goes. */
static size_t descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 256;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur > 2 * OTHER_FDS ? limit.rlim_cur - OTHER_FDS :
						limit.rlim_cur / 2;
}

static void *map(size_t len)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED) {
		fprintf(stderr, "demo: no memory (%zu MiB): %s; try a smaller "
			"--size\n", len >> 20, strerror(errno));
		return NULL;
	}
	/* pages are lost one by one here, and huge ones would be split one
	 * by one: the comparison would be about that */
	madvise(at, len, MADV_NOHUGEPAGE);
	return at;
}

static int read_all(int fd, unsigned char *at, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t r = pread(fd, at + done, len - done, (off_t)done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -1;
		done += (size_t)r;
	}
	return 0;
}

/* 0, or -1: it is not what it was when it was found; then it is left out. */
static int load_file(struct memory *m, const struct found *found)
{
	struct file *f = &m->files[m->file_count];
	unsigned char *at = memory_page(m, m->file_pages);
	struct stat st;
	int fd = open(found->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    (size_t)st.st_size != found->size ||
	    read_all(fd, at, found->size)) {
		close(fd);
		return -1;
	}
	f->path = found->path;
	f->fd = fd;
	f->size = found->size;
	f->first = m->file_pages;
	f->pages = (f->size - 1) / m->page + 1;
	/* its place may hold the beginning of a file that was left out */
	memset(at + f->size, 0, f->pages * m->page - f->size);
	m->file_count++;
	m->file_pages += f->pages;
	m->file_bytes += f->size;
	return 0;
}

/* Index, mirror, digests: what is made from the files. */
static int derive(struct memory *m)
{
	size_t bytes = index_bytes(m->file_pages * m->page), i;

	m->pages = m->file_pages + (bytes - 1) / m->page + 1;
	index_make(m);
	bytes = (m->pages - m->file_pages) * m->page;
	m->mirror = map(bytes);
	m->digests = calloc(m->pages, sizeof(*m->digests));
	m->lost = calloc(m->pages, sizeof(*m->lost));
	if (!m->mirror || !m->digests || !m->lost)
		return -1;
	memcpy(m->mirror, memory_page(m, m->file_pages), bytes);
	for (i = 0; i < m->pages; i++)
		m->digests[i] = bez_digest(memory_page(m, i), m->page);
	return 0;
}

int memory_load(const struct options *o, struct memory *ret_memory)
{
	struct memory m = { .page = (size_t)sysconf(_SC_PAGESIZE) };
	size_t room = (size_t)o->size_mib << 20, count, i;
	struct found *found;

	if (find_files(o, m.page, room / m.page, descriptors(), &found, &count,
		       &m.min_size))
		return -1;
	m.base = map(room + index_bytes(room) + m.page);
	m.files = calloc(count + 1, sizeof(*m.files));
	if (!m.base || !m.files)
		return -1;
	for (i = 0; i < count; i++)
		if (load_file(&m, &found[i]))
			free(found[i].path);
	free(found);
	if (!m.file_count) {
		fprintf(stderr, "demo: no file that can be read and fits into "
			"%zu MiB: choose another --files or --size\n",
			room >> 20);
		return -1;
	}
	if (derive(&m))
		return -1;
	*ret_memory = m;
	return 0;
}

const struct file *memory_file(const struct memory *m, size_t page)
{
	size_t low = 0, high = m->file_count;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (m->files[mid].first <= page)
			low = mid;
		else
			high = mid;
	}
	return &m->files[low];
}

int memory_truth(const struct memory *m, size_t page, unsigned char *buffer)
{
	memset(buffer, 0, m->page);
	if (page >= m->file_pages) {
		memcpy(buffer, m->mirror + (page - m->file_pages) * m->page,
		       m->page);
	} else {
		const struct file *f = memory_file(m, page);
		size_t at = (page - f->first) * m->page;

		/* a short or failed read shows in the digest */
		if (pread(f->fd, buffer, m->page, (off_t)at) < 0)
			return -1;
	}
	return bez_digest(buffer, m->page) == m->digests[page] ? 0 : -1;
}
