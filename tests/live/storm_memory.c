/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "storm_memory.h"

#include <errno.h>
#include <linux/falloc.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "huge.h"
#include "live.h"
#include "replace_see.h"

_Atomic uint64_t area_draws;

uint64_t area_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;	/* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* ------------------------------------------------------------------- making */

int area_is_huge(const struct area *a)
{
	return a->kind >= AREA_HUGE;
}

static int is_shared(const struct area *a)
{
	return a->kind == AREA_SHARED || a->kind == AREA_HUGE_SHARED;
}

static void *map(const struct area *a, int flags, size_t offset, size_t len)
{
	void *at;

	flags |= is_shared(a) ? MAP_SHARED : MAP_PRIVATE;
	if (a->fd < 0)
		flags |= MAP_ANONYMOUS;
	if (a->kind == AREA_HUGE)
		flags |= MAP_HUGETLB;
	at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, a->fd,
		  a->fd < 0 ? 0 : (off_t)offset);
	CHECKF(at != MAP_FAILED, "mmap: %s", strerror(errno));
	return at;
}

void area_make(struct area *a, enum area_kind kind)
{
	unsigned char *copy;

	*a = (struct area){ .path = "/dev/shm/bezoar-storm-XXXXXX" };
	a->kind = kind;
	a->width = area_is_huge(a) ? HUGE_PAGE : live_page();
	a->pages = area_is_huge(a) ? 2 : AREA_PAGES;
	a->len = a->pages * a->width;
	a->fd = -1;
	if (kind == AREA_FILE)
		a->fd = mkostemp(a->path, O_CLOEXEC);
	else if (kind != AREA_ANON && kind != AREA_HUGE)
		a->fd = memfd_create("storm", MFD_CLOEXEC |
				     (area_is_huge(a) ? MFD_HUGETLB : 0));
	if (kind != AREA_ANON && kind != AREA_HUGE)
		CHECKF(a->fd >= 0 && !ftruncate(a->fd, (off_t)a->len),
		       "a file: %s", strerror(errno));
	a->at = map(a, 0, 0, a->len);
	if (!area_is_huge(a))
		madvise(a->at, a->len, MADV_NOHUGEPAGE);
	live_fill(a->at, a->len, 0);
	copy = mmap(NULL, a->len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(copy != MAP_FAILED);
	live_fill(copy, a->len, 0);
	a->copy = copy;
}

void area_free(struct area *a)
{
	CHECK_EQ(munmap(a->at, a->len) | munmap((void *)a->copy, a->len), 0);
	if (a->fd >= 0)
		CHECK_EQ(close(a->fd), 0);
	if (a->kind == AREA_FILE)
		CHECK_EQ(unlink(a->path), 0);
}

/* ------------------------------------------------------------------ policies */

static int at_random(void *dst, size_t len, uint64_t offset, void *arg)
{
	const struct area *a = arg;
	uint64_t state = atomic_fetch_add(&area_draws, 1);

	if (area_random(&state) % 3 == 0)
		return -EIO;
	memcpy(dst, a->copy + offset, len);
	return 0;
}

void area_add(struct area *a, enum area_policy policy, bez_lost_fn told)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy p = BEZ_POLICY_INIT;
	struct bez_source list[2], from;

	list[0] = list[1] = from = bez_source_callback(at_random, a);
	a->policy = policy;
	p.name = "storm";
	p.max_repeats = UINT32_MAX;
	p.source = policy == AREA_DEGRADE ? NULL : &from;
	p.actions[0] = BEZ_ACTION_REPLACE;
	if (policy == AREA_REPLACE)
		from = bez_source_mirror(a->copy);
	else if (policy == AREA_LIST_OR_DEGRADE)
		from = bez_source_first_of(list, 2);
	else if (policy == AREA_DEFERRED_OR_DEGRADE)
		from = bez_source_deferred(at_random, a, 10000000000u);
	if (area_degrades(a)) {
		p.actions[policy == AREA_DEGRADE ? 0 : 1] = BEZ_ACTION_DEGRADE;
		p.on_lost = told;
		p.on_lost_arg = a;
	}
	if (policy == AREA_REPLACE_OR_END)
		p.actions[1] = BEZ_ACTION_SHUTDOWN;
	if (is_shared(a)) {
		shared.flags = BEZ_SHARED_EXCLUSIVE;
		shared.fd = a->fd;
		p.shared = &shared;
		p.flags = BEZ_POLICY_DETACH;
	}
	CHECK_EQ(bez_region_add(a->at, a->len, &p, &a->region), 0);
}

int area_may_be_lost(const struct area *a)
{
	/* the pool of huge pages may be empty */
	return a->policy != AREA_REPLACE || area_is_huge(a);
}

int area_degrades(const struct area *a)
{
	return a->policy >= AREA_REPLACE_OR_DEGRADE &&
	       a->policy < AREA_POLICIES;
}

/* ------------------------------------------------------------------- its life */

int area_take(struct area *a, size_t n)
{
	return !atomic_exchange(&a->page[n].busy, 1);
}

void area_give(struct area *a, size_t n)
{
	atomic_store(&a->page[n].busy, 0);
}

/* A lost page of the same mapping, moved over it. */
static void move_over(struct area *a, size_t n)
{
	void *aside = map(a, MAP_NORESERVE, n * a->width, a->width);

	live_mark(aside, a->width);
	CHECKF(mremap(aside, a->width, a->width, MREMAP_MAYMOVE | MREMAP_FIXED,
		      a->at + n * a->width) != MAP_FAILED, "mremap: %s",
	       strerror(errno));
}

/* Somebody else gives the file zeros where it has a hole. The pool of huge pages may
 * be empty. */
static void fill_hole(struct area *a, size_t n)
{
	if (is_shared(a))
		CHECK(!fallocate(a->fd, FALLOC_FL_KEEP_SIZE,
				 (off_t)(n * a->width), (off_t)a->width) ||
		      area_is_huge(a));
}

void area_lose(struct area *a, size_t n)
{
	struct area_page *page = &a->page[n];
	unsigned char byte;

	/* who is about to replace it would work on the mapping that comes over it */
	if (bez_lost_in(a->at + n * a->width, 1)) {
		fill_hole(a, n);
		return;
	}
	if (bez_copy(&byte, a->at + n * a->width, 1))
		return;
	page->lost++;
	if (is_shared(a))
		CHECK_EQ(fallocate(a->fd,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   (off_t)(n * a->width), (off_t)a->width), 0);
	else if (live_is_real() || a->kind == AREA_ANON)
		see_poison_at_once(a->at + n * a->width);
	else
		move_over(a, n);
}

int area_clear(struct area *a, size_t n, size_t count)
{
	uint64_t state = atomic_fetch_add(&area_draws, 1);
	unsigned char *at = a->at + n * a->width;
	int was_lost[AREA_PAGES], r;
	unsigned char byte;
	size_t i;

	/* nobody may see a zero of that */
	if (area_random(&state) & 1)
		return bez_lost_fill(at, count * a->width,
				     a->copy + n * a->width);

	for (i = 0; i < count; i++)
		atomic_fetch_add(&a->page[n + i].seq, 1);
	/* nobody else loses it now, so it is good or in the inventory after this */
	for (i = 0; i < count; i++)
		while (!(was_lost[i] = bez_lost_in(at + i * a->width, 1)) &&
		       bez_copy(&byte, at + i * a->width, 1))
			continue;
	r = bez_lost_clear(at, count * a->width);
	for (i = 0; i < count; i++) {
		if (!r && was_lost[i]) {
			CHECK_EQ(bez_lost_in(at + i * a->width, a->width), 0);
			memcpy(at + i * a->width, a->copy + (n + i) * a->width,
			       a->width);
		}
		atomic_fetch_add(&a->page[n + i].seq, 1);
	}
	return r;
}

uint32_t area_seq(const struct area *a, size_t offset)
{
	return atomic_load(&a->page[offset / a->width].seq);
}

int area_right(const struct area *a, size_t offset, unsigned char byte,
	       uint32_t seq)
{
	if (byte == a->copy[offset])
		return 1;
	return !byte && ((seq & 1) || area_seq(a, offset) != seq);
}
