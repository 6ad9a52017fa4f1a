/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "kinds_help.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "uapi.h"

/* ------------------------------------------------------------------- making */

static void memfd(struct kinds_memory *m, unsigned int flags)
{
	m->fd = memfd_create("kinds", MFD_CLOEXEC | flags);
	if (m->fd < 0 && flags)
		tap_skip("no memfd of huge pages: %s", strerror(errno));
	CHECK(m->fd >= 0);
}

static void small_memfd(struct kinds_memory *m)
{
	memfd(m, 0);
}

static void huge_memfd(struct kinds_memory *m)
{
	memfd(m, MFD_HUGETLB | 21u << 26);
}

static void named(struct kinds_memory *m, const char *folder)
{
	snprintf(m->path, sizeof(m->path), "%s/bezoar-kinds-XXXXXX", folder);
	m->fd = mkostemp(m->path, O_CLOEXEC);
	if (m->fd < 0)
		tap_skip("no file in %s: %s", folder, strerror(errno));
}

static void on_tmpfs(struct kinds_memory *m)
{
	named(m, "/dev/shm");
}

/* Each machine with real poison can have a ramfs, which is as far from
 * userfaultfd; a disk is what disk.c is about. */
static void on_disk(struct kinds_memory *m)
{
	if (!live_is_real()) {
		named(m, "/var/tmp");
		return;
	}
	if (!mkdir("/tmp/bezoar-ramfs", 0700))
		CHECKF(!mount("ramfs", "/tmp/bezoar-ramfs", "ramfs", 0, NULL),
		       "ramfs: %s", strerror(errno));
	named(m, "/tmp/bezoar-ramfs");
}

const struct kinds_kind kinds_anon = { "anonymous", NULL, 0, 0, 0, 0 },
	kinds_memfd = { "memfd, clean", small_memfd, 0, 0, 0, 0 },
	kinds_memfd_cow = { "memfd, copied", small_memfd, 0, 1, 0, 0 },
	kinds_tmpfs = { "tmpfs, clean", on_tmpfs, 0, 0, 0, 0 },
	kinds_tmpfs_cow = { "tmpfs, copied", on_tmpfs, 0, 1, 0, 0 },
	kinds_disk = { "disk, clean", on_disk, 0, 0, 1, 0 },
	kinds_disk_cow = { "disk, copied", on_disk, 0, 1, 1, 0 },
	kinds_huge = { "hugetlb", NULL, 1, 0, 0, 0 },
	kinds_huge_unreserved = { "hugetlb, not reserved", NULL, 1, 0, 0,
				  MAP_NORESERVE },
	kinds_huge_memfd = { "hugetlb memfd, clean", huge_memfd, 1, 0, 0, 0 },
	kinds_huge_memfd_cow = { "hugetlb memfd, copied", huge_memfd, 1, 1, 0, 0 };

const unsigned char *kinds_bytes(unsigned int seed)
{
	static unsigned char *made[8];
	size_t len = 3 * KINDS_HUGE;

	if (!made[seed]) {
		made[seed] = mmap(NULL, len, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(made[seed] != MAP_FAILED);
		live_fill(made[seed], len, seed);
		CHECK_EQ(mprotect(made[seed], len, PROT_READ), 0);
	}
	return made[seed];
}

int kinds_wrong(const struct kinds_memory *m, size_t from, size_t to)
{
	return memcmp(m->at + from, kinds_bytes(0) + from, to - from) != 0;
}

static void *map(void *at, const struct kinds_memory *m, size_t len, int flags,
		 size_t offset)
{
	void *got = mmap(at, len, PROT_READ | PROT_WRITE, m->flags | flags,
			 m->fd, (off_t)offset);

	if (got == MAP_FAILED && m->width == KINDS_HUGE)
		tap_skip("no huge pages: %s", strerror(errno));
	CHECKF(got != MAP_FAILED, "mmap: %s", strerror(errno));
	return got;
}

static void fill_file(const struct kinds_memory *m, unsigned int seed)
{
	struct kinds_memory all = *m;
	void *at;

	CHECK_EQ(ftruncate(m->fd, (off_t)m->len), 0);
	all.flags = MAP_SHARED;
	at = map(NULL, &all, m->len, 0, 0);
	memcpy(at, kinds_bytes(seed), m->len);
	CHECK_EQ(munmap(at, m->len), 0);
}

void kinds_make(const struct kinds_kind *kind, struct kinds_memory *ret_memory)
{
	struct kinds_memory *m = ret_memory;
	size_t room;
	char *at;

	*m = (struct kinds_memory){ .fd = -1, .flags = MAP_PRIVATE | kind->flags };
	m->width = kind->huge ? KINDS_HUGE : live_page();
	m->len = (kind->huge ? 3 : KINDS_PAGES) * m->width;
	if (kind->make) {
		kind->make(m);
		fill_file(m, kind->cow ? KINDS_FILE : 0);
	} else {
		m->flags |= MAP_ANONYMOUS | (kind->huge ? MAP_HUGETLB : 0);
	}
	/* no access around it: nothing merges with it */
	room = m->len + 2 * KINDS_HUGE;
	at = mmap(NULL, room, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(at != MAP_FAILED);
	at += KINDS_HUGE - (uintptr_t)at % KINDS_HUGE;
	m->at = map(at, m, m->len, MAP_FIXED, 0);
	if (!kind->huge)
		madvise(m->at, m->len, MADV_NOHUGEPAGE);
	if (!kind->make || kind->cow)
		memcpy(m->at, kinds_bytes(0), m->len);
	CHECK(!kinds_wrong(m, 0, m->len));
}

void kinds_unlink(struct kinds_memory *m)
{
	if (m->path[0])
		CHECK_EQ(unlink(m->path), 0);
	m->path[0] = '\0';
}

/* ------------------------------------------------------------------- losing */

size_t kinds_extent(const struct kinds_memory *m, size_t offset)
{
	return offset & -m->width;
}

void kinds_can_be_lost(const struct kinds_kind *kind)
{
	if (kind->disk && !live_is_real())
		tap_skip("no poison marker for a file on a disk: this kernel "
			 "has no memory failure");
	if (kind->huge)
		live_need_linux(5, 18, "discarding of huge pages");
}

/* As live_poison() does, and writes nothing first: a child has the same page.
 * Where it has not (DONTFORK), the signal comes here, and is not ours to see. */
static void corrupt(void *at)
{
	int status, tries;

	live_read(at);
	for (tries = 0; tries < 100; tries++) {
		pid_t pid = _Fork();

		CHECK(pid >= 0);
		if (!pid) {
			signal(SIGBUS, SIG_DFL);
			live_read(at);
			madvise(at, live_page(), MADV_HWPOISON);
			_exit(0);
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			continue;
		if (live_lost(at))
			return;
	}
	CHECKF(0, "MADV_HWPOISON did not take the page at %p", at);
}

void kinds_lose(const struct kinds_memory *m, size_t offset)
{
	size_t start = kinds_extent(m, offset);

	if (live_is_real())
		corrupt(m->at + (offset & -live_page()));
	else
		live_mark(m->at + start, m->width);
	CHECKF(live_lost(m->at + start), "it is not lost");
}

void kinds_lose_at_once(const struct kinds_memory *m, size_t offset,
			int (*give)(void *at, size_t len))
{
	size_t start = kinds_extent(m, offset);
	void *aside;

	if (live_is_real())
		tap_skip("real poison takes its time");
	aside = map(NULL, m, m->width, 0, m->fd < 0 ? 0 : start);
	if (give)
		CHECK_EQ(give(aside, m->width), 0);
	live_mark(aside, m->width);
	CHECKF(mremap(aside, m->width, m->width, MREMAP_MAYMOVE | MREMAP_FIXED,
		      m->at + start) == m->at + start, "%s", strerror(errno));
}

/* ------------------------------------------------------------------- seeing */

static void see_policy(unsigned long start, struct kinds_seen *s)
{
	FILE *f = fopen("/proc/self/numa_maps", "re");
	char line[512];
	unsigned long at;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx %63s", &at, s->policy) == 2 &&
		    at == start)
			break;
	if (f)
		fclose(f);
}

static void see_flags(const char *line, struct kinds_seen *s)
{
	char flag[8];
	int n;

	for (line += 8; sscanf(line, "%7s%n", flag, &n) == 1; line += n)
		if (strcmp(flag, "sd")) {
			strcat(s->flags, flag);
			strcat(s->flags, " ");
		}
}

void kinds_see(const void *addr, struct kinds_seen *ret_seen)
{
	unsigned long want = (unsigned long)addr, start, end;
	FILE *f = fopen("/proc/self/smaps", "re");
	struct kinds_seen *s = ret_seen;
	char line[512], perms[5];
	int inside = 0, done = 0;

	*s = (struct kinds_seen){ .pkey = -1 };
	CHECK(f);
	while (!done && fgets(line, sizeof(line), f)) {
		unsigned long long offset;
		unsigned int dev[2];
		unsigned long ino;
		int at = 0;

		if (sscanf(line, "%lx-%lx %4s %llx %x:%x %lu %n", &start, &end,
			   perms, &offset, &dev[0], &dev[1], &ino, &at) == 7) {
			inside = want >= start && want < end;
			if (!inside)
				continue;
			memcpy(s->perms, perms, sizeof(perms));
			s->offset = ino ? offset + (want - start) : 0;
			s->dev[0] = dev[0];
			s->dev[1] = dev[1];
			s->ino = ino;
			sscanf(line + at, "%127[^\n]", s->name);
		} else if (inside && !strncmp(line, "VmFlags:", 8)) {
			see_flags(line, s);
			done = 1;
		} else if (inside) {
			sscanf(line, "KernelPageSize: %lu", &s->page_kb);
			sscanf(line, "ProtectionKey: %d", &s->pkey);
		}
	}
	fclose(f);
	CHECKF(done, "no mapping at %p", addr);
	see_policy(start, s);
}

void kinds_alike(const struct kinds_seen *was, const struct kinds_seen *is,
		 int detached, const char *what)
{
	CHECKF(!strcmp(was->perms, is->perms), "%s: %s, was %s", what,
	       is->perms, was->perms);
	CHECKF(!strcmp(was->flags, is->flags), "%s: %s, was %s", what,
	       is->flags, was->flags);
	CHECKF(!strcmp(was->policy, is->policy), "%s: %s, was %s", what,
	       is->policy, was->policy);
	CHECKF(was->pkey == is->pkey, "%s: key %d, was %d", what, is->pkey,
	       was->pkey);
	CHECKF(was->page_kb == is->page_kb, "%s: pages of %lu kB, were %lu",
	       what, is->page_kb, was->page_kb);
	if (detached)
		return;
	CHECKF(!strcmp(was->name, is->name), "%s: '%s', was '%s'", what,
	       is->name, was->name);
	/* MAP_ANONYMOUS | MAP_HUGETLB: a file of the kernel's own */
	if (!strncmp(was->name, "/anon_hugepage", 14))
		return;
	CHECKF(was->offset == is->offset, "%s: at %llx, was %llx", what,
	       is->offset, was->offset);
	CHECKF(was->ino == is->ino, "%s: file %lu, was %lu", what, is->ino,
	       was->ino);
	CHECKF(was->dev[0] == is->dev[0] && was->dev[1] == is->dev[1],
	       "%s: on another device", what);
}

unsigned long kinds_locked_kb(const void *at, size_t len)
{
	unsigned long from = (unsigned long)at, start, end, kb, sum = 0;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512], perms[5];
	int inside = 0;

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %4s", &start, &end, perms) == 3)
			inside = start >= from && end <= from + len;
		else if (inside && sscanf(line, "Locked: %lu", &kb) == 1)
			sum += kb;
	}
	fclose(f);
	return sum;
}
