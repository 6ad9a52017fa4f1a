/* SPDX-License-Identifier: MIT */
/*
 * What is lost, filled by its owner: while others hammer it, who reads it finds it
 * lost, or the owner's bytes. Never zeros, and never what a file has.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "after_help.h"
#include "huge.h"
#include "replace_see.h"

#define READERS	3
#define NEW	1		/* seed of what the owner has */

static unsigned char *new_bytes(void)
{
	return (unsigned char *)(uintptr_t)kinds_bytes(NEW);
}

/* What belongs at the extent. */
static const unsigned char *new_extent(void)
{
	return new_bytes() + (after_extent() - after.at);
}

/* ------------------------------------------------------------------ readers */

static _Atomic uint32_t stop, away, reading, good[READERS], caught[READERS];
static _Atomic uint32_t wrong;

static void look_at(uint32_t n, size_t off)
{
	const unsigned char *addr = after_extent() + off;
	unsigned char byte = 0;
	volatile int got = 0;

	if (off & 1) {
		got = !bez_copy(&byte, addr, 1);
	} else {
		BEZ_TRY {
			byte = live_read(addr);
			got = 1;
		} BEZ_CATCH(lost) {
			if (lost->addr != after_extent())
				atomic_fetch_add(&wrong, 1);
		}
	}
	if (got && byte != new_extent()[off] && !atomic_fetch_add(&wrong, 1))
		tap_diag("at %zu: %#x, not %#x", off, byte, new_extent()[off]);
	atomic_fetch_add(got ? &good[n] : &caught[n], 1);
}

static void *reads(void *arg)
{
	uint32_t n = (uint32_t)(uintptr_t)arg;
	size_t off = n * 1021;

	bez_thread_attach();
	while (!atomic_load(&stop)) {
		atomic_fetch_add(&reading, 1);
		/* either it sees us reading, or we see that we are to stay away */
		if (!atomic_load(&away)) {
			off = (off + 613) % after.width;
			look_at(n, off);
		}
		atomic_fetch_sub(&reading, 1);
		if (atomic_load(&away))
			sched_yield();
	}
	return NULL;
}

static void keep_away(void)
{
	atomic_store(&away, 1);
	while (atomic_load(&reading))
		sched_yield();
}

static void let_in(const _Atomic uint32_t *count)
{
	uint32_t was[READERS], i;

	for (i = 0; i < READERS; i++)
		was[i] = atomic_load(&count[i]);
	atomic_store(&away, 0);
	for (i = 0; i < READERS; i++)
		while (atomic_load(&count[i]) < was[i] + 3)
			sched_yield();
}

static void hammer(uint32_t rounds, void (*lose)(void))
{
	pthread_t t[READERS];
	uint32_t i;
	int r;

	atomic_store(&away, 1);
	for (i = 0; i < READERS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, reads,
					(void *)(uintptr_t)i), 0);
	for (i = 0; i < rounds; i++) {
		keep_away();
		lose();
		after_first_touch();
		let_in(caught);
		r = bez_lost_fill(after.at, after.len, new_bytes());
		CHECKF(!r, "%s", strerror(-r));
		let_in(good);
	}
	atomic_store(&stop, 1);
	for (i = 0; i < READERS; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	CHECK_EQ(wrong, 0);
	CHECK(!memcmp(after_extent(), new_extent(), after.width));
	CHECK_EQ(bez_lost_in(after.at, after.len), 0);
}

static void lose(void)
{
	kinds_lose(&after, after_at);
}

static void each_kind(void)
{
	const struct kinds_kind *kind = tap_data();
	struct kinds_seen was, is;
	size_t from;
	bez_region_t r;

	kinds_can_be_lost(kind);
	if (kind->huge)
		huge_need(8);
	kinds_make(kind, &after);
	new_bytes();
	after_at = after.len / 2 + 77;
	from = kinds_extent(&after, after_at);
	see_start(0);
	r = after_add();
	kinds_see(after_extent(), &was);
	hammer(live_is_real() ? 4 : kind->huge ? 10 : 200, lose);
	/* what was not lost is as it was */
	CHECK_EQ(kinds_wrong(&after, 0, from), 0);
	CHECK_EQ(kinds_wrong(&after, from + after.width, after.len), 0);
	kinds_see(after_extent(), &is);
	kinds_alike(&was, &is, kind->make != NULL, "filled");
	CHECK_EQ(bez_region_remove(r), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------------------ behind a cover */

static void cut_and_grow(void)
{
	CHECK_EQ(ftruncate(after.fd, (off_t)(after.len - after.width)), 0);
	after_first_touch();
	CHECK_EQ(ftruncate(after.fd, (off_t)after.len), 0);
}

static void cut_file(void)
{
	int flags = *(const int *)tap_data();

	after_begin_file(4, flags);
	after_flags = flags == MAP_SHARED ? BEZ_POLICY_DETACH : 0;
	after_add();
	/* once: it has no file afterwards */
	hammer(1, cut_and_grow);
}

static bez_region_t begin_disk(uint32_t flags)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	kinds_make(&kinds_disk, &after);
	after.at = mmap(after.at, after.len, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED, after.fd, 0);
	CHECK(after.at != MAP_FAILED);
	new_bytes();
	after_at = after.len - after.width + 5;
	see_start(0);
	shared.flags = BEZ_SHARED_EXCLUSIVE;
	shared.fd = after.fd;
	policy.shared = &shared;
	policy.flags = flags;
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(after.at, after.len, &policy, &r), 0);
	return r;
}

/* A shared file on a disk gets it back: who has the file has it, too. */
static void disk_file(void)
{
	bez_region_t r = begin_disk(0);
	unsigned char byte = 0;

	hammer(5, cut_and_grow);
	CHECK_EQ(pread(after.fd, &byte, 1, (off_t)after_at), 1);
	CHECK_EQ(byte, kinds_bytes(NEW)[after_at]);
	after.at[after_at] = 0x5a;
	CHECK_EQ(pread(after.fd, &byte, 1, (off_t)after_at), 1);
	CHECK_EQ(byte, 0x5a);
	CHECK_EQ(bez_region_remove(r), 0);
	kinds_unlink(&after);
}

/* What was put there is not known to be newer than what the disk had. */
static void disk_cleared(void)
{
	bez_region_t r = begin_disk(0);
	unsigned char *now = live_pages(1);
	off_t start = (off_t)(after.len - after.width);

	cut_and_grow();
	CHECK_EQ(pwrite(after.fd, "other", 5, start), 5);
	CHECK_EQ(bez_lost_clear(after.at, after.len), 0);
	CHECK_EQ(pread(after.fd, now, 5, start), 5);
	CHECK(!memcmp(now, "\0\0\0\0", 5));
	CHECK(!memcmp(after_extent(), now, 5));
	CHECK_EQ(bez_region_remove(r), 0);
	kinds_unlink(&after);
}

/* Where it ends before that, it has no room for it. */
static void disk_cut(void)
{
	uint32_t detach = *(const int *)tap_data() ? BEZ_POLICY_DETACH : 0;
	off_t end;
	bez_region_t r = begin_disk(detach);

	end = (off_t)(after.len - after.width);
	CHECK_EQ(ftruncate(after.fd, end), 0);
	after_first_touch();
	CHECK_EQ(bez_lost_fill(after.at, after.len, new_bytes()),
		 detach ? 0 : -EOPNOTSUPP);
	CHECK_EQ(bez_lost_in(after_extent(), 1), !detach);
	if (detach)
		CHECK(!memcmp(after_extent(), new_extent(), after.width));
	else
		after_all_ways("cut");
	CHECK_EQ(lseek(after.fd, 0, SEEK_END), end);
	CHECK_EQ(bez_region_remove(r), 0);
	kinds_unlink(&after);
}

/* The pool is empty when it is filled: the same, or base pages. */
static void no_huge_page(void)
{
	int base = *(const int *)tap_data();
	bez_region_t r;

	if (!base)
		live_need_linux(5, 18, "discarding of huge pages");
	huge_need(8);
	kinds_make(&kinds_huge_memfd, &after);
	/* nothing is kept for it: a touch is what finds out */
	after.at = mmap(after.at, after.len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, after.fd, 0);
	CHECK(after.at != MAP_FAILED);
	new_bytes();
	after_at = after.len - after.width + 77;
	after_flags = base ? BEZ_POLICY_BASE_PAGES : 0;
	see_start(0);
	r = after_add();
	cut_and_grow();
	huge_drain();
	CHECK_EQ(bez_lost_clear(after.at, after.len), base ? 0 : -ENOMEM);
	if (!base) {
		CHECK_EQ(bez_lost_fill(after.at, after.len, new_bytes()),
			 -ENOMEM);
		after_all_ways("no huge page");
		huge_refill();
		CHECK_EQ(bez_lost_fill(after.at, after.len, new_bytes()), 0);
		CHECK(!memcmp(after_extent(), new_extent(), after.width));
	} else {
		CHECK_EQ(live_read(after_extent()), 0);
		memcpy(after_extent(), new_extent(), after.width);
	}
	CHECK_EQ(bez_lost_in(after.at, after.len), 0);
	CHECK_EQ(bez_region_remove(r), 0);
}

static void unmap_it(void)
{
	CHECK_EQ(munmap(after_extent(), after.width), 0);
}

static void hole(void)
{
	after_begin(4, BEZ_START_SEGV_DOOR);
	after_add();
	hammer(20, unmap_it);
}

/* ------------------------------------------------------------------ the call */

static void lose_one(size_t at)
{
	after_at = at * after_page;
	live_poison(after.at + after_at);
	after_first_touch();
}

/* Several at once; what lies between is left alone. */
static void several(void)
{
	size_t i;

	after_begin(6, 0);
	after_add();
	lose_one(1);
	lose_one(2);
	lose_one(4);
	CHECK_EQ(bez_lost_fill(after.at + after_page, 2 * after_page,
			       new_bytes() + after_page), 0);
	CHECK_EQ(bez_lost_in(after.at, 4 * after_page), 0);
	CHECK_EQ(bez_lost_in(after.at + 4 * after_page, 1), 1);
	CHECK_EQ(bez_lost_fill(after.at, after.len, new_bytes()), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
	for (i = 0; i < 6; i++)
		CHECK_EQ(see_wrong(after.at, i * after_page,
				   (i + 1) * after_page,
				   i == 1 || i == 2 || i == 4 ? NEW : 0), 0);
	CHECK_EQ(bez_lost_fill(after.at, after.len, new_bytes()), 0);
}

static int said;

static int calls(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)arg;
	said = bez_lost_fill(after.at, after.len, new_bytes());
	memcpy(dst, new_bytes() + offset, len);
	return 0;
}

static void refused(void)
{
	unsigned char *from = live_pages(6), *inner = live_pages(1);
	struct bez_source source = bez_source_callback(calls, NULL);

	CHECK_EQ(bez_lost_fill(from, 1, from + 1), -ESRCH);
	after_begin(4, 0);
	after_add();
	lose_one(2);
	CHECK_EQ(bez_lost_fill(after.at, after.len, NULL), -EINVAL);
	CHECK_EQ(bez_lost_fill(after.at, after.len,
			       after.at + after.len - 1), -EINVAL);
	CHECK_EQ(bez_lost_fill(after.at, after.len,
			       after.at - after.len + 1), -EINVAL);
	CHECK_EQ(bez_lost_fill(after.at, SIZE_MAX, from), -EINVAL);
	CHECK_EQ(bez_lost_fill(after_extent(), after.width - 1, from),
		 -EINVAL);
	CHECK_EQ(bez_lost_fill(after_extent() + 1, after.width, from),
		 -EINVAL);
	/* what is to be put there is lost itself, and nobody has it */
	live_poison(from + 2 * after_page);
	CHECK_EQ(bez_lost_fill(after.at, after.len, from), -EFAULT);
	after_all_ways("not filled");
	/* somebody has it */
	live_region(inner, after_page, &source, "inner");
	live_poison(inner);
	CHECK_EQ(bez_lost_fill(after_extent(), after.width, inner), 0);
	CHECK_EQ(said, -EDEADLK);
	CHECK(!memcmp(after_extent(), new_bytes(), after.width));
}

/* Of what the program has put there itself nobody can be spared the sight. */
static void put_there(void)
{
	after_begin(4, 0);
	after_add();
	lose_one(2);
	CHECK_EQ(madvise(after_extent(), after.width, MADV_DONTNEED), 0);
	CHECK_EQ(live_read(after_extent()), 0);
	CHECK_EQ(bez_lost_in(after_extent(), 1), 1);
	CHECK_EQ(bez_lost_fill(after.at, after.len, new_bytes()), 0);
	CHECK(!memcmp(after_extent(), new_extent(), after.width));
	CHECK_EQ(bez_lost_in(after_extent(), 1), 0);
	/* closed by the program: not filled, and not said to be */
	lose_one(2);
	CHECK_EQ(madvise(after_extent(), after.width, MADV_DONTNEED), 0);
	CHECK_EQ(mprotect(after_extent(), after.width, PROT_READ), 0);
	CHECK_EQ(bez_lost_fill(after.at, after.len, new_bytes()), -EIO);
	CHECK_EQ(bez_lost_in(after_extent(), 1), 1);
}

static void fills(void)
{
	CHECK_EQ(bez_lost_fill(after.at, after.len, new_bytes()), 0);
	CHECK(!memcmp(after_extent(), new_extent(), after.width));
}

/* In a child it is the child's. */
static void in_child(void)
{
	after_begin(4, 0);
	after_add();
	lose_one(2);
	live_in_child(fills);
	after_all_ways("in the parent");
}

static const int private_map = MAP_PRIVATE, shared_map = MAP_SHARED;
static const int stays, detached = 1;

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
	{ .name = "a shared file on a disk", .run = disk_file },
	{ .name = "a shared file on a disk, cleared", .run = disk_cleared },
	{ .name = "a shared file on a disk that was cut", .run = disk_cut,
	  .data = &stays },
	{ .name = "a shared file on a disk that was cut, detached",
	  .run = disk_cut, .data = &detached },
	{ .name = "no huge page is left", .run = no_huge_page, .data = &stays,
	  .timeout_s = 120 },
	{ .name = "no huge page is left, base pages", .run = no_huge_page,
	  .data = &detached, .timeout_s = 120 },
	{ .name = "a page that was unmapped", .run = hole },
	{ .name = "several at once", .run = several },
	{ .name = "what is not done, and why", .run = refused },
	{ .name = "what the program had put there", .run = put_there },
	{ .name = "in a child", .run = in_child },
};

TAP_MAIN(cases)
