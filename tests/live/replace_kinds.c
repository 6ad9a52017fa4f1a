/* SPDX-License-Identifier: MIT */
/*
 * Each kind of memory: replaced, or refused by name with nothing changed; and
 * then the process dies of it, as without us. And a process that has
 * no mapping to spare is told so, and never reads zeros.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "huge.h"
#include "live.h"
#include "replace_see.h"
#include "uapi.h"

#define PAGES 8
#define HUGE ((size_t)2 << 20)

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

struct kind {
	unsigned char *(*make)(size_t *ret_len);
	void (*lose)(unsigned char *page);
	uint16_t why[2];		/* outcomes: userfaultfd, mremap; NONE:
					 * it is replaced */
	uint32_t start;			/* BEZ_START_* */
};

static const struct kind *kind(void)
{
	return tap_data();
}

static unsigned char *map(size_t len, int flags, int fd)
{
	unsigned char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd,
				 0);

	CHECKF(at != MAP_FAILED, "mmap: %s", strerror(errno));
	live_fill(at, len, 0);
	return at;
}

static int memory_file(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)(PAGES * live_page())), 0);
	return fd;
}

static unsigned char *shared_anonymous(size_t *ret_len)
{
	*ret_len = PAGES * live_page();
	return map(*ret_len, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static unsigned char *shared_memfd(size_t *ret_len)
{
	*ret_len = PAGES * live_page();
	return map(*ret_len, MAP_SHARED, memory_file());
}

static unsigned char *private_memfd(size_t *ret_len)
{
	if (!kind()->start)
		live_need_linux(5, 14, "minor faults by userfaultfd");
	*ret_len = PAGES * live_page();
	return map(*ret_len, MAP_PRIVATE, memory_file());
}

static int disk_file = -1;

static unsigned char *disk(int flags, size_t *ret_len)
{
	char name[] = "/tmp/bezoar-kinds-XXXXXX";
	unsigned char *at;

	*ret_len = PAGES * live_page();
	disk_file = mkstemp(name);
	CHECK(disk_file >= 0);
	unlink(name);
	CHECK_EQ(ftruncate(disk_file, (off_t)*ret_len), 0);
	at = map(*ret_len, MAP_SHARED, disk_file);
	if (flags == MAP_SHARED)
		return at;
	munmap(at, *ret_len);
	at = mmap(NULL, *ret_len, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		  disk_file, 0);
	CHECK(at != MAP_FAILED);
	return at;
}

static unsigned char *private_file(size_t *ret_len)
{
	return disk(MAP_PRIVATE, ret_len);
}

static unsigned char *shared_file(size_t *ret_len)
{
	return disk(MAP_SHARED, ret_len);
}

static unsigned char *huge(size_t *ret_len)
{
	live_need_linux(5, 18, "discarding of huge pages");
	*ret_len = 2 * HUGE;
	huge_need(3);		/* and one to put in its place */
	return map(*ret_len, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

/* The file lost the page: the mapping of it has nothing behind it. */
static void truncate_at(unsigned char *page)
{
	(void)page;
	CHECK_EQ(ftruncate(disk_file, (off_t)(4 * live_page())), 0);
}

static void lose(unsigned char *page)
{
	live_poison(page);
}

/* All of it: less cannot be lost, nor marked. */
static void lose_huge(unsigned char *page)
{
	if (live_is_real())
		live_poison(page);
	else
		live_mark((void *)((uintptr_t)page & -HUGE), HUGE);
}

static unsigned char *prepare(size_t *ret_len)
{
	unsigned char *at = kind()->make(ret_len), *copy;
	struct bez_source from;

	copy = map(*ret_len, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	from = bez_source_mirror(copy);
	see_start(kind()->start);
	live_region(at, *ret_len, &from, "of another kind");
	return at;
}

static void refused(void)
{
	enum bez_outcome why = kind()->why[kind()->start != 0];
	unsigned char *at, *page;
	struct see_map before, after;
	size_t len, good;

	see_install();
	at = prepare(&len);
	/* the second half, and of that the first page */
	page = at + len / 2;
	good = len == PAGES * live_page() ? live_page() : HUGE;
	kind()->lose(page);
	before = see_map(page);
	if (why == BEZ_OUTCOME_NONE) {
		CHECK_EQ(page[7], live_byte(len / 2 + 7, 0));
		CHECK_EQ(live_wrong(at, kind()->lose == truncate_at ?
				    len / 2 + live_page() : len, 0), 0);
		CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
		return;
	}
	see_refused(page + 7, why);
	after = see_map(page);
	CHECK(!strcmp(before.perms, after.perms));
	CHECK(!strcmp(before.flags, after.flags));
	CHECK_EQ(live_wrong(at, len / 2, 0), 0);
	if (kind()->lose != truncate_at) {
		size_t i, wrong = 0;

		for (i = len / 2 + good; i < len; i++)
			wrong += at[i] != live_byte(i, 0);
		CHECK_EQ(wrong, 0);
	}
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
}

static void dies(void)
{
	size_t len;
	unsigned char *at = prepare(&len);

	kind()->lose(at + len / 2);
	live_read(at + len / 2);
}

/* ------------------------------------------------------- no mapping to spare */

#define SPREAD 200000u			/* pages: more than vm.max_map_count */

/* Every other page of @at gets another protection until there is no room. */
static size_t exhaust(unsigned char *at)
{
	size_t i;

	for (i = 1; i < SPREAD; i += 2)
		if (mprotect(at + i * live_page(), live_page(), PROT_READ))
			return i;
	tap_skip("vm.max_map_count is too high to be reached");
}

static void no_mapping_left(void)
{
	unsigned char *at = live_pages(PAGES), *copy = live_pages(PAGES), byte;
	unsigned char *many = mmap(NULL, SPREAD * live_page(), PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				   -1, 0);
	struct bez_source from = bez_source_mirror(copy);
	size_t end, page = live_page(), freed, refusals = 0;

	CHECK(many != MAP_FAILED);
	see_install();
	see_start(*(const uint32_t *)tap_data());
	live_region(at, PAGES * page, &from, "crowded");
	live_poison(at + 3 * page);
	end = exhaust(many);
	for (freed = 0; see_lost(at + 3 * page, &byte); freed++) {
		struct bez_event e = see_event(at + 3 * page);

		CHECKF(e.why == BEZ_OUTCOME_REFUSED_MAPS, "\"%s\"",
		       bez_outcome_name(e.why));
		refusals++;
		CHECKF(freed < 32, "refused though there is room");
		/* two mappings less */
		end -= 2;
		CHECK_EQ(mprotect(many + end * page, page, PROT_NONE), 0);
	}
	CHECK(refusals);
	munmap(many, SPREAD * page);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
}

#define KIND(what, by_uffd, by_mremap, ...)				\
	{ .name = what ", userfaultfd", .run = refused,			\
	  .data = &(const struct kind){ __VA_ARGS__,			\
		{ BEZ_OUTCOME_##by_uffd, BEZ_OUTCOME_##by_mremap }, 0 } }, \
	{ .name = what ", mremap", .run = refused,			\
	  .data = &(const struct kind){ __VA_ARGS__,			\
		{ BEZ_OUTCOME_##by_uffd, BEZ_OUTCOME_##by_mremap },	\
		BEZ_START_NO_UFFD } }

#define DIES(what, ...)							\
	{ .name = what ", dies", .run = dies, .want_signal = SIGBUS,	\
	  .data = &(const struct kind){ __VA_ARGS__, { 0, 0 }, 0 } }

static const uint32_t by_uffd = 0, by_mremap = BEZ_START_NO_UFFD;

static const struct tap_case cases[] = {
	KIND("shared anonymous", REFUSED_SHARED, REFUSED_SHARED,
	     shared_anonymous, lose),
	DIES("shared anonymous", shared_anonymous, lose),
	KIND("shared memfd", REFUSED_SHARED, REFUSED_SHARED, shared_memfd,
	     lose),
	DIES("shared memfd", shared_memfd, lose),
	KIND("private memfd", NONE, REFUSED_FILE, private_memfd, lose),
	KIND("truncated shared file", REFUSED_DETACH, REFUSED_DETACH,
	     shared_file, truncate_at),
	DIES("truncated shared file", shared_file, truncate_at),
	KIND("truncated private file", NONE, NONE, private_file, truncate_at),
	KIND("hugetlb", NONE, NONE, huge, lose_huge),
	{ .name = "no mapping left, userfaultfd", .run = no_mapping_left,
	  .data = &by_uffd },
	{ .name = "no mapping left, mremap", .run = no_mapping_left,
	  .data = &by_mremap },
};
TAP_MAIN(cases)
