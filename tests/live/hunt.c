/* SPDX-License-Identifier: MIT */
/*
 * Hunts among pages that are lost, known or not, before or meanwhile; with others
 * who write, map and unmap. By each kernel that the processor has.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hunt/hunt.h"
#include "live.h"

#define PAGES	64
#define LOST	2			/* the page that is hunted */
#define TOMBSTONE 0x70b570eull

static size_t page, words;
static uint64_t distance;		/* of what is lost from the field, by xor: no
					 * word has its address */
static uint64_t *field;			/* PAGES */
static unsigned char *lost;
static struct bez_range range;
static struct bez_hunt_options o = BEZ_HUNT_OPTIONS_INIT;
static struct bez_hunt_result result = BEZ_HUNT_RESULT_INIT;

static const struct bz_hunt_kernel *next_kernel(void)
{
	static size_t i;

	while (bz_hunt_kernels[i] && !bz_hunt_kernels[i]->usable())
		i++;
	bz_hunt_use = bz_hunt_kernels[i];
	if (bz_hunt_use)
		i++;
	return bz_hunt_use;
}

/* A region of its own has lost its page, and is to be hunted. */
static void lose_target(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	unsigned char *at = live_pages(4);

	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, 4 * page, &policy, &region), 0);
	CHECK_EQ(bez_lost_add(at + LOST * page, page), 0);
	lost = at + LOST * page;
}

/* Shared memory is read page by page whether it is there or not. */
static uint64_t *shared_pages(void)
{
	void *at = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

static void begin(uint32_t flags)
{
	page = live_page();
	words = page / sizeof(*field);
	live_start(BEZ_START_NO_EARLY_KILL | flags);
	lose_target();
	field = (uint64_t *)live_pages(PAGES);
	memset(field, 0, PAGES * page);
	distance = (uint64_t)field ^ (uint64_t)lost;
	range = (struct bez_range){ field, PAGES * page };
	o.ranges = &range;
	o.range_count = 1;
	o.tombstone = TOMBSTONE;
}

static uint64_t target(void)
{
	return (uint64_t)field ^ distance;
}

/* The first and the last word of each page, and one between. */
static void plant(size_t i)
{
	uint64_t at = target();

	field[i * words] = at;
	field[i * words + 77 % words] = at + page / 2;
	field[(i + 1) * words - 1] = at + page - 1;
}

static void plant_all(void)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		plant(i);
}

static void hunts(uint64_t found, uint64_t skipped)
{
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECKF(result.found == found, "%s: %llu, not %llu", bz_hunt_use->name,
	       (unsigned long long)result.found, (unsigned long long)found);
	CHECK_EQ(result.bytes_skipped, skipped);
	CHECK_EQ(result.bytes, PAGES * page - skipped);
}

/* Nobody knows of it, and nothing can be done about it: met by the hunt itself. */
static void unknown(void)
{
	begin(0);
	if (tap_data()) {
		field = shared_pages();
		distance = (uint64_t)field ^ (uint64_t)lost;
		range.addr = field;
	}
	plant_all();
	live_poison(field + 5 * words);
	live_poison(field + 6 * words);
	live_poison(field + (PAGES - 1) * words);
	while (next_kernel()) {
		o.threads = 1;
		hunts(3 * (PAGES - 3), 3 * page);
		/* from within a page, to within one */
		range = (struct bez_range){
			(char *)field + 4 * page + 24, 3 * page };
		CHECK_EQ(bez_hunt(&o, &result), 0);
		CHECK_EQ(result.found, 2 + 1);
		CHECK_EQ(result.bytes_skipped, 2 * page);
		range = (struct bez_range){ field, PAGES * page };
	}
	CHECK(bez_outcome_count(BEZ_OUTCOME_COPY_SHORT) > 0);
}

/* The same by the kernel's copy: no signal. */
static void unknown_copied(void)
{
	uint64_t before;

	begin(0);
	plant_all();
	live_poison(field + 5 * words);
	live_poison(field + 6 * words);
	o.flags = BEZ_HUNT_REGIONS;
	while (next_kernel()) {
		before = bez_outcome_count(BEZ_OUTCOME_COPY_SHORT);
		CHECK_EQ(bez_hunt(&o, &result), 0);
		CHECK_EQ(result.found, 3 * (PAGES - 2));
		CHECK_EQ(result.bytes_skipped, 3 * page);
		CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_COPY_SHORT), before);
	}
}

/* A page that has a source is good again by the hunt, and hunted. */
static void replaced(void)
{
	struct bez_source mirror;
	unsigned char *copy;

	begin(0);
	plant_all();
	copy = live_pages(PAGES);
	memcpy(copy, field, PAGES * page);
	mirror = bez_source_mirror(copy);
	live_region(field, PAGES * page, &mirror, "field");
	while (next_kernel()) {
		live_poison(field + 9 * words);
		hunts(3 * PAGES, 0);
	}
	/* the kernel, which copies then, does not replace it */
	live_poison(field + 9 * words);
	o.flags = BEZ_HUNT_REGIONS;
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.found, 3 * PAGES);
	CHECK(bez_outcome_count(BEZ_OUTCOME_REPLACED) > 0);
}

/* What is in the inventory is not touched: there is no event of it. */
static void known(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	uint64_t before;
	bez_region_t region;

	begin(0);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(field, PAGES * page, &policy, &region), 0);
	plant_all();
	CHECK_EQ(bez_lost_add(field + 3 * words, 2 * page), 0);
	before = bez_outcome_count(BEZ_OUTCOME_COPY_SHORT);
	while (next_kernel())
		hunts(3 * (PAGES - 2), 2 * page);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_COPY_SHORT), before);
	CHECK_EQ(result.generation, bez_lost_generation());
}

/* ------------------------------------------------------------- other threads */

static atomic_int stop;
static atomic_uint rounds;

/* One page after the other is lost while they are looked at. */
static void *loser(void *arg)
{
	size_t i;

	(void)arg;
	for (i = 1; i < PAGES - 1; i += 2) {
		unsigned int was;

		live_poison(field + i * words);
		/* afterwards: no round may meet two that go */
		was = atomic_load(&rounds);
		while (atomic_load(&rounds) == was)
			continue;
	}
	atomic_store(&stop, 1);
	return NULL;
}

static void meanwhile(void)
{
	pthread_t thread;

	begin(0);
	CHECK(next_kernel());
	plant_all();
	live_mark_ready();
	o.threads = 2;
	CHECK_EQ(pthread_create(&thread, NULL, loser, NULL), 0);
	while (!atomic_load(&stop)) {
		CHECK_EQ(bez_hunt(&o, &result), 0);
		/* each page is there, or is not; the one that was looked at when
		 * it went, in part. A marker needs an empty page first: for
		 * a moment that one is absent. */
		CHECK(result.found <= 3 * (PAGES - result.bytes_skipped / page));
		CHECK(result.bytes_absent <= (live_is_real() ? 0 : page));
		CHECK(result.found >= 3 * (PAGES -
			(result.bytes_skipped + result.bytes_absent +
			 page - 1) / page));
		atomic_fetch_add(&rounds, 1);
	}
	pthread_join(thread, NULL);
	hunts(3 * (PAGES - (PAGES / 2 - 1)), (PAGES / 2 - 1) * page);
}

#define WRITERS	2
#define ITS	64u			/* words of each */
#define WRITES	400u

static atomic_int met;		/* a word was changed between look and swap */

struct writer {
	pthread_t thread;
	uint64_t *first;
	uint64_t lost_updates, struck;
};

static uint64_t number(size_t round, size_t i)
{
	return round << 20 | i << 8 | 1;
}

/* Numbers, which have to stay; then pointers to what is lost, each of which may
 * become a tombstone at any time, but nothing else. */
static void *write_on(void *arg)
{
	struct writer *w = arg;
	_Atomic uint64_t *word = (_Atomic uint64_t *)w->first;
	size_t round, i;

	for (round = 1; round <= WRITES || !atomic_load(&met); round++) {
		for (i = 0; i < ITS; i++)
			atomic_store(&word[i], target() + i);
		sched_yield();
		for (i = 0; i < ITS; i++) {
			uint64_t is = atomic_exchange(&word[i],
						      number(round, i));

			w->struck += is == TOMBSTONE;
			w->lost_updates += is != TOMBSTONE &&
					   is != target() + i;
		}
		sched_yield();
		for (i = 0; i < ITS; i++)
			w->lost_updates += atomic_load(&word[i]) !=
					   number(round, i);
	}
	atomic_fetch_add(&stop, 1);
	return NULL;
}

/* Time for others between the look at a word and the swap of the next. */
static int slowly(const struct bez_hunt_found *found, void *arg)
{
	(void)found;
	(void)arg;
	sched_yield();
	return 0;
}

static void writers(void)
{
	uint64_t told = 0, changed = 0;
	struct writer w[WRITERS] = { { .first = NULL } };
	unsigned int i;

	begin(0);
	CHECK(next_kernel());
	range.len = WRITERS * ITS * sizeof(*field);
	o.flags = BEZ_HUNT_REPLACE;
	o.fn = slowly;
	for (i = 0; i < WRITERS; i++) {
		w[i].first = field + i * ITS;
		CHECK_EQ(pthread_create(&w[i].thread, NULL, write_on, &w[i]),
			 0);
	}
	while (atomic_load(&stop) < WRITERS) {
		CHECK_EQ(bez_hunt(&o, &result), 0);
		CHECK_EQ(result.found, result.replaced + result.changed);
		told += result.replaced;
		changed += result.changed;
		if (changed)
			atomic_store(&met, 1);
	}
	for (i = 0; i < WRITERS; i++) {
		pthread_join(w[i].thread, NULL);
		CHECK_EQ(w[i].lost_updates, 0);
	}
	CHECK(changed > 0);
	/* what was struck and not seen so by its writer was written over */
	CHECK(w[0].struck + w[1].struck > 0);
	CHECK(w[0].struck + w[1].struck <= told);
}

/* Memory with pointers in it, for a moment. */
static void *comes_and_goes(void *arg)
{
	size_t len = 8 * page, i;

	(void)arg;
	while (!atomic_load(&stop)) {
		uint64_t *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		for (i = 0; i < len / sizeof(*at); i += 5)
			at[i] = target() + i;
		if (atomic_fetch_add(&rounds, 1) & 1)
			mprotect(at, len, PROT_NONE);
		munmap(at, len);
	}
	return NULL;
}

/* The first that is found in memory which goes: it has gone when the others that
 * were copied with it are replaced. */
static int until_gone(const struct bez_hunt_found *found, void *arg)
{
	int *waited = arg;
	unsigned int was = atomic_load(&rounds);

	if (*waited || (uint64_t)found->at - (uint64_t)field < PAGES * page ||
	    !found->at)
		return 0;
	*waited = 1;
	while (atomic_load(&rounds) - was < 4)
		sched_yield();
	return 0;
}

static size_t struck(void)
{
	size_t i, n = 0;

	for (i = 0; i < PAGES * words; i++)
		n += field[i] == TOMBSTONE;
	return n;
}

static void all_mappings(uint32_t flags)
{
	pthread_t thread[2];
	uint64_t gone = 0;
	unsigned int i;
	int waited;

	begin(BEZ_START_SEGV_DOOR);
	CHECK(next_kernel());
	o.range_count = 0;
	o.flags = BEZ_HUNT_MAPPINGS | flags;
	o.fn = until_gone;
	o.arg = &waited;
	for (i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, comes_and_goes,
					NULL), 0);
	while (atomic_load(&rounds) < 20)
		sched_yield();
	for (i = 0; i < 60; i++) {
		plant_all();
		waited = 0;
		CHECK_EQ(bez_hunt(&o, &result), 0);
		CHECK(result.found >= 3 * PAGES);
		CHECK_EQ(struck(), flags ? 3 * PAGES : 0);
		gone += result.gone;
		o.threads = 1 + i % 3;
	}
	atomic_store(&stop, 1);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	CHECK(!flags || gone > 0);
}

/* ------------------------------------------------------------------ on_lost */

static atomic_int done;
static struct bez_hunt_result seen_by_worker = BEZ_HUNT_RESULT_INIT;

static void on_lost(const struct bez_lost *l, void *arg)
{
	struct bez_range extent = { l->addr, l->width };
	struct bez_hunt_options mine = o;

	(void)arg;
	mine.extents = &extent;
	mine.extent_count = 1;
	mine.flags = BEZ_HUNT_REGIONS | BEZ_HUNT_REPLACE;
	CHECK_EQ(bez_hunt(&mine, &seen_by_worker), 0);
	atomic_store(&done, 1);
}

static void from_on_lost(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	size_t i;

	page = live_page();
	words = page / sizeof(*field);
	live_start(BEZ_START_NO_EARLY_KILL);
	field = (uint64_t *)live_pages(PAGES);
	memset(field, 0, PAGES * page);
	o.tombstone = TOMBSTONE;
	lost = (unsigned char *)field + 7 * page;
	distance = (uint64_t)field ^ (uint64_t)lost;
	plant_all();
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.on_lost = on_lost;
	CHECK_EQ(bez_region_add(field, PAGES * page, &policy, &region), 0);
	live_poison(lost);
	BEZ_TRY {
		live_read(lost + 5);
	} BEZ_CATCH(l) {
		CHECK(l->addr == lost);
	}
	while (!atomic_load(&done))
		sched_yield();
	CHECK_EQ(seen_by_worker.found, 3 * (PAGES - 1));
	CHECK_EQ(seen_by_worker.replaced, 3 * (PAGES - 1));
	CHECK_EQ(seen_by_worker.bytes_skipped, page);
	for (i = 0; i < PAGES; i++)
		CHECK(i == 7 || field[i * words] == TOMBSTONE);
}

static void mappings_reported(void)
{
	all_mappings(0);
}

static void mappings_replaced(void)
{
	all_mappings(BEZ_HUNT_REPLACE);
}

static const struct tap_case cases[] = {
	{ .name = "lost pages that nobody knows of", .run = unknown },
	{ .name = "lost pages of shared memory", .run = unknown,
	  .data = shared_pages },
	{ .name = "the same, copied by the kernel", .run = unknown_copied },
	{ .name = "a page that comes back", .run = replaced },
	{ .name = "what is known is not touched", .run = known },
	{ .name = "pages are lost meanwhile", .run = meanwhile },
	{ .name = "writers lose no update", .run = writers },
	{ .name = "all mappings, others come and go", .run = mappings_reported },
	{ .name = "the same, replaced", .run = mappings_replaced },
	{ .name = "from on_lost", .run = from_on_lost },
};

TAP_MAIN(cases)
