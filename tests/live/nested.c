/* SPDX-License-Identifier: MIT */
/*
 * Trouble inside trouble: what repairs a page is lost, too, or needs the page,
 * or does not come back.
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
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES		4
#define PATIENCE	300000000ull	/* claim_wait_ns of these cases */

static size_t page, len;

static void begin(uint32_t flags)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	page = live_page();
	len = PAGES * page;
	see_install();
	options.flags = flags | BEZ_START_NO_EARLY_KILL;
	options.claim_wait_ns = PATIENCE;
	CHECK_EQ(bez_start(&options), 0);
}

/* A file with live_fill()'s bytes. */
static struct bez_source file(void)
{
	char name[] = "/tmp/bezoar-nested-XXXXXX";
	unsigned char *bytes = live_pages(PAGES);
	int fd = mkstemp(name);

	CHECK(fd >= 0);
	unlink(name);
	CHECK_EQ(write(fd, bytes, PAGES * live_page()), PAGES * live_page());
	munmap(bytes, PAGES * live_page());
	return bez_source_file(fd, 0);
}

static unsigned char *region(const struct bez_source *first,
			     const struct bez_source *second)
{
	unsigned char *at = live_pages(PAGES);
	struct bez_source list[2], from;

	list[0] = *first;
	if (second)
		list[1] = *second;
	from = bez_source_first_of(list, second ? 2 : 1);
	live_region(at, len, &from, "nested");
	return at;
}

static void good(const unsigned char *at)
{
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

/* ------------------------------------------------------ the source is lost */

static void mirror_comes_back_too(void)
{
	struct bez_source from, mirror;
	unsigned char *a, *b;

	begin(*(const uint32_t *)tap_data());
	from = file();
	b = region(&from, NULL);
	mirror = bez_source_mirror(b);
	a = region(&mirror, NULL);
	live_poison(a + page);
	live_poison(b + page);
	good(a);
	CHECK_EQ(see_event(a + page).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(see_event(a + page).depth, 1);
	CHECK_EQ(see_event(b + page).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(see_event(b + page).depth, 2);
	good(b);
}

static void lost_mirror_next_source(void)
{
	struct bez_source from, mirror;
	unsigned char *a, *b;

	begin(0);
	from = file();
	b = live_pages(PAGES);
	mirror = bez_source_mirror(b);
	a = region(&mirror, &from);
	live_poison(a + page);
	live_poison(b + page);
	good(a);
	CHECK_EQ(see_event(a + page).source, BEZ_SOURCE_FILE);
}

static void lost_mirror_alone(void)
{
	struct bez_source mirror;
	unsigned char *a, *b;

	begin(0);
	b = live_pages(PAGES);
	mirror = bez_source_mirror(b);
	a = region(&mirror, NULL);
	live_poison(a + page);
	live_poison(b + page);
	see_refused(a + page, BEZ_OUTCOME_SOURCE_LOST);
	CHECK_EQ(see_wrong(a, 0, page, 0), 0);
	CHECK_EQ(see_wrong(a, 2 * page, len, 0), 0);
}

static void lost_mirror_dies(void)
{
	struct bez_source mirror;
	unsigned char *a, *b = live_pages(PAGES);

	page = live_page();
	len = PAGES * page;
	see_start(0);
	mirror = bez_source_mirror(b);
	a = region(&mirror, NULL);
	live_poison(a);
	live_poison(b);
	live_read(a);
}

static unsigned char *with_digests(uint64_t *digests)
{
	unsigned char *a = live_pages(PAGES), *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t id;
	size_t i;

	for (i = 0; i < PAGES; i++)
		digests[i] = bez_digest(a + i * page, page);
	policy.source = &from;
	policy.digests = digests;
	CHECK_EQ(bez_region_add(a, len, &policy, &id), 0);
	return a;
}

static void lost_digests(void)
{
	unsigned char *a, *table;

	begin(0);
	table = live_pages(1);
	a = with_digests((uint64_t *)table);
	live_poison(a);
	live_poison(table);
	see_refused(a, BEZ_OUTCOME_SOURCE_LOST);
}

static void lost_digests_come_back(void)
{
	unsigned char *a, *table, *spare;
	struct bez_source from;

	begin(0);
	table = live_pages(1);
	spare = live_pages(1);
	a = with_digests((uint64_t *)table);
	memcpy(spare, table, page);
	from = bez_source_mirror(spare);
	live_region(table, page, &from, "digests");
	live_poison(a);
	live_poison(table);
	good(a);
	CHECK(!memcmp(table, spare, page));
}

/* ------------------------------------------------------------ long chains */

/* Each is the mirror of the one before; the last has a file. */
static unsigned char **chain(size_t count, const struct bez_source *spare)
{
	unsigned char **at = calloc(count, sizeof(*at));
	struct bez_source from = file();
	size_t i;

	CHECK(at);
	for (i = count; i--;) {
		at[i] = region(&from, i ? NULL : spare);
		from = bez_source_mirror(at[i]);
	}
	for (i = 0; i < count; i++)
		live_poison(at[i] + page);
	return at;
}

static void four_deep(void)
{
	unsigned char **at;
	size_t i;

	begin(*(const uint32_t *)tap_data());
	at = chain(4, NULL);
	for (i = 0; i < 4; i++) {
		good(at[i]);
		CHECK_EQ(see_event(at[i] + page).depth, i + 1);
	}
}

/* Too deep for one fault; from the other end everything comes back. */
static void seven_deep(void)
{
	struct bez_event event;
	bez_region_t region_of;
	unsigned char **at;
	size_t i;

	begin(*(const uint32_t *)tap_data());
	at = chain(7, NULL);
	see_refused(at[0] + page, BEZ_OUTCOME_SOURCE_LOST);
	CHECK(bez_outcome_count(BEZ_OUTCOME_NESTED));
	/* the one that was too deep has its name, too */
	event = see_event(at[4] + page);
	CHECK_EQ(event.outcome, BEZ_OUTCOME_NESTED);
	CHECK_EQ(bez_region_at(at[4], &region_of), 0);
	CHECK_EQ(event.region, region_of);
	CHECK(event.name[0]);
	for (i = 7; i--;)
		good(at[i]);
}

static void seven_deep_spare(void)
{
	struct bez_source spare = file();
	unsigned char **at;

	begin(0);
	at = chain(7, &spare);
	good(at[0]);
	CHECK_EQ(see_event(at[0] + page).source, BEZ_SOURCE_FILE);
	good(at[6]);
}

static void seven_deep_dies(void)
{
	page = live_page();
	len = PAGES * page;
	see_start(0);
	live_read(chain(7, NULL)[0] + page);
}

/* ---------------------------------------------------------------- in a ring */

struct ring {
	unsigned char *a, *b;
	pthread_barrier_t both;
	_Atomic unsigned int came_back;
};

static void make_ring(struct ring *r, const struct bez_source *spare)
{
	struct bez_source list[2], from;

	begin(0);
	r->a = live_pages(PAGES);
	from = bez_source_mirror(r->a);
	r->b = region(&from, spare);
	list[0] = bez_source_mirror(r->b);
	if (spare)
		list[1] = *spare;
	from = bez_source_first_of(list, spare ? 2 : 1);
	live_region(r->a, len, &from, "ring");
	live_poison(r->a);
	live_poison(r->b);
}

static void ring_alone(void)
{
	struct ring r;

	make_ring(&r, NULL);
	see_refused(r.a, BEZ_OUTCOME_SOURCE_LOST);
	see_refused(r.b, BEZ_OUTCOME_SOURCE_LOST);
	CHECK_EQ(see_wrong(r.a, page, len, 0), 0);
	CHECK_EQ(see_wrong(r.b, page, len, 0), 0);
}

static void ring_with_spare(void)
{
	struct bez_source spare = file();
	struct ring r;

	make_ring(&r, &spare);
	good(r.a);
	good(r.b);
}

static void *touches_b(void *arg)
{
	struct ring *r = arg;
	unsigned char byte;

	CHECK_EQ(bez_thread_attach(), 0);
	pthread_barrier_wait(&r->both);
	if (!see_lost(r->b, &byte)) {
		CHECK_EQ(byte, live_byte(0, 0));
		r->came_back++;
	}
	return NULL;
}

/* Each thread repairs one page and waits for the other's. It ends by the
 * deadlines of the claims, or sooner, and never with wrong bytes. */
static void ring_of_two(const struct bez_source *spare)
{
	unsigned int round;
	struct ring r;

	for (round = 0; round < 4; round++) {
		pthread_t thread;
		unsigned char byte;
		double start;

		r.came_back = 0;
		if (!round) {
			make_ring(&r, spare);
		} else {
			live_poison(r.a);
			live_poison(r.b);
		}
		pthread_barrier_init(&r.both, NULL, 2);
		CHECK_EQ(pthread_create(&thread, NULL, touches_b, &r), 0);
		pthread_barrier_wait(&r.both);
		start = see_seconds();
		if (!see_lost(r.a, &byte)) {
			CHECK_EQ(byte, live_byte(0, 0));
			r.came_back++;
		}
		pthread_join(thread, NULL);
		CHECK(see_seconds() - start < 100 * PATIENCE / 1e9);
		CHECK_EQ(r.came_back, spare ? 2 : 0);
		if (!spare)
			break;		/* they stay lost */
	}
	if (spare) {
		good(r.a);
		good(r.b);
	}
}

static void ring_two_threads(void)
{
	ring_of_two(NULL);
}

static void ring_two_threads_spare(void)
{
	struct bez_source spare = file();

	ring_of_two(&spare);
}

/* --------------------------------------------------------- the loop guard */

static unsigned char *guarded(uint32_t max_repeats, size_t pages)
{
	unsigned char *at = live_pages(pages), *copy = live_pages(pages);
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t id;

	begin(0);
	from = bez_source_mirror(copy);
	policy.source = &from;
	policy.max_repeats = max_repeats;
	CHECK_EQ(bez_region_add(at, pages * page, &policy, &id), 0);
	return at;
}

static void looping(void)
{
	unsigned char *at = guarded(3, PAGES), byte;
	struct timespec pause = { 0, 250000000 };
	unsigned int round, replaced;

	/* the clock that counts has steps: a slow machine may miss one */
	for (replaced = 0; replaced < 1000; replaced++) {
		live_poison(at);
		if (see_lost(at, &byte))
			break;
		CHECK_EQ(byte, live_byte(0, 0));
	}
	CHECKF(replaced >= 3 && replaced < 1000, "replaced %u times", replaced);
	CHECK_EQ(see_event(at).why, BEZ_OUTCOME_LOOPING);
	/* the others are none the worse for it */
	live_poison(at + page);
	CHECK_EQ(see_wrong(at, page, len, 0), 0);
	/* it is the time between that counts, so let some pass */
	for (round = 0; round < 5; round++) {
		nanosleep(&pause, NULL);
		if (round)
			live_poison(at);
		CHECK(!see_lost(at, &byte));
		CHECK_EQ(byte, live_byte(0, 0));
	}
}

static void looping_dies(void)
{
	unsigned char *at = live_pages(1), *copy = live_pages(1);
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from = bez_source_mirror(copy);
	bez_region_t id;
	unsigned int i;

	see_start(0);
	policy.source = &from;
	policy.max_repeats = 2;
	CHECK_EQ(bez_region_add(at, live_page(), &policy, &id), 0);
	for (i = 0; i < 1000; i++) {
		live_poison(at);
		CHECK_EQ(live_read(at), live_byte(0, 0));
	}
}

/* Many pages one after another are no loop, however few repeats are allowed. */
static void many_pages(void)
{
	enum { MANY = 512 };
	unsigned char *at = guarded(1, MANY);
	size_t i;

	for (i = 0; i < MANY; i++)
		live_poison(at + i * page);
	CHECK_EQ(live_wrong(at, MANY * page, 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), MANY);
}

/* ------------------------------------------------------- the thread's stack */

#define STACK_PAGES	64
#define DEEP		16		/* pages in use above the loss */

static unsigned char *stack, *stack_copy;
static _Atomic(unsigned char *) lowest;
static _Atomic int lost_it;

__attribute__((noinline)) static void waits_here(volatile unsigned char *top)
{
	lowest = (unsigned char *)__builtin_frame_address(0);
	while (!lost_it)
		continue;
	CHECK_EQ(top[0], 42);
}

static void *uses_stack(void *arg)
{
	volatile unsigned char big[DEEP * 4096];
	size_t i;

	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	for (i = 0; i < sizeof(big); i++)
		big[i] = (unsigned char)(42 + i % 199);
	waits_here(big);
	for (i = 0; i < sizeof(big); i++)
		CHECK(big[i] == (unsigned char)(42 + i % 199));
	return NULL;
}

/* The pages it stands on, return addresses and all. */
static void stack_of_the_thread(void)
{
	struct bez_source from;
	pthread_attr_t attr;
	pthread_t thread;
	unsigned char *at;
	size_t bytes;

	begin(*(const uint32_t *)tap_data());
	bytes = STACK_PAGES * page;
	stack = live_pages(STACK_PAGES);
	stack_copy = live_pages(STACK_PAGES);
	from = bez_source_mirror(stack_copy);
	live_region(stack, bytes, &from, "stack");
	pthread_attr_init(&attr);
	CHECK_EQ(pthread_attr_setstack(&attr, stack, bytes), 0);
	live_poison(live_pages(1));	/* opens what it needs */
	CHECK_EQ(pthread_create(&thread, &attr, uses_stack, NULL), 0);
	while (!lowest)
		sched_yield();
	/* from just below its frame to well below its thread-local storage,
	 * which nobody can save */
	at = (unsigned char *)(((uintptr_t)lowest & -page) - page);
	memcpy(stack_copy, stack, bytes);
	for (; at < lowest + DEEP / 2 * 4096; at += page)
		live_poison(at);
	lost_it = 1;
	pthread_join(thread, NULL);
	CHECK(bez_outcome_count(BEZ_OUTCOME_REPLACED) >= DEEP / 2);
}

static const uint32_t by_uffd = 0, by_mremap = BEZ_START_NO_UFFD;

#define CASE(what, function) { .name = what, .run = function }
#define DIES(what, function)						\
	{ .name = what, .run = function, .want_signal = SIGBUS }
#define EACH_WAY(what, function)					\
	{ .name = what ", userfaultfd", .run = function, .data = &by_uffd }, \
	{ .name = what ", mremap", .run = function, .data = &by_mremap }

static const struct tap_case cases[] = {
	EACH_WAY("mirror comes back too", mirror_comes_back_too),
	CASE("lost mirror, next source", lost_mirror_next_source),
	CASE("lost mirror, alone", lost_mirror_alone),
	DIES("lost mirror, dies", lost_mirror_dies),
	CASE("lost digests", lost_digests),
	CASE("lost digests come back", lost_digests_come_back),
	EACH_WAY("four deep", four_deep),
	EACH_WAY("seven deep", seven_deep),
	CASE("seven deep, spare", seven_deep_spare),
	DIES("seven deep, dies", seven_deep_dies),
	CASE("ring", ring_alone),
	CASE("ring, spare", ring_with_spare),
	CASE("ring of two threads", ring_two_threads),
	CASE("ring of two threads, spare", ring_two_threads_spare),
	CASE("looping", looping),
	DIES("looping, dies", looping_dies),
	CASE("many pages are no loop", many_pages),
	EACH_WAY("stack of the thread", stack_of_the_thread),
};
TAP_MAIN(cases)
