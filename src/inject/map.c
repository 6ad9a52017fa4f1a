/* SPDX-License-Identifier: MIT */
/*
 * What memory is it? /proc/self/smaps is the one place that tells the page
 * size of a mapping and whether it is locked. But it counts the pages of every
 * mapping on the way, under the lock that a repair needs, which takes 10 ms for
 * 512 MiB; so it is read only where /proc/self/maps does not do. Nothing is
 * allocated: the heap may be what is to be poisoned.
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
#include <sys/sysmacros.h>

struct lines {
	int fd;
	size_t have, used;
	char buf[4096];
};

/* One mapping, as smaps has it. */
struct mapping {
	uint64_t start, end, offset, ino, dev;
	size_t page;
	bool shared, readable, huge, locked;
	char path[sizeof(((struct bzi_memory *)0)->path)];
};

/* The next line without its newline, cut to @size. 1, 0 at the end, -errno. */
static int next_line(struct lines *in, char *dst, size_t size)
{
	size_t n = 0;

	for (;;) {
		if (in->used == in->have) {
			ssize_t r = bzi_sys_read(in->fd, in->buf,
						 sizeof(in->buf));

			if (r == -EINTR)
				continue;
			if (r <= 0)
				return (int)r;
			in->have = (size_t)r;
			in->used = 0;
		}
		if (in->buf[in->used] == '\n')
			break;
		if (n + 1 < size)
			dst[n++] = in->buf[in->used];
		in->used++;
	}
	in->used++;
	dst[n] = '\0';
	return 1;
}

static bool parse_header(const char *line, struct mapping *m)
{
	unsigned int major, minor;
	char perms[5];
	int path = 0;

	memset(m, 0, sizeof(*m));
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64
		   " %x:%x %" SCNu64 " %n", &m->start, &m->end, perms,
		   &m->offset, &major, &minor, &m->ino, &path) < 7)
		return false;
	m->dev = makedev(major, minor);
	m->readable = perms[0] == 'r';
	m->shared = perms[3] == 's';
	/* a name that was cut would be another file's */
	if (path && strlen(line + path) < sizeof(m->path) - 1)
		strcpy(m->path, line + path);
	return true;
}

static void parse_detail(const char *line, struct mapping *m)
{
	unsigned long kib;

	if (sscanf(line, "KernelPageSize: %lu kB", &kib) == 1) {
		m->page = kib * 1024;
	} else if (!strncmp(line, "VmFlags:", 8)) {
		m->huge = strstr(line, " ht");
		m->locked = strstr(line, " lo");
	}
}

/* MAP_ANONYMOUS | MAP_HUGETLB has an inode, but nobody else can have it. */
static bool is_file(const struct mapping *v)
{
	return v->ino && !(v->huge && !strncmp(v->path, "/anon_hugepage", 14));
}

static int take_first(const struct mapping *v, struct bzi_memory *m)
{
	m->page = v->page;
	m->shared = v->shared;
	m->file = is_file(v);
	m->huge = v->huge;
	m->locked = v->locked;
	m->readable = v->readable;
	m->map_start = (char *)(uintptr_t)v->start;
	m->map_end = (char *)(uintptr_t)v->end;
	m->offset = v->offset + (uint64_t)(m->addr - m->map_start);
	m->dev = v->dev;
	m->ino = v->ino;
	strcpy(m->path, v->path);
	if ((uintptr_t)m->addr % m->page || m->len % m->page)
		return -EINVAL;
	return 0;
}

static bool is_like_first(const struct mapping *v, const struct bzi_memory *m)
{
	return v->page == m->page && v->shared == m->shared &&
	       is_file(v) == m->file && v->huge == m->huge &&
	       v->locked == m->locked;
}

/* A complete mapping. 0: go on. 1: the range is covered. Or -errno. */
static int add(const struct mapping *v, struct bzi_memory *m, char **at)
{
	char *start = (char *)(uintptr_t)v->start;
	char *end = (char *)(uintptr_t)v->end;
	int r;

	if (!v->page)
		return -EIO;
	if (end <= *at)
		return 0;
	if (start > *at)
		return -ENOMEM;
	if (!m->pieces) {
		r = take_first(v, m);
		if (r)
			return r;
	} else if (!is_like_first(v, m) || m->pieces == BZI_MAX_PIECES) {
		return -EOPNOTSUPP;
	}
	m->readable = m->readable && v->readable;
	m->last_end = end;
	m->starts[m->pieces++] = *at;
	*at = end < m->addr + m->len ? end : m->addr + m->len;
	m->starts[m->pieces] = *at;
	return *at == m->addr + m->len;
}

/*
 * MADV_COLD (Linux 5.4) does no harm, and is refused where memory is locked or
 * made of huge pages. Of what is not a file that leaves the ordinary.
 */
static bool is_plain(const struct mapping *v)
{
	return !v->ino &&
	       !bzi_sys_advise((char *)(uintptr_t)v->start,
			       bzi_sys_page_size(), MADV_COLD);
}

/* 1, with *m filled; 0: part of it is not mapped; -ENODATA: this place does
 * not tell enough. */
static int from_maps(struct bzi_memory *m)
{
	struct lines in = { .fd = bzi_sys_open("/proc/self/maps", O_RDONLY) };
	struct mapping v;
	char *at = m->addr;
	char line[768];
	int r = -ENODATA;

	if (in.fd < 0)
		return r;
	while ((r = next_line(&in, line, sizeof(line))) > 0) {
		if (!parse_header(line, &v)) {
			r = -EIO;
			break;
		}
		if ((char *)(uintptr_t)v.end <= at)
			continue;
		if ((char *)(uintptr_t)v.start <= at && !is_plain(&v)) {
			r = -ENODATA;
			break;
		}
		v.page = bzi_sys_page_size();
		r = add(&v, m, &at);
		if (r)
			break;
	}
	bzi_sys_close(in.fd);
	return r;
}

static int from_smaps(struct bzi_memory *m)
{
	struct lines in = { .fd = -1 };
	struct mapping v = { .page = 0 };
	char *at = m->addr;
	char line[768];
	int r;

	in.fd = bzi_sys_open("/proc/self/smaps", O_RDONLY);
	if (in.fd < 0)
		return in.fd;
	while ((r = next_line(&in, line, sizeof(line))) > 0) {
		/* headers alone begin with a small letter or a digit */
		if (line[0] >= 'A' && line[0] <= 'Z') {
			parse_detail(line, &v);
			if (strncmp(line, "VmFlags:", 8))
				continue;
			r = add(&v, m, &at); /* it was the last line */
			if (r)
				break;
		} else if (!parse_header(line, &v)) {
			r = -EIO;
			break;
		}
	}
	bzi_sys_close(in.fd);
	return r;
}

int bzi_memory_of(void *addr, size_t len, struct bzi_memory *ret_memory)
{
	const struct bzi_memory asked = { .addr = addr, .len = len };
	struct bzi_memory m = asked;
	int r = from_maps(&m);

	if (r == -ENODATA) {
		m = asked;
		r = from_smaps(&m);
	}
	if (r <= 0)
		return r ? r : -ENOMEM;
	*ret_memory = m;
	return 0;
}
