/* SPDX-License-Identifier: MIT */
/*
 * Making what a case describes: memory of that kind with those attributes, its
 * source, its region. What the machine refuses to give is taken out of the case.
 */
#define _GNU_SOURCE
#include "campaign.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "live.h"
#include "uapi.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41		/* Linux 5.17 */
#define PR_SET_VMA_ANON_NAME 0
#endif

#define HUGE ((size_t)2 << 20)
#define ABOVE ((size_t)256 << 10)
#define DEADLINE_NS 60000000000u

/* --------------------------------------------------------------- the memory */

static int open_file(const struct camp *m)
{
	char name[] = "/tmp/bezoar-campaign-XXXXXX";
	int fd;

	if (camp_is_file(&m->c)) {
		fd = mkstemp(name);
		CHECKF(fd >= 0, "mkstemp: %s", strerror(errno));
		unlink(name);
	} else {
		fd = memfd_create("campaign", MFD_CLOEXEC |
				  (camp_is_huge(&m->c) ? MFD_HUGETLB : 0));
		CHECKF(fd >= 0, "memfd_create: %s", strerror(errno));
	}
	CHECK_EQ(ftruncate(fd, (off_t)m->len), 0);
	return fd;
}

static int is_on_disk(int fd)
{
	struct statfs fs;

	CHECK_EQ(fstatfs(fd, &fs), 0);
	return fs.f_type != TMPFS_MAGIC;
}

static int has_file(const struct camp *m)
{
	switch (m->c.kind) {
	case CAMP_ANON:
	case CAMP_THP:
	case CAMP_STACK:
	case CAMP_SHARED:
	case CAMP_HUGETLB:
		return 0;
	default:
		return 1;
	}
}

static int is_fenced(const struct camp *m)
{
	return m->c.kind == CAMP_FENCED ||
	       (m->c.kind == CAMP_HUGE_SHARED && m->c.base);
}

static int is_mapped_shared(const struct camp *m)
{
	return camp_is_shared(&m->c) || m->c.kind == CAMP_SHARED_FILE;
}

static void fill_file(struct camp *m)
{
	unsigned char *at = mmap(NULL, m->len, PROT_READ | PROT_WRITE,
				 MAP_SHARED, m->fd, 0);

	CHECKF(at != MAP_FAILED, "mmap: %s", strerror(errno));
	camp_pattern(at, m->len, 1);
	munmap(at, m->len);
}

/* Between pages without access, so that it merges with no neighbour. */
static unsigned char *room(const struct camp *m)
{
	size_t align = m->c.kind == CAMP_THP ? HUGE : m->width;
	size_t all = m->len + m->above + 2 * align;
	unsigned char *at = mmap(NULL, all + align, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				 -1, 0);
	size_t before;

	CHECK(at != MAP_FAILED);
	before = -(uintptr_t)at & (align - 1);
	if (before)
		munmap(at, before);
	if (align - before)
		munmap(at + before + all, align - before);
	return at + before + align;
}

static void leave_room(const struct camp *m)
{
	size_t align = m->c.kind == CAMP_THP ? HUGE : m->width;

	CHECK_EQ(munmap(m->at - align, m->len + m->above + 2 * align), 0);
}

static void map(struct camp *m)
{
	int flags = is_mapped_shared(m) ? MAP_SHARED : MAP_PRIVATE;
	unsigned char *at = room(m);

	if (m->fd < 0)
		flags |= MAP_ANONYMOUS;
	if (m->c.kind == CAMP_HUGETLB)
		flags |= MAP_HUGETLB;
	m->at = mmap(at, m->len + m->above, PROT_READ | PROT_WRITE,
		     flags | MAP_FIXED, m->fd, 0);
	CHECKF(m->at == at, "mmap: %s", strerror(errno));
}

static void fill(struct camp *m)
{
	size_t page, step = m->c.copied == 1 ? 2 : 1;

	if (m->fd < 0) {
		camp_pattern(m->at, m->len, 1);
		return;
	}
	if (is_mapped_shared(m) || !m->c.copied)
		return;
	for (page = 0; page < m->pages; page += step)
		camp_pattern(m->at + page * m->width, m->width, 100 + page);
}

/* -------------------------------------------------------------- attributes */

int camp_prot(const struct camp *m)
{
	switch (m->c.prot) {
	case CAMP_R:
		return PROT_READ;
	case CAMP_RWX:
		return PROT_READ | PROT_WRITE | PROT_EXEC;
	default:
		return PROT_READ | PROT_WRITE;
	}
}

void camp_protect(struct camp *m, size_t from, size_t len, int prot)
{
	int r = m->key < 0 ? mprotect(m->at + from, len, prot) :
		pkey_mprotect(m->at + from, len, prot, m->key);

	CHECKF(!r, "mprotect: %s", strerror(errno));
}

void camp_write(struct camp *m, size_t from, const unsigned char *bytes,
		size_t len)
{
	size_t start = from / m->width * m->width;
	size_t end = (from + len + m->width - 1) / m->width * m->width;

	if (m->c.prot == CAMP_R)
		camp_protect(m, start, end - start, PROT_READ | PROT_WRITE);
	memcpy(m->at + from, bytes, len);
	if (m->c.prot == CAMP_R)
		camp_protect(m, start, end - start, PROT_READ);
}

void camp_drop(struct camp *m, size_t page)
{
	unsigned char *at = m->at + page * m->width;
	int r = madvise(at, m->width, MADV_DONTNEED);

	if (r && errno == EINVAL)	/* locked */
		r = madvise(at, m->width, MADV_DONTNEED_LOCKED);
	CHECKF(!r, "MADV_DONTNEED: %s", strerror(errno));
}

static void give(struct camp *m)
{
	unsigned long nodes = 1;

	if (m->c.kind == CAMP_ANON && !m->c.advice)
		madvise(m->at, m->len, MADV_NOHUGEPAGE);
	if (m->c.advice && madvise(m->at, m->len, camp_advice(&m->c)))
		m->c.advice = 0;
	if (m->c.name && prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, m->at, m->len,
			       "of a campaign"))
		m->c.name = 0;
	if (m->c.numa && syscall(SYS_mbind, m->at, m->len, MPOL_BIND, &nodes, 8,
				 0))
		m->c.numa = 0;
	/* locked memory cannot be discarded before */
	if (m->c.lock && (!live_linux(5, 18) || mlock(m->at, m->len)))
		m->c.lock = 0;
	if (m->c.key && m->key < 0)
		m->key = pkey_alloc(0, 0);
	m->c.key = m->key >= 0;
	if (m->c.prot || m->key >= 0)
		camp_protect(m, 0, m->len, camp_prot(m));
}

/* -------------------------------------------------------------- the source */

static int fill_from(void *dst, size_t len, uint64_t offset, void *arg)
{
	const struct camp *m = arg;

	memcpy(dst, m->source + offset, len);
	return 0;
}

/* What it left behind must be in nobody's page. */
static int fail(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	memset(dst, 0xee, len);
	return -EIO;
}

static struct bez_source source_of(struct camp *m, struct bez_source *list)
{
	switch (m->c.source) {
	case CAMP_FROM_FILE:
		return bez_source_file(m->source_fd, CAMP_SOURCE_AT);
	case CAMP_CALLBACK:
		return bez_source_callback(fill_from, m);
	case CAMP_DEFERRED:
		return bez_source_deferred(fill_from, m, DEADLINE_NS);
	case CAMP_LIST:
		list[0] = bez_source_callback(fail, m);
		break;
	case CAMP_SALVAGE:
		list[0] = bez_source_salvage();
		break;
	case CAMP_ZERO:
		return bez_source_zero();
	default:
		return bez_source_mirror(m->source);
	}
	list[1] = bez_source_mirror(m->source);
	return bez_source_first_of(list, 2);
}

/* Not of huge pages: whether one is left is not for a seed to say, and what was
 * replaced by base pages is lost by base pages from then on. */
static int has_base(const struct camp *m)
{
	return m->c.base && !camp_is_huge(&m->c);
}

void camp_region_add(struct camp *m)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_source list[2], from = source_of(m, list);

	policy.name = "campaign";
	policy.source = &from;
	policy.digests = m->c.digests ? m->digests : NULL;
	policy.max_repeats = 4095;	/* it is lost again and again */
	policy.flags = (m->c.mapped ? BEZ_POLICY_IS_MAPPED : 0) |
		       (has_base(m) ? BEZ_POLICY_BASE_PAGES : 0) |
		       (m->c.detach ? BEZ_POLICY_DETACH : 0);
	shared.fd = m->fd;
	shared.flags = m->shared_flags;
	if (shared.flags || m->c.told)
		policy.shared = &shared;
	CHECK_EQ(bez_region_add(m->at, m->len, &policy, &m->region), 0);
}

/* -------------------------------------------------------------------- all */

static void *anywhere(size_t len)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

static void open_model(struct camp *m)
{
	m->truth = anywhere(m->len);
	m->source = anywhere(m->len);
	m->zeros = anywhere(m->len);
	m->digests = calloc(m->len / live_page(), sizeof(*m->digests));
	m->lost = calloc(m->pages, 1);
	m->apart = calloc(m->pages, 1);
	CHECK(m->digests && m->lost && m->apart);
	m->in_file = m->pages;
	if (m->c.source == CAMP_FROM_FILE) {
		m->source_fd = memfd_create("source", MFD_CLOEXEC);
		CHECK(m->source_fd >= 0);
	}
	memcpy(m->truth, m->at, m->len);
	camp_changed(m, 0, m->len);
}

static void close_model(struct camp *m)
{
	munmap(m->truth, m->len);
	munmap(m->source, m->len);
	munmap(m->zeros, m->len);
	free(m->digests);
	free(m->lost);
	free(m->apart);
	if (m->source_fd >= 0)
		close(m->source_fd);
}

void camp_open(struct camp *m)
{
	uint32_t threads = 1 + m->c.threads;

	m->width = camp_is_huge(&m->c) ? HUGE : live_page();
	m->pages = m->c.pages;
	m->len = m->width * m->pages;
	m->above = m->c.kind == CAMP_STACK ? ABOVE : 0;
	m->fd = has_file(m) ? open_file(m) : -1;
	m->source_fd = -1;
	m->key = -1;
	if (m->fd >= 0)
		fill_file(m);
	m->shared_flags = !camp_is_shared(&m->c) ? 0 : is_fenced(m) ?
			  BEZ_SHARED_FENCED : BEZ_SHARED_EXCLUSIVE;
	m->c.told = m->c.told && m->c.kind == CAMP_SHARED_FILE &&
		    is_on_disk(m->fd);
	map(m);
	fill(m);
	give(m);
	/* the key's rights go from a thread to those that it makes */
	m->pool = camp_pool_new(m, threads);
	open_model(m);
	camp_region_add(m);
	camp_see(m, 0, &m->see);
}

void camp_close(struct camp *m)
{
	CHECK_EQ(bez_region_remove(m->region), 0);
	camp_pool_end(m->pool);
	close_model(m);
	leave_room(m);
	if (m->fd >= 0)
		close(m->fd);
	if (m->key >= 0)
		CHECK_EQ(pkey_free(m->key), 0);
}
