/* SPDX-License-Identifier: MIT */
/*
 * What is lost stays lost: each kind of memory, each way to touch it, a hundred
 * times, here and in a child; whatever becomes of what was behind it. Until it is
 * cleared.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huge.h"
#include "kinds_help.h"
#include "live.h"
#include "replace_see.h"

#define TIMES	100

static struct kinds_memory m;
static size_t page, lost_at;
static uint32_t policy_flags;

static unsigned char *extent(void)
{
	return m.at + kinds_extent(&m, lost_at);
}

static bez_region_t add(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	policy.flags = policy_flags;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &r), 0);
	return r;
}

/* ------------------------------------------------- ways to touch a byte of it */

/* Each: 1 if the answer was the one, with the extent and address. */
static int right(const struct bez_lost *lost, const unsigned char *addr)
{
	return lost->addr == extent() && lost->width == m.width &&
	       lost->touched == addr;
}

static int load(unsigned char *addr)
{
	BEZ_TRY {
		live_read(addr);
	} BEZ_CATCH(lost) {
		return right(lost, addr);
	}
	return 0;
}

static int store(unsigned char *addr)
{
	BEZ_TRY {
		*(volatile unsigned char *)addr = 1;
	} BEZ_CATCH(lost) {
		return right(lost, addr);
	}
	return 0;
}

static int copy(unsigned char *addr)
{
	static unsigned char to[64];
	uint64_t word = 0;
	int order;

	return bez_copy(to, addr, 1) == 1 && bez_set(addr, 1, 1) == 1 &&
	       bez_compare(to, addr, 1, &order) == 1 &&
	       bez_load_u64((uint64_t *)((uintptr_t)addr & -8ul), &word) ==
		       -EFAULT;
}

static int call(unsigned char *addr)
{
	static int fd[2] = { -1, -1 };

	if (fd[0] < 0 && pipe(fd))
		return 0;
	if (write(fd[1], addr, 1) != -1 || errno != EFAULT)
		return 0;
	return write(fd[1], "x", 1) == 1 && read(fd[0], addr, 1) == -1 &&
	       errno == EFAULT && (close(fd[0]), close(fd[1]), fd[0] = -1);
}

static int recover(unsigned char *addr)
{
	return bez_recover(addr, 1) == -EFAULT;
}

static int known(unsigned char *addr)
{
	struct bez_lost lost;
	uint64_t i = 0;

	return bez_lost_in(addr, 1) == 1 && !bez_lost_next(&i, &lost) &&
	       lost.addr == extent() && lost.width == m.width &&
	       bez_lost_next(&i, &lost) == -ENOENT;
}

static void *in_thread(void *addr)
{
	bez_thread_attach();
	return (void *)(uintptr_t)(load(addr) && store(addr));
}

static int thread(unsigned char *addr)
{
	pthread_t t;
	void *r = NULL;

	return !pthread_create(&t, NULL, in_thread, addr) &&
	       !pthread_join(t, &r) && r;
}

static const struct way {
	const char *name;
	int (*touch)(unsigned char *addr);
} ways[] = {
	{ "load", load }, { "store", store }, { "copy", copy },
	{ "system call", call }, { "recover", recover }, { "list", known },
	{ "thread", thread },
};

static void all_ways(const char *where)
{
	size_t i, n;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		for (n = 0; n < TIMES; n++)
			CHECKF(ways[i].touch(extent() + n * 8191 % m.width),
			       "%s, %s: the %zuth was another", where,
			       ways[i].name, n + 1);
}

/* As in the child, whose checks count by its status. */
static void in_child(const char *where, int depth)
{
	pid_t pid = fork();
	int status = 0;

	CHECK(pid >= 0);
	if (!pid) {
		tap_apart();
		all_ways(where);
		if (depth)
			in_child("in a child's child", depth - 1);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	CHECKF(WIFEXITED(status) && !WEXITSTATUS(status),
	       "%s: it ended with %#x", where, status);
}

static void first_touch(void)
{
	BEZ_TRY {
		live_read(m.at + lost_at);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == extent());
		CHECK_EQ(lost->width, m.width);
	}
}

static size_t wrong_beside(void)
{
	size_t from = kinds_extent(&m, lost_at);

	return (size_t)kinds_wrong(&m, 0, from) +
	       (size_t)kinds_wrong(&m, from + m.width, m.len);
}

static void each_kind(void)
{
	const struct kinds_kind *kind = tap_data();
	struct kinds_seen was, is;
	bez_region_t r;
	int cleared;
	size_t i;

	kinds_can_be_lost(kind);
	if (kind == &kinds_memfd || kind == &kinds_memfd_cow)
		live_need_linux(5, 14, "minor faults by userfaultfd");
	if (kind->huge)
		huge_need(8);
	kinds_make(kind, &m);
	page = live_page();
	lost_at = m.len / 2 + 77;
	see_start(0);
	r = add();
	kinds_see(extent(), &was);
	kinds_lose(&m, lost_at);
	first_touch();
	all_ways("here");
	in_child("in a child", 1);
	CHECK_EQ(wrong_beside(), 0);

	/* the owner writes it anew */
	CHECK_EQ(bez_lost_clear(extent() + 1, m.width), -EINVAL);
	CHECK_EQ(bez_lost_clear(extent(), m.width - 1), -EINVAL);
	CHECK_EQ(bez_lost_in(m.at, m.len), 1);
	cleared = bez_lost_clear(m.at, m.len);
	CHECKF(!cleared, "%d: %s", cleared,
	       bez_outcome_name(see_event(extent()).why));
	CHECK_EQ(bez_lost_in(m.at, m.len), 0);
	for (i = 0; i < m.width; i += 997)
		CHECK_EQ(live_read(extent() + i), 0);
	memcpy(extent(), kinds_bytes(0) + (extent() - m.at), m.width);
	CHECK_EQ(kinds_wrong(&m, 0, m.len), 0);
	kinds_see(extent(), &is);
	/* where the file cannot be had again it does without */
	kinds_alike(&was, &is, kind->disk, "cleared");
	CHECK_EQ(bez_region_remove(r), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* --------------------------------------------- what the kernel would hand out */

/* A file that is cut, and grows again. */
static void cut_file(void)
{
	int flags = *(const int *)tap_data();

	page = live_page();
	live_need_linux(5, 14, "telling a cut file from poison");
	m.fd = memfd_create("cut", MFD_CLOEXEC);
	m.len = 4 * page;
	m.width = page;
	CHECK_EQ(ftruncate(m.fd, (off_t)m.len), 0);
	m.at = mmap(NULL, m.len, PROT_READ | PROT_WRITE, flags, m.fd, 0);
	CHECK(m.at != MAP_FAILED);
	live_fill(m.at, m.len, 0);
	lost_at = 3 * page + 5;
	policy_flags = flags == MAP_SHARED ? BEZ_POLICY_DETACH : 0;
	see_start(0);
	add();
	if (flags == MAP_PRIVATE)
		CHECK_EQ(madvise(m.at + 3 * page, page, MADV_DONTNEED), 0);
	CHECK_EQ(ftruncate(m.fd, (off_t)(3 * page)), 0);
	first_touch();
	CHECK_EQ(ftruncate(m.fd, (off_t)m.len), 0);
	all_ways("here");
	in_child("in a child", 1);
	CHECK_EQ(see_wrong(m.at, 0, 3 * page, 0), 0);
	CHECK_EQ(bez_lost_clear(m.at, m.len), 0);
	CHECK_EQ(live_read(m.at + lost_at), 0);
	m.at[lost_at] = 9;
	CHECK_EQ(live_read(m.at + lost_at), 9);
	CHECK_EQ(bez_lost_in(m.at, m.len), 0);
}

/* In a mapping that others share a child asks the file. */
static void others(void)
{
	page = live_page();
	m.fd = memfd_create("others", MFD_CLOEXEC);
	m.len = 4 * page;
	m.width = page;
	CHECK_EQ(ftruncate(m.fd, (off_t)m.len), 0);
	m.at = mmap(NULL, m.len, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	CHECK(m.at != MAP_FAILED);
	live_fill(m.at, m.len, 0);
	lost_at = 2 * page + 5;
	see_start(0);
	add();
	live_poison(m.at + 2 * page);
	first_touch();
	all_ways("here");
	in_child("in a child", 1);
	CHECK_EQ(bez_lost_clear(m.at, m.len), -EOPNOTSUPP);
	all_ways("after that");
}

/* Without its consent shared memory does not become its own. */
static void not_detached(void)
{
	page = live_page();
	live_need_linux(5, 14, "telling a cut file from poison");
	m.fd = memfd_create("cut", MFD_CLOEXEC);
	m.len = m.width = page;
	CHECK_EQ(ftruncate(m.fd, (off_t)page), 0);
	m.at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	CHECK(m.at != MAP_FAILED);
	see_start(0);
	add();
	CHECK_EQ(ftruncate(m.fd, 0), 0);
	first_touch();
	CHECK_EQ(ftruncate(m.fd, (off_t)page), 0);
	all_ways("here");
	CHECK_EQ(bez_lost_clear(m.at, m.len), -EOPNOTSUPP);
	all_ways("after that");
}

/* A page that is not mapped any more, by the door. */
static void hole(void)
{
	page = live_page();
	m.at = live_pages(4);
	m.len = 4 * page;
	m.width = page;
	lost_at = 2 * page;
	see_start(BEZ_START_SEGV_DOOR);
	add();
	CHECK_EQ(munmap(m.at + 2 * page, page), 0);
	first_touch();
	all_ways("here");
	in_child("in a child", 1);
	CHECK_EQ(bez_lost_clear(m.at, m.len), 0);
	m.at[lost_at] = 9;
	CHECK_EQ(live_read(m.at + lost_at), 9);
}

/* A report that the kernel does not stand by: the page could be read. */
static void restart(void)
{
	page = live_page();
	m.at = live_pages(4);
	m.len = 4 * page;
	m.width = page;
	lost_at = 2 * page;
	policy_flags = BEZ_POLICY_NO_RESTART;
	see_start(0);
	add();
	BEZ_TRY {
		see_report(m.at + lost_at, BUS_MCEERR_AR, 12);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == extent());
		CHECK_EQ(lost->why, BEZ_OUTCOME_REFUSED_RESTART);
	}
	all_ways("here");
	in_child("in a child", 1);
	CHECK_EQ(bez_lost_clear(m.at, m.len), 0);
	CHECK_EQ(live_read(m.at + lost_at), 0);
}

/* ------------------------------------------------------------ around the edge */

static void copies_end_before(void)
{
	static unsigned char to[1 << 16];
	size_t off, len;

	page = live_page();
	m.at = live_pages(4);
	m.len = 4 * page;
	m.width = page;
	lost_at = 2 * page;
	see_start(0);
	add();
	live_poison(m.at + lost_at);
	first_touch();
	for (off = lost_at - 700; off < lost_at; off += 33)
		for (len = 1; len < 1500; len = len * 3 / 2 + 1) {
			size_t good = lost_at - off, left, events;
			struct bez_event e[2];
			uint64_t seq = 0;
			int order = 0;

			while (bez_events(&seq, e, 2) == 2)
				continue;
			events = seq;
			if (good > len)
				good = len;
			memset(to, 0, len);
			left = bez_copy(to, m.at + off, len);
			CHECK_EQ(left, len - good);
			CHECK(!memcmp(to, m.at + off, good));
			CHECK(left == 0 || to[good] == 0);
			CHECK_EQ(bez_compare(to, m.at + off, len, &order),
				 len - good);
			CHECK_EQ(bez_copy(m.at + off, to, len), len - good);
			CHECK_EQ(bez_set(m.at + off, 0x5a, len), len - good);
			live_fill(m.at, lost_at, 0);
			/* nothing of it was touched */
			CHECK_EQ(bez_events(&seq, e, 2), 0);
			CHECK_EQ(seq, events);
		}
}

static int well;

static int sometimes(void *dst, size_t len, uint64_t offset, void *arg)
{
	memcpy(dst, (char *)arg + offset, len);
	return well ? 0 : -EIO;
}

/* A source that is well again does not bring back what others were told is
 * gone. */
static void not_back(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t r;

	page = live_page();
	m.at = live_pages(4);
	m.len = 4 * page;
	m.width = page;
	lost_at = 2 * page;
	from = bez_source_callback(sometimes, live_pages(4));
	policy.source = &from;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	see_start(0);
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &r), 0);
	live_poison(m.at + lost_at);
	first_touch();
	well = 1;
	all_ways("here");
	in_child("in a child", 1);
	CHECK_EQ(bez_lost_clear(m.at, m.len), 0);
	CHECK_EQ(live_read(m.at + lost_at), 0);
	live_poison(m.at + lost_at);
	CHECK_EQ(live_wrong(m.at, m.len, 0), 0);
}

/* Nobody makes room for more than there was. */
static void no_room(void)
{
	size_t i;

	page = live_page();
	m.at = live_pages(513);
	m.len = 513 * page;
	m.width = page;
	see_install();
	see_start(BEZ_START_NO_WORKER);
	add();
	for (i = 0; i < 512; i++) {
		lost_at = i * page;
		live_poison(m.at + lost_at);
		first_touch();
	}
	live_poison(m.at + 512 * page);
	BEZ_TRY {
		see_refused(m.at + 512 * page, BEZ_OUTCOME_REFUSED_INVENTORY);
	} BEZ_CATCH(lost) {
		CHECK(!lost->addr);
	}
	CHECK_EQ(bez_lost_clear(m.at, page), 0);
	lost_at = 512 * page;
	first_touch();
}

static _Atomic int done;
static _Atomic uint32_t bad, read_it, caught;

static void *reads(void *arg)
{
	unsigned char *addr = arg;

	bez_thread_attach();
	while (!done) {
		BEZ_TRY {
			unsigned char byte = live_read(addr);

			atomic_fetch_add(&read_it, 1);
			if (byte && byte != live_byte(lost_at + 9, 0))
				atomic_fetch_add(&bad, 1);
		} BEZ_CATCH(lost) {
			atomic_fetch_add(&caught, 1);
			if (!right(lost, addr))
				atomic_fetch_add(&bad, 1);
		}
	}
	return NULL;
}

/* Lost and cleared again and again, while others touch it all the time. */
static void again_and_again(void)
{
	pthread_t t[4];
	uint32_t before;
	size_t i;

	page = live_page();
	m.at = live_pages(4);
	m.len = 4 * page;
	m.width = page;
	lost_at = 2 * page;
	see_start(0);
	add();
	for (i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, reads, m.at + lost_at + 9),
			 0);
	for (i = 0; i < 300; i++) {
		before = caught;
		live_poison(m.at + lost_at);
		while (caught == before || !bez_lost_in(m.at, m.len))
			sched_yield();
		before = read_it;
		CHECK_EQ(bez_lost_clear(m.at, m.len), 0);
		live_fill(m.at, m.len, 0);
		while (read_it == before)
			sched_yield();
		CHECK_EQ(bez_lost_in(m.at, m.len), 0);
	}
	done = 1;
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(bad, 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
	CHECK_EQ(bez_lost_generation() >> 32, 600);
}

/* Its entries go with the region. */
static void removed(void)
{
	bez_region_t r;

	page = live_page();
	m.at = live_pages(4);
	m.len = 4 * page;
	m.width = page;
	lost_at = 2 * page;
	see_install();
	see_start(0);
	r = add();
	live_poison(m.at + lost_at);
	first_touch();
	CHECK_EQ(bez_region_remove(r), 0);
	CHECK_EQ(bez_lost_in(m.at, m.len), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
	CHECK_EQ(bez_lost_clear(m.at, m.len), 0);
	r = add();
	CHECK_EQ(bez_lost_in(m.at, m.len), 0);
	first_touch();
	CHECK_EQ(bez_lost_in(m.at, m.len), 1);
	CHECK_EQ(bez_region_remove(r), 0);
	CHECK_EQ(bez_stop(), 0);
}

static const int private_map = MAP_PRIVATE, shared_map = MAP_SHARED;

#define KIND(k) { .name = #k, .run = each_kind, .data = &kinds_##k, \
		  .timeout_s = 120 }

static const struct tap_case cases[] = {
	KIND(anon), KIND(memfd), KIND(memfd_cow), KIND(tmpfs), KIND(tmpfs_cow),
	KIND(disk), KIND(disk_cow), KIND(huge), KIND(huge_memfd),
	KIND(huge_memfd_cow),
	{ .name = "a cut file that grows again, private", .run = cut_file,
	  .data = &private_map },
	{ .name = "a cut file that grows again, shared", .run = cut_file,
	  .data = &shared_map },
	{ .name = "memory that others share", .run = others },
	{ .name = "shared memory stays shared", .run = not_detached },
	{ .name = "a page that was unmapped", .run = hole },
	{ .name = "a page that must not be used again", .run = restart },
	{ .name = "copies end in front of it and do not touch it",
	  .run = copies_end_before },
	{ .name = "a source that is well again does not bring it back",
	  .run = not_back, .timeout_s = 20 },
	{ .name = "no room in the inventory: the next action", .run = no_room },
	{ .name = "lost and cleared while others touch it",
	  .run = again_and_again },
	{ .name = "removed with the region", .run = removed },
};

TAP_MAIN(cases)
