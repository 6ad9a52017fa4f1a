/* SPDX-License-Identifier: MIT */
/*
 * Of a lost huge page all base pages but the bad ones are read back, and only for
 * those the next source is asked: what the file had and what the next source has
 * are told apart here. Where that cannot be, the huge page stays as it is, with
 * its good part still in the file; and a hole is never read back, as it has
 * nothing but zeros.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "huge.h"
#include "live.h"
#include "lost.h"
#include "replace_see.h"

#define HUGE	((size_t)2 << 20)
#define COUNT	512
#define NONE	(-1)

enum next { NOTHING, MIRROR, CALLBACK, DEFERRED };

struct variant {
	int bad[3];			/* base pages, to NONE */
	enum next next;
	uint32_t chunk;			/* see lost.h */
	uint32_t whole;
	uint32_t flags;			/* BEZ_SHARED_* */
	uint32_t torn;			/* see lost.h */
	uint32_t forgets;		/* see lost.h */
};

static const struct variant *variant(void)
{
	return tap_data();
}

static unsigned char *at, *next_copy;
static int file;
static bez_region_t region;

/* Which pages the next source was asked for. */
static struct {
	uint64_t offset[COUNT];
	_Atomic uint32_t count;
	_Atomic uint32_t odd;		/* asked for something else */
} asked;

static int fill_next(void *dst, size_t len, uint64_t offset, void *arg)
{
	uint32_t n = atomic_fetch_add(&asked.count, 1);

	(void)arg;
	if (n < COUNT)
		asked.offset[n] = offset;
	if (len != live_page() || offset + len > HUGE)
		atomic_fetch_add(&asked.odd, 1);
	memcpy(dst, next_copy + offset, len);
	return 0;
}

static struct bez_source next_source(enum next next)
{
	switch (next) {
	case CALLBACK:
		return bez_source_callback(fill_next, NULL);
	case DEFERRED:
		return bez_source_deferred(fill_next, NULL, 10000000000u);
	case NOTHING:
	case MIRROR:
	default:
		return bez_source_mirror(next_copy);
	}
}

/* What is left of a huge page can be read. Before, the kernel reads nothing back,
 * or zeros: there everything comes from the next source. */
static int is_read_back(void)
{
	return live_linux(6, 6);
}

/* The file has what live_fill() makes of seed 0, the next source that of 1. */
static void protect(enum next next, uint32_t flags, const uint64_t *digests)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source list[2], from;

	huge_need(2);
	file = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	CHECK(file >= 0);
	CHECK_EQ(ftruncate(file, (off_t)HUGE), 0);
	at = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECKF(at != MAP_FAILED, "mmap: %s", strerror(errno));
	live_fill(at, HUGE, 0);
	next_copy = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(next_copy != MAP_FAILED);
	live_fill(next_copy, HUGE, 1);
	see_install();
	see_start(0);
	list[0] = bez_source_salvage();
	list[1] = next_source(next);
	from = bez_source_first_of(list, next == NOTHING ? 1 : 2);
	shared.flags = flags;
	shared.fd = file;
	policy.shared = &shared;
	policy.source = &from;
	policy.digests = digests;
	CHECK_EQ(bez_region_add(at, HUGE, &policy, &region), 0);
	lost_begin(file, at, HUGE);
}

static int is_bad(size_t page)
{
	const int *bad = variant()->bad;
	size_t i;

	for (i = 0; i < 3 && bad[i] != NONE; i++)
		if ((size_t)bad[i] == page)
			return 1;
	return 0;
}

static size_t bad_pages(void)
{
	size_t i, n = 0;

	for (i = 0; i < COUNT; i++)
		n += (size_t)is_bad(i);
	return n;
}

static void lose_all(void)
{
	size_t i;

	for (i = 0; i < COUNT; i++)
		if (is_bad(i))
			lose_at(i * live_page());
	lost_mark(0);
}

static void kept(void)
{
	const struct variant *v = variant();
	const int none = v->whole || v->forgets || !is_read_back();
	size_t i, page = live_page(), wrong = 0;

	if (live_is_real() && (v->whole || v->forgets || bad_pages() > 1))
		tap_skip("real poison takes one page of a huge page here, and "
			 "the others can be read");
	protect(v->next, v->flags, NULL);
	lost->chunk = v->chunk;
	lost->torn = v->torn;
	lost->forgets = v->forgets;
	atomic_store(&lost->whole, v->whole);
	lose_all();
	for (i = 0; i < COUNT; i++) {
		unsigned int seed = is_bad(i) || none;

		wrong += see_wrong(at, i * page, (i + 1) * page, seed);
	}
	CHECK_EQ(wrong, 0);
	CHECK_EQ(see_event(at).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(see_event(at).width, HUGE);
	CHECK_EQ(atomic_load(&lost->fills), 1);
	if (v->forgets)
		CHECK(see_event(at).source != BEZ_SOURCE_SALVAGE);
	if (none && !v->whole && see_event(at).source != BEZ_SOURCE_SALVAGE)
		return;			/* its file says nothing */
	CHECK_EQ(see_event(at).source, BEZ_SOURCE_SALVAGE);
	if (v->next == MIRROR)
		return;
	/* each by itself, and nothing else */
	CHECK_EQ(asked.odd, 0);
	CHECK_EQ(asked.count, none ? COUNT : bad_pages());
	for (i = 0; i < asked.count; i++)
		CHECK(none ? asked.offset[i] == i * page :
				 is_bad(asked.offset[i] / page) != 0);
}

/* Nobody has the bad page: the good ones stay where they are. */
static void stays(void)
{
	unsigned char *back = malloc(HUGE);
	size_t i, page = live_page(), wrong = 0, good = 0;

	CHECK(back);
	protect(NOTHING, BEZ_SHARED_EXCLUSIVE, NULL);
	lose_all();
	lost_refused(5, BEZ_OUTCOME_SOURCE_FAILED);
	CHECK_EQ(atomic_load(&lost->punches), 0);
	for (i = 0; i < COUNT && is_read_back(); i++) {
		if (is_bad(i))
			continue;
		CHECK_EQ(pread(file, back, page, (off_t)(i * page)), page);
		wrong += memcmp(back, next_copy + i * page, page) == 0;
		good += back[9] == live_byte(i * page + 9, 0);
	}
	CHECK_EQ(wrong, 0);
	if (is_read_back())
		CHECK_EQ(good, COUNT - bad_pages());
}

/* The good pages would be gone with nothing to put them into. */
static void pool_is_empty(void)
{
	protect(MIRROR, BEZ_SHARED_EXCLUSIVE, NULL);
	lose_all();
	lost->no_huge = 1;
	lost_refused(5, BEZ_OUTCOME_REFUSED_HUGE);
	CHECK_EQ(atomic_load(&lost->punches), 0);
	lost->no_huge = 0;
	CHECK_EQ(live_read(at + 5), live_byte(5, 1));
	CHECK_EQ(see_wrong(at, live_page(), HUGE, !is_read_back()), 0);
	CHECK_EQ(atomic_load(&lost->punches), 1);
}

static void empty_it(void)
{
	CHECK_EQ(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			   (off_t)HUGE), 0);
}

static void hole(void)
{
	protect(MIRROR, BEZ_SHARED_FENCED, NULL);
	empty_it();
	CHECK_EQ(see_wrong(at, 0, HUGE, 1), 0);
	if (is_read_back())		/* before, it may be poison as well */
		CHECK_EQ(see_event(at).cause, BEZ_CAUSE_HOLE);
	CHECK_EQ(see_event(at).source, BEZ_SOURCE_MIRROR);
}

static void hole_and_nobody(void)
{
	protect(NOTHING, BEZ_SHARED_FENCED, NULL);
	empty_it();
	see_refused(at + 5, BEZ_OUTCOME_SOURCE_FAILED);
	CHECK_EQ(atomic_load(&lost->fills), 0);
}

/* A page that reads well and is not what was there is not taken. */
static void digests(void)
{
	static uint64_t digest[COUNT];
	size_t i, page = live_page();

	protect(MIRROR, BEZ_SHARED_EXCLUSIVE, digest);
	for (i = 0; i < COUNT; i++)
		digest[i] = bez_digest((is_bad(i) || !is_read_back() ?
					next_copy : at) + i * page, page);
	digest[40]++;
	lose_all();
	lost_refused(5, BEZ_OUTCOME_SOURCE_DIGEST);
	CHECK_EQ(atomic_load(&lost->punches), 0);
	digest[40]--;
	for (i = 0; i < COUNT; i++)
		CHECK_EQ(see_wrong(at, i * page, (i + 1) * page,
				   is_bad(i) || !is_read_back()), 0);
}

/* -------------------------------------------------------------------- 1 GiB */

#define GIGA	((size_t)1 << 30)

static unsigned char giga_byte(size_t page)
{
	return (unsigned char)(1 + page % 255);
}

static void giga(void)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source list[2], from;
	size_t i, page = live_page(), wrong = 0;

	if (see_memory() < 8 * GIGA)
		tap_skip("not memory enough for pages of 1 GiB");
	huge_need_gib(2);
	file = memfd_create("giga", MFD_CLOEXEC | MFD_HUGETLB | 30u << 26);
	CHECK(file >= 0);
	CHECK_EQ(ftruncate(file, (off_t)GIGA), 0);
	at = mmap(NULL, GIGA, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (at == MAP_FAILED)
		tap_skip("no page of 1 GiB: %s", strerror(errno));
	for (i = 0; i < GIGA / page; i++)
		memset(at + i * page, giga_byte(i), page);
	see_install();
	see_start(0);
	list[0] = bez_source_salvage();
	list[1] = bez_source_zero();
	live_need_linux(6, 6, "reading of what is left of a huge page");
	from = bez_source_first_of(list, 2);
	shared.flags = BEZ_SHARED_EXCLUSIVE;
	shared.fd = file;
	policy.shared = &shared;
	policy.source = &from;
	CHECK_EQ(bez_region_add(at, GIGA, &policy, &region), 0);
	lost_begin(file, at, GIGA);
	lose_at(7 * page);
	lost_mark(0);
	for (i = 0; i < GIGA / page; i++)
		wrong += live_read(at + i * page + 1) !=
				 (i == 7 ? 0 : giga_byte(i)) ||
			 live_read(at + (i + 1) * page - 1) !=
				 (i == 7 ? 0 : giga_byte(i));
	CHECK_EQ(wrong, 0);
	CHECK_EQ(see_event(at).width, GIGA);
}

#define KEPT(what, ...)							\
	{ .name = what, .run = kept, .timeout_s = 120,			\
	  .data = &(const struct variant){ __VA_ARGS__ } }
#define ONE_BAD(k)	.data = &(const struct variant){ { k, NONE },	\
				NOTHING, 0, 0, BEZ_SHARED_EXCLUSIVE, 0, 0 }
#define X BEZ_SHARED_EXCLUSIVE

static const struct tap_case cases[] = {
	KEPT("first page, mirror", { 0, NONE }, MIRROR, 0, 0, X, 0, 0),
	KEPT("first page, callback", { 0, NONE }, CALLBACK, 0, 0, X, 0, 0),
	KEPT("a page, callback", { 7, NONE }, CALLBACK, 0, 0, X, 0, 0),
	KEPT("a page, deferred", { 300, NONE }, DEFERRED, 0, 0, X, 0, 0),
	KEPT("last page, deferred", { 511, NONE }, DEFERRED, 0, 0, X, 0, 0),
	KEPT("last page, fenced", { 511, NONE }, CALLBACK, 0, 0,
	     BEZ_SHARED_FENCED, 0, 0),
	KEPT("two pages", { 0, 511, NONE }, CALLBACK, 0, 0, X, 0, 0),
	KEPT("two neighbours", { 100, 101, NONE }, CALLBACK, 0, 0, X, 0, 0),
	KEPT("short reads", { 9, NONE }, CALLBACK, 5000, 0, X, 0, 0),
	KEPT("a bad page that reads in part", { 9, NONE }, CALLBACK, 0, 0, X,
	     100, 0),
	KEPT("read back nowhere", { 9, NONE }, CALLBACK, 0, 1, X, 0, 0),
	KEPT("read back as zeros", { 9, NONE }, CALLBACK, 0, 0, X, 0, 1),
	{ .name = "nobody has the bad page", .run = stays, ONE_BAD(5) },
	{ .name = "the pool is empty", .run = pool_is_empty, ONE_BAD(0) },
	{ .name = "a hole", .run = hole },
	{ .name = "a hole, and no other source", .run = hole_and_nobody },
	{ .name = "digests", .run = digests, ONE_BAD(5) },
	{ .name = "1 GiB", .run = giga, .timeout_s = 300 },
};
TAP_MAIN(cases)
