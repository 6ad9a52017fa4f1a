/* SPDX-License-Identifier: MIT */
/*
 * Fourth room: what others do between two of its system calls. Who touches the
 * place while it is empty waits, whatever memory it is, and what the program puts
 * there at the last moment stays.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../live/kinds_help.h"
#include "../live/live.h"
#include "../live/replace_see.h"
#include "huge.h"
#include "ladder.h"
#include "unit.h"

#define NEWER 5				/* seed of live_fill() */

static const struct variant {
	const struct kinds_kind *kind;
	uint32_t start;			/* BEZ_START_* */
	int locked;
} *variant(void)
{
	return tap_data();
}

static struct kinds_memory m;
static size_t lost;			/* about where */
static int looked;

static void begin_with(uint32_t flags)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	static struct bez_source from;
	bez_region_t region;

	if (variant()->kind->huge)
		huge_need(8);
	unit_need_poison();
	kinds_can_be_lost(variant()->kind);
	kinds_make(variant()->kind, &m);
	if (variant()->locked)
		/* a sanitizer does nothing in mlock(3) */
		CHECK_EQ(syscall(SYS_mlock, m.at, m.len), 0);
	from = bez_source_mirror(kinds_bytes(0));
	kinds_bytes(NEWER);
	policy.source = &from;
	policy.flags = flags;
	see_install();			/* says what it dies of */
	live_start(variant()->start | BEZ_START_NO_WORKER |
		   BEZ_START_NO_EARLY_KILL);
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), 0);
	kinds_lose(&m, m.width);
	lost = m.width;
	unit_patience(60);
}

static void begin(void)
{
	begin_with(0);
}

static uint16_t climb(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	struct bz_walk *w = unit_enter(mm);
	struct bz_fault fault = {
		.taken_ns = bz_now_ns(),
		.addr = (uint64_t)m.at + lost + 9,
		.cause = BEZ_CAUSE_ADRERR,
	};
	struct bz_result result;

	double_watch();
	bz_ladder(mm, w, &fault, &result);
	double_rest();
	bz_walk_leave(mm, w, NULL);
	return result.outcome;
}

/* --------------------------------------------------------------- who touches */

static _Atomic int tid, byte;

static void *touch(void *arg)
{
	CHECK_EQ(bez_thread_attach(), 0);
	tid = bz_gettid();
	byte = live_read(arg);
	return NULL;
}

/* The kernel's word for what that thread does; 0: it is gone. */
static int state(int of)
{
	char path[64], line[256], *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", of);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	line[n] = '\0';
	at = strrchr(line, ')');
	return at ? at[2] : 0;
}

static pthread_t toucher;

/* The page is made and about to be put in: somebody touches the place. */
static void somebody(long nr, const long arg[6])
{
	int now;

	if (looked || !((nr == SYS_ioctl && arg[1] == (long)UFFDIO_COPY) ||
			nr == SYS_mremap))
		return;
	looked = 1;
	byte = -1;
	CHECK_EQ(pthread_create(&toucher, NULL, touch, m.at + m.width + 9), 0);
	while (!tid)
		bz_yield();
	/* it has its byte, or sleeps; that it slept for another reason just
	 * then only makes this see nothing */
	do {
		now = state(tid);
	} while (byte < 0 && now && now != 'S' && now != 'D');
}

static void waits(void)
{
	begin();
	double_before(somebody);
	CHECK_EQ(climb(), BEZ_OUTCOME_REPLACED);
	CHECK(looked);
	pthread_join(toucher, NULL);
	CHECK_EQ(byte, kinds_bytes(0)[m.width + 9]);
	CHECK(!kinds_wrong(&m, 0, m.len));
	kinds_unlink(&m);
}

/* ---------------------------------------------------------------- who writes */

/* It was found to be lost, and is not any more. */
static void writer(long nr, const long arg[6])
{
	int staged = variant()->start != 0;
	static int known;

	/* all but plain memory is tried as that first, and then asked about */
	known |= nr == SYS_get_mempolicy ||
		 (variant()->kind == &kinds_anon && !variant()->locked);
	if (looked || !known || !(staged ? nr == SYS_mmap && (!variant()->kind->huge ||
						    arg[3] & MAP_HUGETLB) :
			nr == SYS_ioctl && arg[1] == (long)UFFDIO_REGISTER &&
			((struct uffdio_register *)arg[2])->range.len ==
			m.width))
		return;
	looked = 1;
	CHECK_EQ(madvise(m.at + m.width, m.width, MADV_DONTNEED_LOCKED), 0);
	memcpy(m.at + m.width, kinds_bytes(NEWER) + m.width, m.width);
}

static void stays(void)
{
	if (live_is_real() && variant()->kind->make && !variant()->kind->cow)
		tap_skip("the file's own page is bad, and discarding the "
			 "mapping's does not help");
	begin();
	double_before(writer);
	CHECK_EQ(climb(), BEZ_OUTCOME_ALREADY_GOOD);
	CHECK(looked);
	CHECK(!memcmp(m.at + m.width, kinds_bytes(NEWER) + m.width, m.width));
	CHECK(!kinds_wrong(&m, 0, m.width));
	CHECK(!kinds_wrong(&m, 2 * m.width, m.len));
	kinds_unlink(&m);
}

/* ---------------------------------------------------- who comes before us */

/* What is lost was found to be a huge page; then another replaces it, by base
 * pages, and the first of those is lost, and all of them are written. */
static void overtakes(long nr, const long arg[6])
{
	size_t start = m.width, at;

	(void)arg;
	if (looked || nr != SYS_get_mempolicy)
		return;
	looked = 1;
	CHECK_EQ(climb(), BEZ_OUTCOME_REPLACED);
	for (at = start; at < 2 * m.width; at += unit_page())
		m.at[at]++;
	live_poison(m.at + start);
}

static void overtaken(void)
{
	size_t at;

	begin_with(BEZ_POLICY_BASE_PAGES);
	/* so that each fault asks what is there. It is written before it is lost: while
	 * the kernel still has the child of the first loss that takes a page */
	kinds_lose(&m, 0);
	huge_drain();
	lost = 0;
	CHECK_EQ(climb(), BEZ_OUTCOME_REPLACED);
	lost = m.width;
	double_before(overtakes);
	climb();
	CHECK(looked);
	CHECK_EQ(climb(), BEZ_OUTCOME_REPLACED);
	for (at = m.width + unit_page(); at < 2 * m.width; at += unit_page()) {
		unsigned char want = kinds_bytes(0)[at];

		CHECK_EQ(m.at[at], (unsigned char)(want + 1));
	}
	CHECK_EQ(m.at[m.width], kinds_bytes(0)[m.width]);
	CHECK(!kinds_wrong(&m, 2 * m.width, m.len));
}

#define V(kind, start, locked) \
	(&(const struct variant){ &kinds_##kind, start, locked })
#define BOTH(what, kind, start, locked)					\
	{ .name = "who touches waits: " what, .run = waits,		\
	  .data = V(kind, start, locked) },				\
	{ .name = "what is written stays: " what, .run = stays,		\
	  .data = V(kind, start, locked) }

static const struct tap_case cases[] = {
	BOTH("anonymous", anon, 0, 0),
	BOTH("anonymous, mremap", anon, BEZ_START_NO_UFFD, 0),
	BOTH("locked", anon, 0, 1),
	BOTH("memfd", memfd, 0, 0),
	BOTH("memfd, copied", memfd_cow, 0, 0),
	BOTH("memfd, copied and locked", memfd_cow, 0, 1),
	BOTH("tmpfs, copied, mremap", tmpfs_cow, BEZ_START_NO_UFFD, 0),
	BOTH("hugetlb", huge, 0, 0),
	BOTH("hugetlb, mremap", huge, BEZ_START_NO_UFFD, 0),
	BOTH("hugetlb memfd", huge_memfd, 0, 0),
	BOTH("hugetlb memfd, copied", huge_memfd_cow, 0, 0),
	{ .name = "base pages came first", .run = overtaken,
	  .data = V(huge_unreserved, 0, 0) },
};
TAP_MAIN(cases)
