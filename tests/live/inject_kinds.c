/* SPDX-License-Identifier: MIT */
/* Every back end over every kind of memory: in, state, SIGBUS, out. */
#define _GNU_SOURCE
#include "huge.h"
#include "inject_util.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PAGES	8
#define SEED	11
#define HUGE	(2u << 20)
#define NOBODY	65534

enum kind { ANON, NEVER_WRITTEN, LOCKED, SPLIT, READ_ONLY, NO_ACCESS, SHARED,
	    MEMFD, THP, HUGE_PRIVATE, HUGE_SHARED, FILE_SHARED };

struct variant {
	enum kind kind;
	uint32_t backend;
	uint32_t flags;
	int want;		/* what bez_inject() answers */
};

struct memory {
	unsigned char *p;
	size_t len, page;
};

static void *map(size_t len, int flags, int fd)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	CHECKF(p != MAP_FAILED, "%s", strerror(errno));
	return p;
}

static int file_of(enum kind kind, size_t len)
{
	char name[] = "inject-kinds-XXXXXX";
	struct statfs fs;
	int fd;

	if (kind == MEMFD) {
		fd = memfd_create("kinds", MFD_CLOEXEC);
	} else {
		fd = mkstemp(name);
		unlink(name);
	}
	CHECK(fd >= 0);
	CHECK(!ftruncate(fd, (off_t)len));
	CHECK(!fstatfs(fd, &fs));
	if (kind == FILE_SHARED && fs.f_type == TMPFS_MAGIC)
		tap_skip("the working folder is in memory, not on a disk");
	return fd;
}

static struct memory make(enum kind kind)
{
	size_t len = PAGES * iu_page();
	struct memory m = { .len = len, .page = iu_page() };
	bool huge = kind == HUGE_PRIVATE || kind == HUGE_SHARED;

	if (huge) {
		m.page = HUGE;
		m.len = 2 * HUGE;
		huge_need(4);	/* one more for each that is lost */
		m.p = map(m.len, MAP_ANONYMOUS | MAP_HUGETLB |
			  (kind == HUGE_SHARED ? MAP_SHARED : MAP_PRIVATE), -1);
	} else if (kind == SHARED) {
		m.p = map(len, MAP_SHARED | MAP_ANONYMOUS, -1);
	} else if (kind == MEMFD || kind == FILE_SHARED) {
		m.p = map(len, MAP_SHARED, file_of(kind, len));
	} else if (kind == THP) {
		m.len = HUGE;
		m.p = map(2 * HUGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		m.p += HUGE - (uintptr_t)m.p % HUGE;
		CHECK(!madvise(m.p, HUGE, MADV_HUGEPAGE));
	} else {
		m.p = map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	}
	if (kind != NEVER_WRITTEN)
		iu_fill(m.p, m.len, SEED);
	if (kind == LOCKED && mlock(m.p, m.len))
		tap_skip("mlock: %s", strerror(errno));
	if (kind == SPLIT) /* three mappings under the poison */
		CHECK(!mprotect(m.p + 3 * m.page, m.page, PROT_READ));
	if (kind == READ_ONLY)
		CHECK(!mprotect(m.p, m.len, PROT_READ));
	if (kind == NO_ACCESS)
		CHECK(!mprotect(m.p, m.len, PROT_NONE));
	return m;
}

static void check_bytes(const struct memory *m, enum kind kind)
{
	size_t i;

	if (kind == NO_ACCESS)
		CHECK(!mprotect(m->p, m->len, PROT_READ));
	for (i = 0; kind == NEVER_WRITTEN && i < m->len; i++)
		CHECK_EQ(m->p[i], 0);
	if (kind != NEVER_WRITTEN)
		CHECK_EQ(iu_differs(m->p, m->len, SEED), m->len);
	if (kind == NO_ACCESS)
		CHECK(!mprotect(m->p, m->len, PROT_NONE));
}

/* Which pages are gone, byte-exact address, right width; the rest is good. */
static void check_lost(const struct memory *m, size_t from, size_t len,
		       int si_code)
{
	size_t at;

	for (at = 0; at < m->len; at += m->page) {
		const unsigned char *p = m->p + at + 5;
		bool in = at >= from && at < from + len;
		struct hit hit = { 0 };

		CHECK_EQ(iu_touch(p, NULL, &hit), !in);
		if (!in)
			continue;
		CHECK_EQ(hit.code, si_code);
		CHECK_EQ((uintptr_t)hit.addr, (uintptr_t)p);
		if (si_code == BUS_MCEERR_AR)
			CHECK_EQ(hit.width, m->page);
	}
}

static void check_info(const struct bez_inject_info *info,
		       const struct variant *v, size_t pages)
{
	CHECK_EQ(info->size, sizeof(*info));
	CHECK_EQ(info->pages, pages);
	CHECK_EQ(info->poisoned, pages);
	CHECK_EQ(info->fidelity, bez_inject_fidelity(info->backend));
	CHECK(info->fidelity != BEZ_INJECT_FIDELITY_NONE);
	CHECK_EQ(info->reserved, 0);
	if (v->backend != BEZ_INJECT_AUTO)
		CHECK_EQ(info->backend, v->backend);
	if (v->flags & BEZ_INJECT_NO_UNDO)
		CHECK_EQ(info->undo, BEZ_INJECT_UNDO_NONE);
	else
		CHECK(info->undo != BEZ_INJECT_UNDO_NONE);
}

static void check_undo(const struct variant *v, bez_inject_t token,
		       const struct memory *m)
{
	struct bez_inject_info info = iu_state(token);

	if (v->flags & BEZ_INJECT_NO_UNDO) {
		CHECK_EQ(bez_inject_undo(token), -EOPNOTSUPP);
		CHECK_EQ(bez_inject_forget(token), 0);
		return;
	}
	CHECK_EQ(bez_inject_undo(token), 0);
	check_bytes(m, v->kind);
	if (info.undo == BEZ_INJECT_UNDO_FULL)
		CHECK_EQ(bez_inject_frames_kept(), 0);
	else
		CHECK_EQ(bez_inject_frames_kept(), info.pages);
	CHECK_EQ(bez_inject_undo(token), -ENOENT);
	CHECK_EQ(bez_inject_forget(token), -ENOENT);
	CHECK_EQ(bez_inject_state(token, &info), -ENOENT);
}

static bool loses_frames(uint32_t backend)
{
	return backend == BEZ_INJECT_MADV ||
	       backend == BEZ_INJECT_HWPOISON_INJECT;
}

static void in_and_out(void)
{
	const struct variant *v = tap_data();
	char before[4096], after[4096];
	struct bez_inject_info info;
	bez_inject_t token = 77;
	struct memory m;
	uint64_t frames[4];
	size_t from, len;
	int r;

	iu_need(v->backend);
	/* the others cannot take these */
	if (v->backend == BEZ_INJECT_AUTO && v->kind != ANON)
		iu_need(BEZ_INJECT_UFFD);
	m = make(v->kind);
	from = v->kind == THP ? 100 * m.page : m.page;
	len = m.page * (m.page == HUGE || v->kind == THP ? 1 : 4);
	iu_attributes(m.p, m.len, before, sizeof(before));
	iu_catch();
	iu_frames(m.p + from, len / m.page, m.page, frames);
	r = bez_inject(m.p + from, len, v->backend, v->flags, &token);
	CHECK_EQ(r, v->want);
	if (r) {
		CHECK_EQ(token, 77);
		check_bytes(&m, v->kind);
		return;
	}
	info = iu_state(token);
	tap_diag("%s, %s, undo %u", bez_inject_backend_name(info.backend),
		 bez_inject_fidelity_name(info.fidelity), info.undo);
	check_info(&info, v, len / m.page);
	if (v->kind != NO_ACCESS)
		check_lost(&m, from, len, info.si_code);
	CHECK_EQ(bez_inject(m.p + from, len, v->backend, v->flags, &token),
		 -EALREADY);
	check_undo(v, token, &m);
	/* mappings of hugetlb never merge again; all others have to */
	iu_attributes(m.p, m.page == HUGE ? m.page : m.len, after,
		      sizeof(after));
	CHECKF(!strcmp(before, after), "before %s after %s", before, after);
	CHECK(!munmap(m.p, m.len));
	if ((v->flags & BEZ_INJECT_NO_UNDO) && loses_frames(info.backend))
		iu_give_back(frames, len / m.page);
}

/* The first that this process may use, and the word of bez_inject_available()
 * is kept by bez_inject(). */
static void auto_is_the_truest(void)
{
	static const uint32_t truest_first[] = {
		BEZ_INJECT_MADV, BEZ_INJECT_HWPOISON_INJECT, BEZ_INJECT_UFFD,
	};
	struct memory m = make(ANON);
	struct bez_inject_info info;
	bez_inject_t token;
	size_t i = 0;

	if (tap_data()) {
		if (getuid())
			tap_skip("not root, so this is the other case");
		CHECK(!setresgid(NOBODY, NOBODY, NOBODY));
		CHECK(!setresuid(NOBODY, NOBODY, NOBODY));
	}
	iu_need(BEZ_INJECT_AUTO);
	while (bez_inject_available(truest_first[i]))
		i++;
	CHECK_EQ(bez_inject(m.p, m.page, BEZ_INJECT_AUTO, 0, &token), 0);
	info = iu_state(token);
	CHECK_EQ(info.backend, truest_first[i]);
	CHECK_EQ(info.fidelity, bez_inject_fidelity(truest_first[i]));
	if (tap_data())
		CHECK_EQ(info.backend, BEZ_INJECT_UFFD);
	/* none of those that may be used is truer */
	for (i = 0; i < 3; i++)
		CHECK(bez_inject_available(truest_first[i]) ||
		      bez_inject_fidelity(truest_first[i]) <= info.fidelity);
	tap_diag("%s", bez_inject_backend_name(info.backend));
	CHECK_EQ(bez_inject_undo(token), 0);
	check_bytes(&m, ANON);
}

#define CASE(name_, kind_, backend_, flags_, want_)			\
	{ .name = name_, .run = in_and_out, .data = &(struct variant){	\
		kind_, BEZ_INJECT_##backend_, flags_, want_ } }
#define BOTH(name_, kind_, backend_)					\
	CASE(name_ ", " #backend_, kind_, backend_, 0, 0),		\
	CASE(name_ ", " #backend_ ", no undo", kind_, backend_,		\
	     BEZ_INJECT_NO_UNDO, 0)
#define REFUSED(name_, kind_, backend_, flags_)				\
	CASE(name_ ", " #backend_ ", refused", kind_, backend_, flags_,	\
	     -EOPNOTSUPP)

static const struct tap_case cases[] = {
	BOTH("anonymous", ANON, AUTO),
	BOTH("anonymous", ANON, UFFD),
	BOTH("anonymous", ANON, MADV),
	BOTH("anonymous", ANON, HWPOISON_INJECT),
	BOTH("never written", NEVER_WRITTEN, UFFD),
	CASE("never written, MADV", NEVER_WRITTEN, MADV, 0, 0),
	BOTH("locked", LOCKED, UFFD),
	BOTH("locked", LOCKED, MADV),
	BOTH("locked", LOCKED, HWPOISON_INJECT),
	BOTH("three mappings", SPLIT, UFFD),
	BOTH("read only", READ_ONLY, UFFD),
	REFUSED("read only", READ_ONLY, MADV, 0),
	CASE("read only, AUTO", READ_ONLY, AUTO, 0, 0),
	BOTH("no access", NO_ACCESS, UFFD),
	BOTH("shared anonymous", SHARED, UFFD),
	CASE("shared anonymous, AUTO", SHARED, AUTO, 0, 0),
	REFUSED("shared anonymous", SHARED, MADV, 0),
	REFUSED("shared anonymous", SHARED, HWPOISON_INJECT, 0),
	BOTH("memfd", MEMFD, UFFD),
	REFUSED("memfd of several pages", MEMFD, MADV, BEZ_INJECT_NO_UNDO),
	BOTH("THP", THP, UFFD),
	BOTH("THP", THP, MADV),
	BOTH("THP", THP, HWPOISON_INJECT),
	BOTH("hugetlb", HUGE_PRIVATE, UFFD),
	BOTH("hugetlb", HUGE_PRIVATE, MADV),
	BOTH("hugetlb", HUGE_PRIVATE, HWPOISON_INJECT),
	BOTH("shared hugetlb", HUGE_SHARED, UFFD),
	REFUSED("file", FILE_SHARED, UFFD, 0),
	REFUSED("file", FILE_SHARED, MADV, 0),
	REFUSED("anonymous", ANON, TRUNCATE, 0),
	REFUSED("hugetlb", HUGE_PRIVATE, TRUNCATE, 0),
	{ .name = "AUTO is the truest", .run = auto_is_the_truest },
	{ .name = "AUTO is the truest, nobody", .run = auto_is_the_truest,
	  .data = "nobody" },
};

TAP_MAIN(cases)
