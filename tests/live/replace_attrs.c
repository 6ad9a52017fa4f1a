/* SPDX-License-Identifier: MIT */
/*
 * A page that was replaced is like the one that was lost in every attribute,
 * read back from the kernel; or it is refused, and the outcome says why.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41		/* Linux 5.17 */
#define PR_SET_VMA_ANON_NAME 0
#endif

#define PAGES 9

struct variant {
	int (*give)(unsigned char *at, size_t len);	/* 0, or errno */
	int arg;			/* of give */
	const char *flag;		/* then in VmFlags, or NULL */
	int mmap_flags;
	int only_uffd;			/* the other placement must refuse */
	uint32_t start;			/* BEZ_START_* */
};

static const struct variant *variant(void)
{
	return tap_data();
}

static int protect(unsigned char *at, size_t len)
{
	return mprotect(at, len, variant()->arg) ? errno : 0;
}

static int advise(unsigned char *at, size_t len)
{
	return madvise(at, len, variant()->arg) ? errno : 0;
}

static int lock_it(unsigned char *at, size_t len)
{
	return mlock(at, len) ? errno : 0;
}

static int name_it(unsigned char *at, size_t len)
{
	return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, len,
		     "a name (with 100%)") ? errno : 0;
}

static int key_it(unsigned char *at, size_t len)
{
	int key = pkey_alloc(0, 0);

	if (key < 0)
		return errno;
	return pkey_mprotect(at, len, PROT_READ | PROT_WRITE, key) ? errno : 0;
}

static int bind_it(unsigned char *at, size_t len)
{
	unsigned long nodes = 1;

	return syscall(SYS_mbind, at, len, MPOL_BIND, &nodes, 8, 0) ? errno : 0;
}

static int several(unsigned char *at, size_t len)
{
	if (madvise(at, len, MADV_DONTDUMP) ||
	    madvise(at, len, MADV_WIPEONFORK) ||
	    madvise(at, len, MADV_HUGEPAGE) || mlock(at, len) ||
	    mprotect(at, len, PROT_READ))
		return errno;
	return 0;
}

static int nothing(unsigned char *at, size_t len)
{
	(void)at;
	(void)len;
	return 0;
}

/* The attributes themselves are the subject: pages without any. */
static unsigned char *plain_pages(int flags)
{
	size_t len = PAGES * live_page();
	unsigned char *at = mmap(NULL, len + 2 * live_page(), PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* neighbours without access: nothing merges with the region */
	CHECK(at != MAP_FAILED);
	at += live_page();
	CHECK(mmap(at, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0) ==
	      at);
	live_fill(at, len, 0);
	return at;
}

static int numa_mode(const void *at)
{
	int mode = -1;

	if (syscall(SYS_get_mempolicy, &mode, NULL, 0, at, MPOL_F_ADDR))
		return -1;
	return mode;
}

static void same(const struct see_map *a, const struct see_map *b)
{
	CHECKF(!strcmp(a->perms, b->perms), "%s, was %s", b->perms, a->perms);
	CHECKF(!strcmp(a->flags, b->flags), "%s, was %s", b->flags, a->flags);
	CHECKF(!strcmp(a->name, b->name), "'%s', was '%s'", b->name, a->name);
	CHECK_EQ(b->pkey, a->pkey);
}

static void kept(void)
{
	const struct variant *v = variant();
	unsigned char *at = plain_pages(v->mmap_flags), *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);
	static const size_t lose[] = { 4, 0, 8, 5 };
	struct see_map before, after;
	size_t maps, i, page = live_page();
	int err, mode;

	see_install();
	see_start(v->start);
	err = v->give(at, PAGES * page);
	if (err)
		tap_skip("the kernel refuses it: %s", strerror(err));
	live_region(at, PAGES * page, &from, "attributes");
	before = see_map(at);
	mode = numa_mode(at);
	CHECKF(!v->flag || strstr(before.flags, v->flag), "%s", before.flags);
	if (v->only_uffd && (v->start & BEZ_START_NO_UFFD)) {
		live_poison(at + 4 * page);
		see_refused(at + 4 * page, BEZ_OUTCOME_REFUSED_ATTRS);
		CHECK_EQ(live_wrong(at, 4 * page, 0), 0);
		return;
	}
	live_poison(live_pages(1));	/* what that needs is mapped then */
	maps = see_maps();
	for (i = 0; i < sizeof(lose) / sizeof(lose[0]); i++)
		see_poison(at + lose[i] * page);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 4);
	for (i = 0; i < PAGES; i++) {
		after = see_map(at + i * page);
		same(&before, &after);
		CHECK_EQ(numa_mode(at + i * page), mode);
		CHECK(!before.locked_kb || after.locked_kb);
	}
	/* userfaultfd leaves the mappings as they were; of locked memory it
	 * cannot take the poison away, so that goes the other way */
	if (!(v->start & BEZ_START_NO_UFFD) && !before.locked_kb)
		CHECK_EQ(see_maps(), maps);
}

/* A write to memory without write access is SIGSEGV before and after. */
static void still_read_only(void)
{
	unsigned char *at = plain_pages(0), *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);

	see_start(*(const uint32_t *)tap_data());
	live_region(at, PAGES * live_page(), &from, "read-only");
	CHECK_EQ(mprotect(at, PAGES * live_page(), PROT_READ), 0);
	see_poison(at);
	CHECK_EQ(live_read(at), live_byte(0, 0));
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
	*(volatile unsigned char *)at = 1;
	CHECKF(0, "it could be written");
}

/* The program watches that memory by a userfaultfd of its own. */
static void own_uffd(void)
{
	unsigned char *at = plain_pages(0), *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)at, PAGES * live_page() },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct see_map before, after;

	see_install();
	see_start(*(const uint32_t *)tap_data());
	live_region(at, PAGES * live_page(), &from, "watched");
	live_poison(at + 4 * live_page());
	/* watched after it was lost: nobody else may watch it then */
	CHECK(fd >= 0);
	api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		tap_skip("no userfaultfd for writes: %s", strerror(errno));
	before = see_map(at + 4 * live_page());
	CHECK(strstr(before.flags, "uw"));
	see_refused(at + 4 * live_page(), BEZ_OUTCOME_REFUSED_ATTRS);
	after = see_map(at + 4 * live_page());
	same(&before, &after);
	CHECK_EQ(live_wrong(at, 4 * live_page(), 0), 0);
	CHECK_EQ(ioctl(fd, UFFDIO_UNREGISTER, &reg.range), 0);
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
}

#define R	PROT_READ
#define RX	(PROT_READ | PROT_EXEC)
#define RWX	(PROT_READ | PROT_WRITE | PROT_EXEC)

#define BOTH(what, ...)							\
	{ .name = what ", userfaultfd", .run = kept,			\
	  .data = &(const struct variant){ __VA_ARGS__ } },		\
	{ .name = what ", mremap", .run = kept,				\
	  .data = &(const struct variant){ __VA_ARGS__,			\
					   .start = BEZ_START_NO_UFFD } }

static const uint32_t by_uffd = 0, by_mremap = BEZ_START_NO_UFFD;

static const struct tap_case cases[] = {
	BOTH("plain", .give = nothing),
	BOTH("read only", .give = protect, .arg = R),
	BOTH("read and execute", .give = protect, .arg = RX),
	BOTH("read, write and execute", .give = protect, .arg = RWX),
	BOTH("no reserve", .give = nothing, .mmap_flags = MAP_NORESERVE),
	BOTH("DONTDUMP", .give = advise, .arg = MADV_DONTDUMP, .flag = " dd"),
	BOTH("DONTFORK", .give = advise, .arg = MADV_DONTFORK, .flag = " dc"),
	BOTH("WIPEONFORK", .give = advise, .arg = MADV_WIPEONFORK, .flag = " wf"),
	BOTH("HUGEPAGE", .give = advise, .arg = MADV_HUGEPAGE, .flag = " hg"),
	BOTH("NOHUGEPAGE", .give = advise, .arg = MADV_NOHUGEPAGE, .flag = " nh"),
	BOTH("MERGEABLE", .give = advise, .arg = MADV_MERGEABLE, .flag = " mg"),
	BOTH("SEQUENTIAL", .give = advise, .arg = MADV_SEQUENTIAL, .flag = " sr"),
	BOTH("RANDOM", .give = advise, .arg = MADV_RANDOM, .flag = " rr"),
	BOTH("mlock", .give = lock_it, .flag = " lo"),
	BOTH("name", .give = name_it),
	BOTH("protection key", .give = key_it),
	BOTH("several", .give = several, .flag = " lo"),
	BOTH("NUMA policy", .give = bind_it, .only_uffd = 1),
	BOTH("grows down", .give = nothing, .flag = " gd",
	     .mmap_flags = MAP_GROWSDOWN, .only_uffd = 1),
	{ .name = "still read-only, userfaultfd", .run = still_read_only,
	  .want_signal = SIGSEGV, .data = &by_uffd },
	{ .name = "still read-only, mremap", .run = still_read_only,
	  .want_signal = SIGSEGV, .data = &by_mremap },
	{ .name = "own userfaultfd, userfaultfd", .run = own_uffd,
	  .data = &by_uffd },
	{ .name = "own userfaultfd, mremap", .run = own_uffd,
	  .data = &by_mremap },
};
TAP_MAIN(cases)
