/* SPDX-License-Identifier: MIT */
/* Fifth room: the ring of events under fire, and the catalogue of outcomes. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "record/record.h"
#include "unit.h"

static struct bz_mm *mm;

/* ---------------------------------------------------------------- the ring */

/* The slot of the calling thread: each its own. */
static __thread uint32_t slot;

/* Everything in an event follows from one number. */
static void write_event(uint64_t n)
{
	struct bz_fault fault = {
		.taken_ns = n * 3,
		.addr = n * 5,
		.cause = (uint32_t)(n % 6),
		.si_code = (int32_t)(n * 7),
	};
	struct bz_result result = {
		.outcome = (uint16_t)(n % 132),
		.why = (uint16_t)(n * 11),
		.action = (uint16_t)(n * 13),
		.source = (uint16_t)(n * 17),
	};
	char name[BEZ_NAME_MAX + 1];
	struct bz_hit hit = { .id = n * 19, .name = name };
	struct bz_walk *w = &mm->walk[slot];
	size_t i;

	for (i = 0; i < BEZ_NAME_MAX; i++)
		name[i] = (char)('A' + (n + i) % 26);
	name[i] = '\0';
	atomic_store(&w->owner, (uint32_t)(n * 23));
	w->depth = (uint32_t)(n * 29);
	bz_record(mm, w, &fault, n * 31, &hit, &result);
}

static int consistent(const struct bez_event *e)
{
	uint64_t n = e->time_ns / 3;
	size_t i;

	for (i = 0; i < BEZ_NAME_MAX; i++)
		if (e->name[i] != (char)('A' + (n + i) % 26))
			return 0;
	return e->time_ns == n * 3 && e->addr == n * 5 && e->cause == n % 6 &&
	       e->si_code == (int32_t)(n * 7) && e->outcome == n % 132 &&
	       e->why == (uint16_t)(n * 11) &&
	       e->action == (uint16_t)(n * 13) &&
	       e->source == (uint16_t)(n * 17) && e->region == n * 19 &&
	       e->tid == (int32_t)(n * 23) && e->depth == (uint16_t)(n * 29) &&
	       e->width == n * 31 && !e->name[i];
}

static void in_order(void)
{
	struct bez_event e[3];
	uint64_t seq = 0, n, want = 1;
	int r, i;

	mm = unit_mm();
	CHECK_EQ(bez_events(&seq, e, 3), 0);
	CHECK_EQ(seq, 0);
	for (n = 0; n < 1000; n++)
		write_event(n);
	while ((r = bez_events(&seq, e, 3)) > 0)
		for (i = 0; i < r; i++) {
			CHECK_EQ(e[i].seq, want);
			CHECK(consistent(&e[i]));
			CHECK_EQ(e[i].time_ns, (want - 1) * 3);
			want++;
		}
	CHECK_EQ(r, 0);
	CHECK_EQ(want, 1001);
	CHECK_EQ(seq, 1000);
	CHECK_EQ(bez_events(NULL, e, 1), -EINVAL);
	CHECK_EQ(bez_events(&seq, NULL, 1), -EINVAL);
	CHECK_EQ(bez_events(&seq, e, 0), -EINVAL);
	CHECK_EQ(seq, 1000);
}

/* A slow reader gets the last 1,024, and the numbers say what it missed. */
static void gap(void)
{
	static struct bez_event e[2 * BZ_EVENTS];
	uint64_t seq = 0, n;
	int r, i;

	mm = unit_mm();
	for (n = 0; n < 5000; n++)
		write_event(n);
	r = bez_events(&seq, e, COUNT_OF(e));
	CHECK_EQ(r, BZ_EVENTS);
	for (i = 0; i < r; i++)
		CHECK_EQ(e[i].seq, 5000 - BZ_EVENTS + (uint64_t)i + 1);
	CHECK_EQ(seq, 5000);
}

/* No region, and one that was never finished: the reader stops before it
 * while it is fresh, and goes past it when it is old. */
static void unfinished(void)
{
	struct bz_fault fault = { .addr = 9 };
	struct bz_result result = { .outcome = BEZ_OUTCOME_FOREIGN };
	struct bez_event e[4];
	uint64_t seq = 0, n;

	mm = unit_mm();
	bz_record(mm, &mm->walk[0], &fault, 0, NULL, &result);
	CHECK_EQ(bez_events(&seq, e, 4), 1);
	CHECK(!e[0].region && !e[0].name[0] && e[0].addr == 9);
	/* number 2 is drawn, and its writer does not come back */
	atomic_store(&mm->events, 2);
	atomic_store(&mm->event[1].seq, 2 * 1 + 1);
	write_event(2);
	CHECK_EQ(bez_events(&seq, e, 4), 0);
	CHECK_EQ(seq, 1);
	for (n = 3; n < 3 + BZ_EVENTS / 2; n++)
		write_event(n);
	CHECK_EQ(bez_events(&seq, e, 4), 4);
	CHECK_EQ(e[0].seq, 3);
	/* a whole round later the slot is still its own: it is left alone */
	for (; n < 1 + BZ_EVENTS; n++)
		write_event(n);
	write_event(n);
	CHECK_EQ(mm->event[1].seq, 3);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 1 + BZ_EVENTS / 132);
}

#define WRITERS	3
#define EACH	200000
#define TAIL	2000000

static _Atomic int writing;
static _Atomic uint64_t next;

static void *writer(void *arg)
{
	static _Atomic uint32_t slots;
	uintptr_t i;

	slot = atomic_fetch_add(&slots, 1) + 1;
	for (i = 0; i < (uintptr_t)arg; i++)
		write_event(atomic_fetch_add(&next, 1));
	atomic_fetch_sub(&writing, 1);
	return NULL;
}

/* Never a torn event, never one twice or out of order, while three write. */
static void race(void)
{
	static struct bez_event e[64];
	pthread_t t[WRITERS];
	uint64_t seq = 0, last = 0, got = 0, torn = 0, disorder = 0;
	int i, r, done;

	mm = unit_mm();
	atomic_store(&writing, WRITERS);
	for (i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, writer,
				       (void *)EACH), 0);
	do {
		done = !atomic_load(&writing);
		r = bez_events(&seq, e, COUNT_OF(e));
		for (i = 0; i < r; i++) {
			torn += !consistent(&e[i]);
			disorder += e[i].seq <= last;
			last = e[i].seq;
			got++;
		}
	} while (!done || r);
	for (i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
	tap_diag("read %llu of %d", (unsigned long long)got, WRITERS * EACH);
	CHECK_EQ(torn, 0);
	CHECK_EQ(disorder, 0);
	CHECK(got >= BZ_EVENTS / 2);
	CHECK_EQ(mm->events, WRITERS * EACH);
}

/* The oldest event is the one that is overwritten next: read always that. */
static void race_tail(void)
{
	struct bez_event e;
	pthread_t t;
	uint64_t got = 0, torn = 0, other = 0;

	mm = unit_mm();
	while (atomic_load(&next) < 2 * BZ_EVENTS)
		write_event(atomic_fetch_add(&next, 1));
	/* one: with as many processors as that takes, it overtakes us often */
	atomic_store(&writing, 1);
	CHECK_EQ(pthread_create(&t, NULL, writer, (void *)TAIL), 0);
	while (atomic_load(&writing)) {
		uint64_t seq = atomic_load(&mm->events) - BZ_EVENTS, was = seq;

		if (bez_events(&seq, &e, 1) != 1)
			continue;
		got++;
		torn += !consistent(&e);
		other += e.seq <= was || e.seq > seq;
	}
	pthread_join(t, NULL);
	tap_diag("read %llu", (unsigned long long)got);
	CHECK_EQ(torn, 0);
	CHECK_EQ(other, 0);
	CHECK(got);
}

/* Before the start and beyond the end. */
static void counts(void)
{
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
	mm = unit_mm();
	write_event(1);
	write_event(133);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 2);
	CHECK_EQ(bez_outcome_count((enum bez_outcome)-1), 0);
	CHECK_EQ(bez_outcome_count(BZ_OUTCOMES), 0);
	CHECK_EQ(bez_outcome_count(UINT16_MAX), 0);
}

/* ----------------------------------------------------------- the catalogue */

/* The header itself says which there are. */
static int from_header(const char *line, char *name, unsigned int *value)
{
	return sscanf(line, " BEZ_OUTCOME_%63[A-Z_] = %u", name, value) == 2;
}

static void catalogue(void)
{
	static const char *seen[BZ_OUTCOMES];
	char line[256], name[64];
	unsigned int value, count = 0, i, j;
	FILE *f = fopen(BEZOAR_H, "r");

	if (!f)
		tap_skip("%s is not there", BEZOAR_H);
	while (fgets(line, sizeof(line), f)) {
		const char *advice;
		size_t len;

		if (!from_header(line, name, &value))
			continue;
		count++;
		CHECKF(value < BZ_OUTCOMES, "%s = %u", name, value);
		CHECKF(!seen[value], "two outcomes have number %u", value);
		seen[value] = bez_outcome_name(value);
		CHECKF(strcmp(seen[value], "unknown"), "%s has no name", name);
		advice = bez_outcome_advice(value);
		len = strlen(advice);
		CHECKF(len > 8 && advice[len - 1] == '.',
		       "the advice of %s is no sentence", name);
		CHECKF(strcmp(advice, bez_outcome_advice(BZ_OUTCOMES)),
		       "%s has no advice", name);
	}
	fclose(f);
	CHECK(count >= 28);
	for (i = 0; i < BZ_OUTCOMES; i++) {
		if (!seen[i])
			CHECKF(!strcmp(bez_outcome_name(i), "unknown"),
			       "%u is not in the header, and called \"%s\"", i,
			       bez_outcome_name(i));
		for (j = 0; seen[i] && j < i; j++)
			CHECKF(!seen[j] || strcmp(seen[i], seen[j]),
			       "%u and %u have one name", i, j);
	}
	CHECK(!strcmp(bez_outcome_name((enum bez_outcome)-1), "unknown"));
	CHECK(!strcmp(bez_outcome_name(65536 + 1), "unknown"));
}

static const struct tap_case cases[] = {
	{ .name = "events in order", .run = in_order },
	{ .name = "a gap says how many", .run = gap },
	{ .name = "an event that is never finished", .run = unfinished },
	{ .name = "no torn event", .run = race },
	{ .name = "no torn event at the tail", .run = race_tail },
	{ .name = "outcomes are counted", .run = counts },
	{ .name = "every outcome has a name and an advice", .run = catalogue },
};
TAP_MAIN(cases)
