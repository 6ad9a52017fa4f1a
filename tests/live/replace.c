/* SPDX-License-Identifier: MIT */
/*
 * A lost page comes back: by each placement, with and without privilege, as a
 * page of its own and as one of a huge page. And only what was lost is
 * touched, whatever a report says.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES	16
#define HUGE	((size_t)2 << 20)

struct way {
	uint32_t flags;			/* BEZ_START_* */
	int nobody;			/* give privilege up first */
};

static struct bez_status status(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

/* What bezoar should find to place pages with; asked in the same order. */
static uint32_t possible(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 && !access("/dev/userfaultfd", R_OK | W_OK))
		return BEZ_PLACEMENT_UFFD;
	if (fd >= 0) {
		close(fd);
		return BEZ_PLACEMENT_UFFD;
	}
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		return BEZ_PLACEMENT_MREMAP;
	close(fd);
	return BEZ_PLACEMENT_UFFD_USER;
}

static void begin(void)
{
	const struct way *way = tap_data();

	if (way->nobody)
		CHECKF(!setresgid(65534, 65534, 65534) &&
		       !setresuid(65534, 65534, 65534), "setresuid: %s",
		       strerror(errno));
	see_start(way->flags);
	CHECK_EQ(status().placement, way->flags & BEZ_START_NO_UFFD ?
		 BEZ_PLACEMENT_MREMAP : possible());
}

/* Lose every page of @at, read it all back, and count. */
static void lose_and_check(unsigned char *at, unsigned int seed)
{
	size_t len = PAGES * live_page(), i;

	for (i = 0; i < PAGES; i++)
		live_poison(at + i * live_page());
	CHECK_EQ(live_wrong(at, len, seed), 0);
	CHECK(status().faults >= PAGES);
	CHECK_EQ(status().replaced, PAGES);
	CHECK_EQ(status().not_replaced, 0);
	/* and it is ordinary memory again */
	live_fill(at, len, seed + 1);
	CHECK_EQ(live_wrong(at, len, seed + 1), 0);
}

static void from_mirror(void)
{
	unsigned char *at = live_pages(PAGES), *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);
	size_t maps;

	begin();
	live_region(at, PAGES * live_page(), &from, "mirrored");
	live_poison(live_pages(1));	/* what that needs is mapped then */
	maps = see_maps();
	lose_and_check(at, 0);
	CHECK_EQ(live_wrong(copy, PAGES * live_page(), 0), 0);
	if (status().placement != BEZ_PLACEMENT_MREMAP)
		CHECK_EQ(see_maps(), maps);
}

/* By a write, and by an access that is not aligned and covers two. */
static void by_other_accesses(void)
{
	unsigned char *at = live_pages(4), *copy = live_pages(4), *edge;
	struct bez_source from = bez_source_mirror(copy);
	uint64_t word;

	begin();
	live_region(at, 4 * live_page(), &from, "accesses");
	live_poison(at);
	*(volatile unsigned char *)(at + 5) = live_byte(5, 0);
	live_poison(at + 2 * live_page());
	live_poison(at + 3 * live_page());
	edge = at + 3 * live_page() - 4;
	memcpy(&word, (unsigned char *volatile)edge, sizeof(word));
	CHECK(!memcmp(&word, copy + (edge - at), sizeof(word)));
	CHECK_EQ(live_wrong(at, 4 * live_page(), 0), 0);
	CHECK_EQ(status().replaced, 3);
}

/* Two huge pages in the middle of memory that is not theirs. */
static unsigned char *huge_pages(void)
{
	unsigned char *map = mmap(NULL, 4 * HUGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at;

	CHECK(map != MAP_FAILED);
	at = (unsigned char *)(((uintptr_t)map + HUGE - 1) & -HUGE);
	if (madvise(at, 2 * HUGE, MADV_HUGEPAGE))
		tap_skip("no transparent huge pages in this kernel");
	live_fill(at, 2 * HUGE, 3);
	if (see_map(at).huge_kb < 2 * HUGE / 1024)
		tap_skip("the kernel gave no huge page");
	return at;
}

static void in_a_huge_page(void)
{
	static const size_t lose[] = { 0, 77, 511 };
	unsigned char *at = huge_pages(), *copy;
	struct bez_source from;
	size_t i;

	copy = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(copy != MAP_FAILED);
	live_fill(copy, 2 * HUGE, 3);
	from = bez_source_mirror(copy);
	begin();
	live_region(at, 2 * HUGE, &from, "huge");
	/* what is not lost is not asked from the source */
	at[HUGE + 9 * live_page()]++;
	at[78 * live_page()]++;
	for (i = 0; i < sizeof(lose) / sizeof(lose[0]); i++)
		live_poison(at + lose[i] * live_page());
	CHECK_EQ(live_wrong(at, 2 * HUGE, 3), 2);
	CHECK_EQ(status().replaced, 3);
	/* the other huge page is one still */
	CHECK(see_map(at + HUGE).huge_kb >= HUGE / 1024);
}

/*
 * A handler that runs after another thread has replaced the page, and after
 * the program wrote to it: the report is old, the page is good.
 */
static void late_report(void)
{
	unsigned char *at = live_pages(2), *copy = live_pages(2);
	struct bez_source from = bez_source_mirror(copy);

	begin();
	live_region(at, 2 * live_page(), &from, "late");
	live_poison(at);
	CHECK_EQ(live_read(at), live_byte(0, 0));
	live_fill(at, 2 * live_page(), 5);
	see_report(at + 9, BUS_ADRERR, 0);
	see_report(at, BUS_MCEERR_AR, 12);
	CHECK_EQ(live_wrong(at, 2 * live_page(), 5), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_ALREADY_GOOD), 2);
	CHECK_EQ(status().replaced, 1);
}

/*
 * A report 2 MiB wide on ordinary memory is a huge page that could not be
 * split: the page at the address is bad though it can be read, the 511 others
 * are good. Later reports of the same page are one page wide.
 */
static void wide_report(void)
{
	unsigned char *at = live_pages(PAGES), *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);
	size_t page = live_page();

	begin();
	live_region(at, PAGES * page, &from, "wide");
	live_fill(at, PAGES * page, 8);
	see_report(at + 5 * page, BUS_MCEERR_AR, 21);
	CHECK_EQ(see_event(at + 5 * page).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(see_event(at + 5 * page).width, page);
	CHECK(!memcmp(at + 5 * page, copy + 5 * page, page));
	live_fill(copy, PAGES * page, 8);
	CHECK(!memcmp(at, copy, 5 * page));
	CHECK(!memcmp(at + 6 * page, copy + 6 * page, 10 * page));
	CHECK_EQ(status().replaced, 1);
}

/* Lost to the fetch of an instruction, which runs again. */
static void text(void)
{
#if defined(__x86_64__)
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
#elif defined(__aarch64__)
	static const uint32_t code[] = { 0x52800540, 0xd65f03c0 };
#else
#error "write down here how this machine returns 42"
#endif
	size_t page = live_page();
	unsigned char *at = live_pages(3), *copy = live_pages(3);
	struct bez_source from = bez_source_mirror(copy);
	int (*function)(void);

	begin();
	memcpy(at + 2 * page - 100, code, sizeof(code));
	memcpy(copy + 2 * page - 100, code, sizeof(code));
	__builtin___clear_cache((char *)at, (char *)at + 3 * page);
	live_region(at, 3 * page, &from, "text");
	live_poison(at + page);
	CHECK_EQ(mprotect(at, 3 * page, PROT_READ | PROT_EXEC), 0);
	/* ISO C has no other way from an object to a function */
	memcpy(&function, &(unsigned char *){ at + 2 * page - 100 },
	       sizeof(function));
	CHECK_EQ(function(), 42);
	CHECK_EQ(live_wrong(at, page, 0), 0);
	CHECK_EQ(see_event(at + 2 * page - 100).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(status().replaced, 1);
}

static const struct way by_uffd = { 0, 0 },
			by_mremap = { BEZ_START_NO_UFFD, 0 },
			as_nobody = { 0, 1 },
			as_nobody_mremap = { BEZ_START_NO_UFFD, 1 };

#define EACH_WAY(what, function)					\
	{ .name = what ", userfaultfd", .run = function, .data = &by_uffd }, \
	{ .name = what ", mremap", .run = function, .data = &by_mremap }, \
	{ .name = what ", as nobody", .run = function, .data = &as_nobody }, \
	{ .name = what ", as nobody, mremap", .run = function,		\
	  .data = &as_nobody_mremap }

static const struct tap_case cases[] = {
	EACH_WAY("mirror", from_mirror),
	EACH_WAY("write and straddle", by_other_accesses),
	EACH_WAY("huge page", in_a_huge_page),
	{ .name = "generated text, userfaultfd", .run = text,
	  .data = &by_uffd },
	{ .name = "generated text, mremap", .run = text, .data = &by_mremap },
	{ .name = "late report, userfaultfd", .run = late_report,
	  .data = &by_uffd },
	{ .name = "late report, mremap", .run = late_report,
	  .data = &by_mremap },
	{ .name = "wide report, userfaultfd", .run = wide_report,
	  .data = &by_uffd },
	{ .name = "wide report, mremap", .run = wide_report,
	  .data = &by_mremap },
};
TAP_MAIN(cases)
