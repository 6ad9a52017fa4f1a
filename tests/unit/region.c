/* SPDX-License-Identifier: MIT */
/* Second room from outside: policies taken and refused, ids, and removal that
 * waits for who still looks. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "region/pool.h"
#include "region/region.h"
#include "region/table.h"
#include "unit.h"

#define PAGES 16

static struct bz_mm *mm;
static char *at;

static void *map(size_t pages)
{
	void *p = mmap(NULL, pages * unit_page(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void begin(void)
{
	mm = unit_mm();
	at = map(PAGES);
}

static bez_region_t add(size_t page, size_t pages)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t id = 0;

	CHECK_EQ(bez_region_add(at + page * unit_page(), pages * unit_page(),
				&policy, &id), 0);
	CHECK(id);
	return id;
}

/* ---------------------------------------------------------------- policies */

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)dst, (void)len, (void)offset, (void)arg;
	return 0;
}

/* Change one thing of a good policy, and see what becomes of it. */
static struct bez_policy policy;
static struct bez_source source, list[BEZ_SOURCE_MAX_LIST + 1];

static void reset(void)
{
	size_t i;

	policy = (struct bez_policy)BEZ_POLICY_INIT;
	source = bez_source_zero();
	policy.source = &source;
	for (i = 0; i < COUNT_OF(list); i++)
		list[i] = bez_source_zero();
}

static void wants(int want, int line)
{
	bez_region_t id = 7;
	uint64_t before = bz_region_total();
	int r = bez_region_add(at, PAGES * unit_page(), &policy, &id);

	CHECKF(r == want, "line %d: %s, not %s", line, strerror(-r),
	       strerror(-want));
	CHECKF((id == 7) == (r != 0), "line %d: id %llx", line,
	       (unsigned long long)id);
	if (!r)
		CHECK_EQ(bez_region_remove(id), 0);
	CHECK_EQ(bz_region_total(), before);
	reset();
}
#define WANTS(r) wants(r, __LINE__)

static void policies(void)
{
	uint32_t i;

	begin();
	reset();
	WANTS(0);
	policy.size = 3;
	WANTS(-EINVAL);
	policy.size = 4;
	WANTS(0);
	policy.source = NULL;
	WANTS(0);
	for (i = 4; i < 32; i++) {
		policy.flags = 1u << i;
		WANTS(-EINVAL);
	}
	policy.flags = BEZ_POLICY_NO_RESTART;
	WANTS(0);
	policy.name = "0123456789012345678901234567890";
	WANTS(0);
	policy.name = "01234567890123456789012345678901";
	WANTS(-ENAMETOOLONG);
}

static void actions(void)
{
	static const struct {
		uint8_t actions[4];
		int want;
	} each[] = {
		{ { 0, 0, 0, 0 }, 0 },
		{ { 1, 0, 0, 0 }, 0 },
		{ { 1, 4, 0, 0 }, 0 },
		{ { 4, 0, 0, 0 }, 0 },
		{ { 4, 1, 0, 0 }, -EINVAL },	/* default is the last */
		{ { 1, 1, 0, 0 }, -EINVAL },
		{ { 4, 4, 0, 0 }, -EINVAL },
		{ { 0, 1, 0, 0 }, -EINVAL },	/* a gap */
		{ { 1, 0, 4, 0 }, -EINVAL },
		{ { 1, 0, 0, 4 }, -EINVAL },
		{ { 5, 0, 0, 0 }, -EINVAL },
		{ { 255, 0, 0, 0 }, -EINVAL },
		{ { 2, 0, 0, 0 }, 0 },
		{ { 3, 0, 0, 0 }, 0 },
		{ { 1, 2, 3, 4 }, 0 },
		{ { 1, 3, 4, 0 }, 0 },
		{ { 2, 2, 0, 0 }, -EINVAL },
		{ { 3, 3, 0, 0 }, -EINVAL },
	};
	size_t i;

	begin();
	reset();
	for (i = 0; i < COUNT_OF(each); i++) {
		memcpy(policy.actions, each[i].actions, 4);
		wants(each[i].want, (int)i);
	}
}

static void sources(void)
{
	size_t page = unit_page(), len = PAGES * page;
	char *copy = map(PAGES);
	int fd = memfd_create("source", MFD_CLOEXEC);
	uint32_t kind;

	CHECK(fd >= 0);
	begin();
	reset();
	for (kind = 8; kind < 600; kind++) {
		source.kind = kind;
		WANTS(-EINVAL);
	}
	source.kind = BEZ_SOURCE_NONE;
	WANTS(-EINVAL);
	source.flags = 1;
	WANTS(-EINVAL);
	source = bez_source_mirror(copy);
	WANTS(0);
	source = bez_source_mirror(NULL);
	WANTS(-EINVAL);
	source = bez_source_mirror(at);
	WANTS(-EINVAL);
	source = bez_source_mirror(at + len - 1);
	WANTS(-EINVAL);
	source = bez_source_mirror(at - len + 1);
	WANTS(-EINVAL);
	source = bez_source_mirror((void *)(UINTPTR_MAX - len + 2));
	WANTS(-EINVAL);
	source = bez_source_file(fd, 0);
	WANTS(0);
	source = bez_source_file(fd, page);
	source.flags = BEZ_SOURCE_EOF_ZERO;
	WANTS(0);
	source = bez_source_file(fd, 0);
	source.flags = 2;
	WANTS(-EINVAL);
	source = bez_source_file(-1, 0);
	WANTS(-EBADF);
	source = bez_source_file(fd + 100, 0);
	WANTS(-EBADF);
	source = bez_source_file(fd, UINT64_MAX - page + 1);
	WANTS(-EINVAL);
	source = bez_source_file(fd, INT64_MAX - page + 1);
	WANTS(-EINVAL);
	source = bez_source_callback(NULL, NULL);
	WANTS(-EINVAL);
	source = bez_source_callback(fill, NULL);
	WANTS(0);
	source = bez_source_deferred(NULL, NULL, 0);
	WANTS(-EINVAL);
	source = bez_source_deferred(fill, NULL, 0);
	WANTS(0);
}

static void lists(void)
{
	struct bz_source *next;
	uint32_t n;

	begin();
	reset();
	for (n = 1; n <= BEZ_SOURCE_MAX_LIST; n++) {
		source = bez_source_first_of(list, n);
		WANTS(0);
	}
	source = bez_source_first_of(list, n);
	WANTS(-EINVAL);
	source = bez_source_first_of(list, 0);
	WANTS(-EINVAL);
	source = bez_source_first_of(NULL, 1);
	WANTS(-EINVAL);
	source = bez_source_first_of(list, 2);
	source.flags = 1;
	WANTS(-EINVAL);
	source = bez_source_first_of(list, 2);
	list[1] = bez_source_first_of(list, 1);
	WANTS(-EINVAL);
	source = bez_source_first_of(list, 2);
	list[1] = bez_source_callback(NULL, NULL);
	WANTS(-EINVAL);
	/* what was taken from the pool went back, also on an error */
	next = bz_pool_get_list();
	bz_pool_put_list(next);
	for (n = 0; n < 8; n++) {
		source = bez_source_first_of(list, 4);
		list[3].flags = n % 2;
		WANTS(n % 2 ? -EINVAL : 0);
		CHECK(bz_pool_get_list() == next);
		bz_pool_put_list(next);
	}
}

/* What a policy becomes for the handler. */
static void copied(void)
{
	struct bez_region_info info = { .size = sizeof(info) };
	struct bz_hit hit;
	bez_region_t id;
	char name[] = "name";

	begin();
	reset();
	source = bez_source_first_of(list, 3);
	list[0] = bez_source_deferred(fill, at, 0);
	list[2] = bez_source_deferred(fill, at, 5);
	policy.name = name;
	policy.flags = BEZ_POLICY_NO_RESTART;
	CHECK_EQ(bez_region_add(at, PAGES * unit_page(), &policy, &id), 0);
	/* and nothing of it is needed any more */
	memset(&policy, 0xa5, sizeof(policy));
	memset(&source, 0xa5, sizeof(source));
	memset(list, 0xa5, sizeof(list));
	memset(name, 0xa5, sizeof(name));
	CHECK_EQ(bz_region_find((uint64_t)at, &hit), 0);
	CHECK_EQ(hit.id, id);
	CHECK_EQ(hit.sources, 3);
	CHECK_EQ(hit.source[0].kind, BEZ_SOURCE_DEFERRED);
	CHECK_EQ(hit.source[0].deadline_ns, 100000000);
	CHECK_EQ(hit.source[1].kind, BEZ_SOURCE_ZERO);
	CHECK_EQ(hit.source[2].deadline_ns, 5);
	CHECK_EQ(hit.max_repeats, 16);
	CHECK_EQ(hit.flags, BEZ_POLICY_NO_RESTART);
	CHECK(hit.actions[0] == BEZ_ACTION_REPLACE &&
	      hit.actions[1] == BEZ_ACTION_DEFAULT && !hit.actions[2]);
	CHECK(!strcmp(hit.name, "name"));
	CHECK_EQ(bz_region_find((uint64_t)at + PAGES * unit_page(), &hit),
		 -ENOENT);
	CHECK_EQ(bz_region_find((uint64_t)at - 1, &hit), -ENOENT);
	CHECK_EQ(bez_region_info(id, &info), 0);
	CHECK(info.addr == at && info.len == PAGES * unit_page());
	CHECK(!strcmp(info.name, "name"));
	info.size = 2;
	CHECK_EQ(bez_region_info(id, &info), -EINVAL);
	CHECK_EQ(bez_region_info(id, NULL), -EINVAL);
	CHECK_EQ(bez_region_info(id + 1, NULL), -EINVAL);
}

static void ranges(void)
{
	size_t page = unit_page();
	bez_region_t id, other;

	reset();
	CHECK_EQ(bez_region_add(at, page, &policy, &id), -ESRCH);
	CHECK_EQ(bez_region_remove(1), -ENOENT);
	begin();
	CHECK_EQ(bez_region_add(at, page, NULL, &id), -EINVAL);
	CHECK_EQ(bez_region_add(at, page, &policy, NULL), -EINVAL);
	CHECK_EQ(bez_region_add(NULL, page, &policy, &id), -EINVAL);
	CHECK_EQ(bez_region_add(at, 0, &policy, &id), -EINVAL);
	CHECK_EQ(bez_region_add(at + 1, page, &policy, &id), -EINVAL);
	CHECK_EQ(bez_region_add(at, page - 1, &policy, &id), -EINVAL);
	CHECK_EQ(bez_region_add(at, -page, &policy, &id), -EINVAL);
	CHECK_EQ(munmap(at + 5 * page, page), 0);
	CHECK_EQ(bez_region_add(at, PAGES * page, &policy, &id), -ENOMEM);
	id = add(2, 2);
	CHECK_EQ(bez_region_add(at + 3 * page, page, &policy, &other),
		 -EEXIST);
	CHECK_EQ(bez_region_at(at + 4 * page - 1, &other), 0);
	CHECK_EQ(other, id);
	CHECK_EQ(bez_region_at(at + 4 * page, &other), -ENOENT);
	CHECK_EQ(bez_region_at(at + 2 * page - 1, &other), -ENOENT);
	CHECK_EQ(bez_region_at(at, NULL), -EINVAL);
	CHECK(!bz_walk_any(mm));
	/* not from inside */
	unit_enter(mm);
	CHECK_EQ(bez_region_add(at, page, &policy, &id), -EDEADLK);
	CHECK_EQ(bez_region_remove(other), -EDEADLK);
	CHECK_EQ(bez_region_at(at + 2 * page, &other), 0);
}

/* No id is given out twice, and an old one names nothing. */
static void fresh_ids(void)
{
	bez_region_t last = add(0, 1), id;
	int i;

	for (i = 0; i < 3000; i++) {
		CHECK_EQ(bez_region_remove(last), 0);
		CHECK_EQ(bez_region_remove(last), -ENOENT);
		id = add(0, 1);
		CHECK(id != last);
		CHECK(!bz_region_by_id(last));
		last = id;
	}
	CHECK_EQ(bez_region_remove(last), 0);
	/* nor after a stop and a start */
	bz_region_reset();
	id = add(0, 1);
	CHECK(!bz_region_by_id(last));
	CHECK(id != last);
}

static void ids(void)
{
	begin();
	fresh_ids();
}

/* A place in the table has so many ids and no more: after the last one it is
 * left alone, also by the next start. */
static void last_ids(void)
{
	bez_region_t id[12];
	struct bz_region *r;
	size_t i, j;

	begin();
	id[0] = add(0, 1);
	r = bz_region_by_id(id[0]);
	CHECK_EQ(bez_region_remove(id[0]), 0);
	r->generation = UINT32_MAX - 1;
	for (i = 1; i < COUNT_OF(id); i++) {
		if (i == COUNT_OF(id) / 2)
			bz_region_reset();
		id[i] = add(0, 1);
		CHECK(bz_region_by_id(id[i]));
		/* two were left */
		CHECK_EQ((uint32_t)id[i] == (uint32_t)id[0], i <= 2);
		for (j = 0; j < i; j++) {
			CHECK(id[i] != id[j]);
			CHECK(!bz_region_by_id(id[j]));
		}
		CHECK_EQ(bez_region_remove(id[i]), 0);
	}
}

/* Stopped when one had nearly all its ids: that costs the others none. */
static void last_ids_unused(void)
{
	bez_region_t id, next;

	begin();
	id = add(0, 1);
	bz_region_by_id(id)->generation = UINT32_MAX - *(const uint32_t *)
							tap_data();
	bz_region_reset();
	next = add(0, 1);
	CHECK((uint32_t)next != (uint32_t)id);
	CHECK(next >> 32 && next >> 32 < 10);
	CHECK(bz_region_by_id(next));
	/* and it goes on from there */
	ids();
}

/* ------------------------------------------------------------------- grace */

static _Atomic int answer;		/* of the removal; 1: not yet */
static bez_region_t removed;

static void *remover(void *arg)
{
	(void)arg;
	atomic_store(&answer, bez_region_remove(removed));
	return NULL;
}

/* Removal waits for a mark that is older, not for one that is newer. */
static void grace(void)
{
	struct bz_walk *old, *young;
	struct bz_region *r;
	struct bz_hit hit;
	pthread_t t;

	begin();
	unit_patience(30);
	removed = add(3, 2);
	old = unit_enter(mm);
	CHECK(bz_region_mark(old));
	CHECK_EQ(bz_region_find((uint64_t)at + 3 * unit_page(), &hit), 0);
	r = bz_region_by_id(removed);
	atomic_store(&answer, 1);
	CHECK_EQ(pthread_create(&t, NULL, remover, NULL), 0);
	while (!atomic_load(&old->waiters))
		sched_yield();
	/* out of the table at once, and its record is still there */
	CHECK_EQ(bz_region_find((uint64_t)at + 3 * unit_page(), &hit), -ENOENT);
	CHECK(bz_region_by_id(removed) == r);
	CHECK_EQ(bz_region_total(), 1);
	young = bz_walk_enter(mm, BZ_WALK_ANYBODY, NULL, 0);
	CHECK(bz_region_mark(young));
	/* one that only passed through the slot's neighbourhood */
	CHECK_EQ(atomic_load(&answer), 1);
	bz_walk_unmark(old);
	pthread_join(t, NULL);
	CHECK_EQ(answer, 0);
	CHECK(young->mark);
	CHECK_EQ(bz_region_total(), 0);
	CHECK_EQ(old->waiters, 0);
}

/* Woken for another reason, it looks again. */
static void grace_again(void)
{
	struct bz_walk *old;
	pthread_t t;
	int i;

	begin();
	unit_patience(30);
	removed = add(3, 2);
	old = unit_enter(mm);
	bz_region_mark(old);
	atomic_store(&answer, 1);
	CHECK_EQ(pthread_create(&t, NULL, remover, NULL), 0);
	for (i = 0; i < 200; i++) {
		uint32_t gen;

		while (!atomic_load(&old->waiters))
			sched_yield();
		gen = atomic_load(&old->gen);
		bz_walk_unclaim(old, 1);
		while (atomic_load(&old->waiters) &&
		       atomic_load(&old->gen) == gen)
			bz_walk_unclaim(old, 1);
		CHECK_EQ(atomic_load(&answer), 1);
	}
	bz_walk_unmark(old);
	pthread_join(t, NULL);
	CHECK_EQ(answer, 0);
}

/* A reader that does not come back: ten seconds, then no, then again. */
static void forgotten(void)
{
	struct double_rule futex = { .nr = SYS_futex, .err = ETIMEDOUT };
	struct bez_region_info info = { .size = sizeof(info) };
	struct bz_walk *w;
	bez_region_t id;
	uint64_t start;

	begin();
	id = add(0, 4);
	/* the mark of another thread */
	w = bz_walk_enter(mm, (uint32_t)getppid(), NULL, 0);
	bz_region_mark(w);
	double_clock(500000000);
	double_rule(&futex);
	double_watch();
	start = bz_now_ns();
	CHECK_EQ(bez_region_remove(id), -EBUSY);
	CHECK(bz_now_ns() - start >= 10000000000u);
	CHECK(double_lies());
	double_reset();
	CHECK_EQ(bez_region_at(at, &id), -ENOENT);
	CHECK_EQ(bez_region_info(id, &info), -ENOENT);
	CHECK_EQ(bz_region_total(), 1);
	/* its place is free for another */
	CHECK(add(0, 4) != id);
	bz_walk_unmark(w);
	CHECK_EQ(bez_region_remove(id), 0);
	CHECK_EQ(bez_region_remove(id), -ENOENT);
	CHECK_EQ(bz_region_total(), 1);
}

/* One that died with its mark is buried, and the region goes. */
static void dead_reader(void)
{
	struct double_rule futex = { .nr = SYS_futex, .err = ETIMEDOUT };
	struct bz_walk *dead;
	bez_region_t id;

	begin();
	id = add(0, 4);
	dead = bz_walk_enter(mm, unit_dead(), NULL, 0);
	bz_region_mark(dead);
	double_clock(500000000);
	double_rule(&futex);
	double_watch();
	CHECK_EQ(bez_region_remove(id), 0);
	double_reset();
	CHECK(!dead->mark && !dead->owner && !dead->waiters);
	CHECK_EQ(bz_region_total(), 0);
}

static const uint32_t none_left = 0, some_left = 5;

static const struct tap_case cases[] = {
	{ .name = "policies", .run = policies },
	{ .name = "actions", .run = actions },
	{ .name = "sources", .run = sources },
	{ .name = "lists of sources", .run = lists },
	{ .name = "what the handler sees of it", .run = copied },
	{ .name = "ranges", .run = ranges },
	{ .name = "ids", .run = ids },
	{ .name = "the last ids", .run = last_ids },
	{ .name = "the last id is left", .run = last_ids_unused,
	  .data = &none_left },
	{ .name = "some ids are left", .run = last_ids_unused,
	  .data = &some_left },
	{ .name = "removal waits for older readers", .run = grace },
	{ .name = "removal is not misled", .run = grace_again },
	{ .name = "removal loses patience", .run = forgotten },
	{ .name = "removal and a dead reader", .run = dead_reader },
};
TAP_MAIN(cases)
