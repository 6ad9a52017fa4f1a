/* SPDX-License-Identifier: MIT */
/*
 * A hunt, and what others do in the middle of it: stop the library, cancel its
 * thread, begin another from its function, write to a word that was just seen. Each
 * at one place of the hunt: before a system call of its, or in its kernel.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "hunting.h"

#define CHUNK	((size_t)4 << 20)	/* what one of its threads takes at once */

static struct bez_range memory, house[2] = {
	{ (void *)HOUSE, 0x1000 }, { (void *)(HOUSE + 0x8000), 0x2000 } };
static struct bez_hunt_options o = BEZ_HUNT_OPTIONS_INIT;
static struct bez_hunt_result result = BEZ_HUNT_RESULT_INIT;
static _Atomic int hunter;		/* tid */

static uint64_t *prepare(size_t bytes, uint32_t flags)
{
	uint64_t *field = hunting_pages(bytes);

	live_start(BEZ_START_NO_EARLY_KILL | flags);
	memory = (struct bez_range){ field, bytes };
	o.ranges = &memory;
	o.range_count = 1;
	o.extents = house;
	o.extent_count = 2;
	o.found = found;
	o.room = HUNTING_MOST;
	return field;
}

/* ------------------------------------------------------------------ bez_stop() */

static void *stops(void *arg)
{
	*(int *)arg = bez_stop();
	return NULL;
}

static int stopped = 1;

/* It knows that the library is started, and has looked at nothing yet. */
static void stop_there(long nr, const long arg[6])
{
	pthread_t thread;

	if (nr != SYS_openat || stopped <= 0 ||
	    strcmp((const char *)arg[1], "/proc/self/pagemap"))
		return;
	CHECK_EQ(pthread_create(&thread, NULL, stops, &stopped), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void stopped_meanwhile(void)
{
	uint64_t *field = prepare(4096, 0), word;

	field[7] = HOUSE + 7;
	if (bz_hunt_fetch(&word, field, 8) == -ENOSYS)
		tap_skip("no process_vm_writev here");
	o.flags = BEZ_HUNT_THREADS;
	o.signal = SIGRTMIN + 3;
	double_before(stop_there);
	double_watch();
	CHECK_EQ(bez_hunt(&o, &result), 0);
	double_rest();
	CHECK_EQ(stopped, 0);
	CHECK(result.found >= 1);
	CHECK_EQ(bez_hunt(&o, &result), -ESRCH);
	/* and the next one is as any */
	live_start(BEZ_START_NO_EARLY_KILL);
	o.flags = 0;
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.found, 1);
}

/* ------------------------------------------------------------ pthread_cancel() */

static _Atomic int in_fn, cancelled, told, hunt_says = 1;

static int until_cancelled(const struct bez_hunt_found *f, void *arg)
{
	(void)f;
	(void)arg;
	atomic_store(&in_fn, 1);
	while (!atomic_load(&cancelled))
		sched_yield();
	pthread_testcancel();
	atomic_fetch_add(&told, 1);
	return 0;
}

static void *hunts(void *arg)
{
	atomic_store(&hunt_says, bez_hunt(&o, &result));
	/* what was put off until it had ended */
	pthread_testcancel();
	return arg;
}

static void cancelled_meanwhile(void)
{
	uint64_t *field = prepare(4096, BEZ_START_NO_WORKER);
	pthread_t thread;
	void *r;

	field[1] = HOUSE;
	field[100] = HOUSE + 8;
	o.fn = until_cancelled;
	CHECK_EQ(pthread_create(&thread, NULL, hunts, NULL), 0);
	while (!atomic_load(&in_fn))
		sched_yield();
	CHECK_EQ(pthread_cancel(thread), 0);
	atomic_store(&cancelled, 1);
	CHECK_EQ(pthread_join(thread, &r), 0);
	CHECK_EQ(hunt_says, 0);
	CHECK_EQ(told, 2);
	CHECK_EQ(result.found, 2);
	CHECK(r == PTHREAD_CANCELED);
}

/* -------------------------------------------------------- one begun by a helper */

static const struct bz_hunt_kernel *real;
static struct bz_hunt_kernel ours;	/* the real one, with a skip of the case's */

static void use(size_t (*skip)(const void *at, size_t bytes,
			       const struct bz_lanes *lanes, void *ret_block,
			       uint32_t *ret_why))
{
	real = next_kernel(NULL);
	ours = *real;
	ours.skip = skip;
	bz_hunt_use = &ours;
}

static _Atomic int helper_says = 1;

/* Whoever called bez_hunt() leaves something to find to its helper. */
static size_t after_helper(const void *at, size_t bytes,
			   const struct bz_lanes *lanes, void *ret_block,
			   uint32_t *ret_why)
{
	while (bz_gettid() == atomic_load(&hunter) &&
	       atomic_load(&helper_says) == 1)
		sched_yield();
	return real->skip(at, bytes, lanes, ret_block, ret_why);
}

static int begins_another(const struct bez_hunt_found *f, void *arg)
{
	struct bez_hunt_options another = BEZ_HUNT_OPTIONS_INIT;
	struct bez_range one = { arg, 4096 };
	int r;

	(void)f;
	another.ranges = &one;
	another.range_count = 1;
	another.extents = house;
	another.extent_count = 1;
	r = bez_hunt(&another, NULL);
	if (bz_gettid() != atomic_load(&hunter))
		atomic_store(&helper_says, r);
	else
		CHECK_EQ(r, -EDEADLK);
	return 0;
}

static void begun_by_helper(void)
{
	uint64_t *field = prepare(4 * CHUNK, BEZ_START_NO_WORKER);
	size_t i;

	for (i = 0; i < 4; i++)
		field[i * CHUNK / sizeof(*field)] = HOUSE;
	use(after_helper);
	atomic_store(&hunter, bz_gettid());
	o.threads = 2;
	o.fn = begins_another;
	o.arg = field;
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(helper_says, -EDEADLK);
	CHECK_EQ(result.found, 4);
}

/* ---------------------------------------------------------- a word that changes */

static const struct change {
	uint64_t value;			/* written when the word has been seen */
	uint64_t told;
	size_t extent;			/* of house[] */
	uint16_t what;
} changes[] = {
	{ HOUSE + 8, HOUSE + 8, 0, BEZ_HUNT_REPLACED },
	{ HOUSE, HOUSE, 0, BEZ_HUNT_REPLACED },		/* as it was */
	{ HOUSE + 0x9fff, HOUSE + 0x9fff, 1, BEZ_HUNT_REPLACED },
	{ HOUSE + 0x1000, HOUSE, 0, BEZ_HUNT_CHANGED },
};

static const struct change *change;
static uint64_t *word;

static size_t then_changes(const void *at, size_t bytes,
			   const struct bz_lanes *lanes, void *ret_block,
			   uint32_t *ret_why)
{
	size_t done = real->skip(at, bytes, lanes, ret_block, ret_why);

	if (*ret_why == BZ_SKIP_HIT)
		*word = change->value;
	return done;
}

static void changed_meanwhile(void)
{
	uint64_t *field = prepare(4096, BEZ_START_NO_WORKER);
	size_t i;

	word = &field[33];
	use(then_changes);
	o.flags = BEZ_HUNT_REPLACE;
	o.tombstone = 0xdead;
	for (i = 0; i < COUNT_OF(changes); i++) {
		change = &changes[i];
		*word = HOUSE;
		CHECK_EQ(bez_hunt(&o, &result), 0);
		CHECK_EQ(result.found, 1);
		CHECKF(found[0].value == change->told, "%zu: %#llx", i,
		       (unsigned long long)found[0].value);
		CHECK_EQ(found[0].what, change->what);
		CHECK(found[0].at == word);
		CHECK(found[0].extent == house[change->extent].addr);
		CHECK_EQ(found[0].width, house[change->extent].len);
		CHECK_EQ(*word, change->what == BEZ_HUNT_REPLACED ?
				0xdead : change->value);
	}
}

static const struct tap_case cases[] = {
	{ .name = "the library is stopped", .run = stopped_meanwhile },
	{ .name = "its thread is cancelled", .run = cancelled_meanwhile },
	{ .name = "another is begun by a helper", .run = begun_by_helper },
	{ .name = "a word changes before it is replaced",
	  .run = changed_meanwhile },
};

TAP_MAIN(cases)
