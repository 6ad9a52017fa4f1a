/* SPDX-License-Identifier: MIT */
/*
 * All actions at once, for long: eight threads lose and touch pages of every kind of
 * memory, under policies and with sources drawn from a seed; half of them in
 * scopes, the others with a former action behind them. Owners clear what is
 * lost, regions come and go, children are made, of which every second loses what it
 * cannot do without, and comes to its orderly end. Each byte that is read has to be
 * the right one; a page that is lost is read by nobody, least of all as zeros.
 * Afterwards the counts add up, and nothing is left over.
 *
 *	live_storm_all [CASE] [--seed N] [--faults N]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "huge.h"
#include "inside.h"
#include "live.h"
#include "replace_see.h"
#include "storm_end.h"
#include "storm_touch.h"

#define THREADS		8
#define OTHERS		3		/* owner, comes and goes, forks */
#define AREAS		15		/* the last three are huge */
#define PASSING		4
#define OUTCOMES	160
#define STACK		(256 << 10)
#define MORE_KB		1024		/* storm.c has why */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED	1
#else
#define SANITIZED	0
#endif

struct kind {
	uint32_t flags;			/* BEZ_START_* */
	int huge;
	size_t part;			/* of the faults: one in so many */
};

static size_t faults_wanted = 100000, areas;
static uint64_t seed;
static const struct kind *kind;
static struct area area[AREAS];
static _Atomic int stop;
static _Atomic size_t lost_last;	/* area * AREA_PAGES + page */

/* -------------------------------------------------------------------- threads */

static size_t which(uint64_t draw)
{
	size_t i = draw % areas;

	/* a huge page is 512 others' work */
	return area_is_huge(&area[i]) && draw >> 32 & 15 ? (i + 1) % areas : i;
}

static void *loses(void *arg)
{
	size_t me = (size_t)arg;
	uint64_t state = seed + me;
	int ends[2];

	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(pipe(ends), 0);
	while (!stop) {
		struct area *a = &area[which(area_random(&state))];
		size_t page = area_random(&state) % a->pages;

		if (area_take(a, page)) {
			area_lose(a, page);
			lost_last = (size_t)(a - area) * AREA_PAGES + page;
			area_give(a, page);
		}
		touch_it(a, page, me % 2, area_random(&state), ends);
		/* any other; or together with all the rest */
		if (area_random(&state) % 2) {
			size_t both = lost_last;

			a = &area[both / AREA_PAGES];
			page = both % AREA_PAGES;
		} else {
			a = &area[which(area_random(&state))];
			page = area_random(&state) % a->pages;
		}
		touch_it(a, page, me % 2, area_random(&state), ends);
	}
	close(ends[0]);
	close(ends[1]);
	return NULL;
}

static void clear(struct area *a, size_t page, size_t count)
{
	int r;

	r = area_clear(a, page, count);
	touched.cleared += !r;
	touched.refused += r != 0;
	CHECKF(!r || r == -EAGAIN || (r == -ENOMEM && area_is_huge(a)),
	       "clear: %s, kind %d", strerror(-r), a->kind);
}

/* One page, or all of an area. */
static void *owns(void *arg)
{
	uint64_t state = seed + (size_t)arg;

	CHECK_EQ(bez_thread_attach(), 0);
	while (!stop) {
		struct area *a = &area[which(area_random(&state))];
		size_t page = area_random(&state) % a->pages, count = 1, i;

		if (!bez_lost_in(a->at, a->len)) {
			sched_yield();
			continue;
		}
		if (area_random(&state) % 8 == 0) {
			page = 0;
			count = a->pages;
		}
		for (i = 0; i < count; i++)
			while (!area_take(a, page + i))
				sched_yield();
		if (bez_lost_in(a->at + page * a->width, count * a->width))
			clear(a, page, count);
		for (i = 0; i < count; i++)
			area_give(a, page + i);
	}
	return NULL;
}

/* On the worker. What was lost may have been cleared while this waits for its
 * turn to look; nobody says more of it than where it is. */
static void on_lost(const struct bez_lost *lost, void *arg)
{
	const struct area *a = arg;

	CHECK_EQ(lost->region, a->region);
	CHECK((unsigned char *)lost->addr >= a->at &&
	      (unsigned char *)lost->addr < a->at + a->len);
	CHECK_EQ(lost->width, a->width);
	touched.told++;
}

/* What is lost in a region goes with it, and its memory is anybody's again. */
static void *comes_and_goes(void *arg)
{
	uint64_t state = seed + (size_t)arg;
	int ends[2];

	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(pipe(ends), 0);
	while (!stop) {
		struct area a;
		size_t i;

		area_make(&a, (enum area_kind)(area_random(&state) % 2));
		area_add(&a, area_random(&state) % AREA_POLICIES,
			 kind->flags & BEZ_START_NO_WORKER ? NULL : on_lost);
		for (i = 0; i < PASSING; i++) {
			area_lose(&a, i);
			touch_it(&a, i, i % 2, area_random(&state), ends);
			touch_it(&a, i, i % 2, area_random(&state), ends);
		}
		CHECK_EQ(bez_region_remove(a.region), 0);
		CHECK_EQ(bez_lost_in(a.at, a.len), 0);
		area_free(&a);
		touched.passed++;
	}
	close(ends[0]);
	close(ends[1]);
	return NULL;
}

/* What is lost here is lost there; what its parent's threads were at is left
 * alone. Shared memory has one user, and huge pages are the parent's. */
static void child(void)
{
	int cleared = 0;
	size_t i, p;

	tap_apart();
	touch_in_child = 1;
	for (i = 0; i < areas; i++) {
		struct area *a = &area[i];

		if (a->kind > AREA_FILE)
			continue;
		for (p = 0; p < a->pages; p++) {
			int was_lost = bez_lost_in(a->at + p * a->width, 1);

			if (a->page[p].seq & 1)
				continue;
			touch_in_scope(a, p * a->width + 5 * p, 0);
			if (!was_lost)
				continue;
			CHECK(bez_lost_in(a->at + p * a->width, 1));
			if (cleared++ > 1)
				continue;
			CHECK_EQ(area_clear(a, p, 1), 0);
			touch_in_scope(a, p * a->width + 5 * p, 0);
			CHECK(!bez_lost_in(a->at + p * a->width, 1));
		}
	}
	_exit(0);
}

static void *forks(void *arg)
{
	uint64_t state = seed + (size_t)arg;

	CHECK_EQ(bez_thread_attach(), 0);
	while (!stop) {
		int status = 0, ends = touched.children % 2;
		uint64_t draw = area_random(&state);
		pid_t pid = fork();

		if (!pid && ends)
			storm_end(draw);
		if (!pid)
			child();
		CHECK(pid > 0);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		if (ends)
			storm_end_check(status);
		else
			CHECKF(WIFEXITED(status) && !WEXITSTATUS(status),
			       "a child ended with %#x", status);
		touched.children++;
	}
	return NULL;
}

/* ------------------------------------------------------------- the whole storm */

static struct bez_status status(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

static void run_threads(uint64_t wanted)
{
	static void *(*const other[OTHERS])(void *) = {
		owns, comes_and_goes, forks,
	};
	uint64_t end = status().faults + wanted;
	pthread_t thread[THREADS + OTHERS];
	pthread_attr_t attr;
	size_t i;

	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attr, STACK), 0);
	stop = 0;
	lost_last = 0;
	for (i = 0; i < THREADS + OTHERS; i++)
		CHECK_EQ(pthread_create(&thread[i], &attr, i < THREADS ? loses :
					other[i - THREADS], (void *)i), 0);
	while (status().faults < end)
		usleep(1000);
	stop = 1;
	for (i = 0; i < THREADS + OTHERS; i++)
		pthread_join(thread[i], NULL);
	pthread_attr_destroy(&attr);
}

/* Everything that is lost is cleared, and then it is all there again; what nobody has
 * touched yet takes as many tries as the source fails, and is cleared for each
 * where it is degraded. */
static void all_back(void)
{
	size_t i, p;

	for (i = 0; i < areas; i++) {
		struct area *a = &area[i];

		if (area_degrades(a))
			clear(a, 0, a->pages);
		for (p = 0; p < a->len; p += 4096) {
			unsigned char byte;

			while (!touch_plainly(a, p, 0, &byte))
				if (area_degrades(a))
					clear(a, p / a->width, 1);
		}
		CHECK(!memcmp(a->at, a->copy, a->len));
	}
}

/* They are kept over a stop. */
static struct totals {
	uint64_t outcome[OUTCOMES], faults, moves;
} totals_before;

static struct totals totals(void)
{
	struct totals t = { .faults = status().faults,
			    .moves = bez_lost_generation() >> 32 };
	uint32_t i;

	for (i = 0; i < OUTCOMES; i++)
		t.outcome[i] = bez_outcome_count((enum bez_outcome)i);
	return t;
}

static uint64_t count(enum bez_outcome outcome)
{
	return bez_outcome_count(outcome) - totals_before.outcome[outcome];
}

/* An outcome below 32 or from 128 on is the end of a fault, or of what was cleared;
 * the others say why an action did not do. */
static uint64_t ends_counted(void)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < OUTCOMES; i++)
		if (i < 32 || i >= 128)
			sum += count((enum bez_outcome)i);
	return sum;
}

static void counts_add_up(const struct bez_status *s)
{
	uint64_t moves = totals().moves - totals_before.moves;
	uint64_t faults = s->faults - totals_before.faults;
	uint64_t ends = ends_counted();

	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
	CHECK_EQ(s->lost, 0);
	/* what came went */
	CHECK_EQ(moves % 2, 0);
	CHECK(touched.told <= moves / 2);
	CHECK_EQ(count(BEZ_OUTCOME_UNWOUND), touched.caught);
	CHECK_EQ(count(BEZ_OUTCOME_DEFAULT), touched.former);
	CHECK(count(BEZ_OUTCOME_COPY_SHORT) <= touched.copies + moves);
	CHECK_EQ(s->foreign, 0);
	CHECK_EQ(count(BEZ_OUTCOME_FOREIGN), 0);
	CHECK_EQ(count(BEZ_OUTCOME_NESTED), 0);
	CHECK_EQ(count(BEZ_OUTCOME_OWN_CLAIM), 0);
	CHECKF(ends >= faults && ends <= faults + moves / 2 + touched.refused,
	       "%llu faults, %llu ends, %llu came and went",
	       (unsigned long long)faults, (unsigned long long)ends,
	       (unsigned long long)moves);
}

/* See see_start(); and no hook of a child that ends is late, as its worker is one
 * of many that run. */
static void begin(uint32_t flags)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = flags | BEZ_START_NO_EARLY_KILL;
	options.shutdown_ns = 120000000000u;
	CHECK_EQ(bez_start(&options), 0);
}

static struct bez_status whole(uint64_t wanted)
{
	static const enum area_kind kinds[] = { AREA_ANON, AREA_FILE,
						AREA_SHARED },
		huge[] = { AREA_HUGE, AREA_HUGE_FILE, AREA_HUGE_SHARED };
	uint64_t state = seed;
	struct bez_status s;
	size_t i;

	memset(&touched, 0, sizeof(touched));
	atomic_store(&area_draws, seed);
	begin(kind->flags);
	totals_before = totals();
	areas = kind->huge ? AREAS : AREAS - 3;
	for (i = 0; i < areas; i++) {
		enum area_kind k = kinds[area_random(&state) % 3];

		/* without a userfaultfd there is no fence */
		if (k == AREA_SHARED && kind->flags & BEZ_START_NO_UFFD)
			k = AREA_ANON;
		if (i >= AREAS - 3)
			k = huge[i - (AREAS - 3)];
		area_make(&area[i], k);
		area_add(&area[i], (enum area_policy)(i < AREA_POLICIES ? i :
			 area_random(&state) % AREA_POLICIES), on_lost);
	}
	run_threads(wanted);
	all_back();
	s = status();
	CHECK_EQ(inside_slots_taken(), 0);
	CHECK_EQ(s.regions, areas);
	for (i = 0; i < areas; i++)
		CHECK_EQ(bez_region_remove(area[i].region), 0);
	counts_add_up(&s);
	CHECK_EQ(bez_stop(), 0);
	for (i = 0; i < areas; i++)
		area_free(&area[i]);
	return s;
}

struct holds {
	size_t maps, fds;
	unsigned long size, resident;
};

static struct holds holds(void)
{
	struct holds h = { .fds = see_fds() };

	h.maps = see_maps();
	h.size = see_kb("VmSize:");
	h.resident = see_kb("VmRSS:");
	return h;
}

static void all_actions(void)
{
	struct holds before, after;
	struct bez_status s;
	uint64_t wanted;
	double start;

	kind = tap_data();
	if (kind->huge)
		huge_need(16);
	wanted = faults_wanted / (kind->part * (SANITIZED ? 5 : 1));
	touch_install();
	storm_end_prepare();
	tap_diag("seed %llu (--seed)", (unsigned long long)seed);
	live_mark_ready();
	/* so that the libc's stacks and arenas are there, storm.c */
	whole(wanted / 20 + 1);
	before = holds();
	start = see_seconds();
	s = whole(wanted);
	after = holds();
	tap_diag("%llu faults: %llu replaced, %llu jumps, %llu to the former "
		 "action, %llu copies short; %llu cleared, %llu told; %llu "
		 "regions came and went, %llu children; %.1f s",
		 (unsigned long long)s.faults, (unsigned long long)s.replaced,
		 (unsigned long long)touched.caught, (unsigned long long)touched.former,
		 (unsigned long long)touched.copies, (unsigned long long)touched.cleared,
		 (unsigned long long)touched.told, (unsigned long long)touched.passed,
		 (unsigned long long)touched.children, see_seconds() - start);
	tap_diag("mappings %zu then %zu, descriptors %zu then %zu, VmSize %lu "
		 "then %lu kB, VmRSS %lu then %lu kB", before.maps, after.maps,
		 before.fds, after.fds, before.size, after.size,
		 before.resident, after.resident);
	CHECK(touched.caught && touched.former && touched.copies);
	CHECK(touched.cleared && touched.told && touched.passed);
	/* a slow machine may come to one */
	CHECK(touched.children > (faults_wanted >= 100000));
	CHECK_EQ(after.fds, before.fds);
	if (SANITIZED)
		return;			/* it has mappings of its own */
	CHECK(after.maps <= before.maps);
	CHECK(after.size <= before.size);
	CHECK(after.resident <= before.resident + MORE_KB);
}

static struct tap_case cases[] = {
	{ .name = "userfaultfd", .run = all_actions, .timeout_s = 150,
	  .data = &(const struct kind){ 0, 0, 1 } },
	{ .name = "mremap", .run = all_actions, .timeout_s = 150,
	  .data = &(const struct kind){ BEZ_START_NO_UFFD, 0, 5 } },
	{ .name = "huge pages, too", .run = all_actions, .timeout_s = 150,
	  .data = &(const struct kind){ 0, 1, 10 } },
};

static int usage(void)
{
	return !!write(2, "usage: live_storm_all [CASE] [--seed N] [--faults N]\n",
		       53) * 2;
}

int main(int argc, char **argv)
{
	char *args[3] = { argv[0], NULL, NULL };
	int i, has_case = 0;
	size_t c;

	seed = (uint64_t)time(NULL);
	for (i = 1; i < argc; i++) {
		if (argv[i][0] != '-' && !has_case) {
			args[1] = argv[i];
			has_case = 1;
		} else if (i + 1 < argc && !strcmp(argv[i], "--seed")) {
			seed = strtoull(argv[++i], NULL, 10);
		} else if (i + 1 < argc && !strcmp(argv[i], "--faults")) {
			faults_wanted = strtoul(argv[++i], NULL, 10);
		} else {
			return usage();
		}
	}
	if (!faults_wanted)
		return usage();
	for (c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
		cases[c].timeout_s += (unsigned int)(faults_wanted / 500);
	return tap_main(cases, sizeof(cases) / sizeof(cases[0]), 1 + has_case,
			args);
}
