/* SPDX-License-Identifier: MIT */
/*
 * Copies that meet lost pages: in regions, in threads that nobody attached, in
 * signal handlers, in sources; and what they must leave alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "copy_help.h"

static void forbidden(int sig)
{
	(void)sig;
	_exit(99);
}

static size_t begin(void)
{
	signal(SIGBUS, forbidden);
	live_start(BEZ_START_NO_EARLY_KILL);
	return live_page();
}

/* Copy, set and compare over the end of page 1, behind which all is lost; no
 * part of the harness, for handlers. 0: as it should be. */
static int right(const struct bz_copier *copier, const unsigned char *lost,
		 unsigned char *to, size_t good, size_t more)
{
	size_t page = live_page(), at = 2 * page - good;
	uint64_t value;
	int order;

	memset(to, 0, good + 1);
	return copier->copy(to, lost + at, good + more) != more ||
	       memcmp(to, lost + at, good) || to[good] ||
	       copier->copy((unsigned char *)lost + at, to, good + more) !=
		       more ||
	       copier->compare(to, lost + at, good + more, &order) != more ||
	       copier->load((const uint64_t *)(const void *)(lost + 2 * page),
			    &value) != -EFAULT;
}

/* --------------------------------------------------------------- regions */

static void replaced(void)
{
	const struct bz_copier *copier = NULL;
	size_t page = begin(), len = 4 * page;
	unsigned char *at = live_pages(4), *mirror = live_pages(4);
	unsigned char *to = live_pages(4);
	struct bez_source from = bez_source_mirror(mirror);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	uint64_t value;
	int order = 1;

	policy.source = &from;
	policy.max_repeats = UINT32_MAX;
	CHECK_EQ(bez_region_add(at, len, &policy, &region), 0);
	while ((copier = next_copier(copier))) {
		live_poison(at + page);
		live_poison(at + 2 * page);
		memset(to, 0, len);
		CHECK_EQ(copier->copy(to, at + 5, len - 5), 0);
		CHECK_EQ(memcmp(to, mirror + 5, len - 5), 0);

		live_poison(at + page);
		CHECK_EQ(copier->copy(at, mirror, len), 0);
		live_poison(at + page);
		CHECK_EQ(copier->compare(at, mirror, len, &order), 0);
		CHECK_EQ(order, 0);
		live_poison(at + page);
		CHECK_EQ(copier->load((uint64_t *)(void *)(at + page), &value),
			 0);
		CHECK_EQ(memcmp(&value, mirror + page, 8), 0);
		live_poison(at + page);
		CHECK_EQ(copier->set(at + 10, 0, 2 * page), 0);
		CHECK_EQ(at[9], mirror[9]);
		CHECK_EQ(at[10], 0);
		CHECK_EQ(at[2 * page + 10], mirror[2 * page + 10]);
		CHECK_EQ(copier->copy(at, mirror, len), 0);
	}
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_COPY_SHORT), 0);
	CHECK(bez_outcome_count(BEZ_OUTCOME_REPLACED) >= 12);
}

static int fails(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)dst;
	(void)len;
	(void)offset;
	(void)arg;
	return -EIO;
}

static void not_saved(void)
{
	const struct bz_copier *copier = NULL;
	struct bez_region_info info = { .size = sizeof(info) };
	size_t page = begin();
	struct bez_source from = bez_source_callback(fails, NULL);
	struct bez_event e;
	bez_region_t region;
	uint64_t seq = 0, n = 0;
	struct field f;

	field_open(&f, 4, 4, 1);
	region = live_region(f.at, 4 * page, &from, "gone");
	while ((copier = next_copier(copier))) {
		unsigned char to[64];

		CHECK_EQ(copier->copy(to, f.at + 2 * page - 9, 40), 31);
		while (bez_events(&seq, &e, 1) == 1)
			n++;
		CHECK_EQ(e.outcome, BEZ_OUTCOME_COPY_SHORT);
		CHECK_EQ(e.why, BEZ_OUTCOME_SOURCE_FAILED);
		CHECK_EQ(e.action, BEZ_ACTION_NONE);
		CHECK_EQ(e.region, region);
		CHECK_EQ(e.addr & -page, (uint64_t)f.at + 2 * page);
	}
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_COPY_SHORT), n);
	CHECK_EQ(bez_region_info(region, &info), 0);
	CHECK_EQ(info.not_replaced, n);
	CHECK_EQ(info.last_outcome, BEZ_OUTCOME_SOURCE_FAILED);
}

static void no_region(void)
{
	struct bez_event e;
	uint64_t seq = 0;
	size_t page = begin();
	struct field f;
	unsigned char to[64];

	field_open(&f, 4, 4, 1);
	CHECK_EQ(bez_copy(to, f.at + 2 * page - 9, 40), 31);
	while (bez_events(&seq, &e, 1) == 1)
		continue;
	CHECK_EQ(e.outcome, BEZ_OUTCOME_COPY_SHORT);
	CHECK_EQ(e.why, 0);
	CHECK_EQ(e.region, 0);
	CHECK_EQ(e.addr & -page, (uint64_t)f.at + 2 * page);
	CHECK_EQ(e.tid, gettid());
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 0);
}

static uint64_t faults(void)
{
	struct bez_status status = { .size = sizeof(status) };

	CHECK_EQ(bez_status(&status), 0);
	return status.faults;
}

/* A real report may be an alias, and is asked about again: once for each
 * address. */
static void once(uint64_t before)
{
	CHECK_EQ(faults() - before, 1);
}

/* Who has met a lost page does not touch it again. */
static void touched_once(void)
{
	const struct bz_copier *copier = NULL;
	size_t page = begin(), len;
	struct field f;
	unsigned char *to = live_pages(3);
	uint64_t n;
	int order;

	field_open(&f, 4, 4, 0);
	if (live_is_real())
		tap_skip("real poison is reported by the start of a page, "
			 "which is asked about twice");
	while ((copier = next_copier(copier)))
		for (len = 2; len < page; len = len * 3 - 1) {
			unsigned char *at = f.at + 2 * page - len / 2;

			n = faults();
			CHECK_EQ(copier->copy(to, at, len), len - len / 2);
			once(n);
			n = faults();
			CHECK_EQ(copier->copy(at, to, len), len - len / 2);
			once(n);
			n = faults();
			CHECK_EQ(copier->compare(at, to, len, &order),
				 len - len / 2);
			once(n);
			n = faults();
			CHECK_EQ(copier->set(at, 7, len), len - len / 2);
			once(n);
		}
}

/* ---------------------------------------------------------------- threads */

#define THREADS 6

static struct field lost;

static void *copies(void *arg)
{
	const struct bz_copier *copier = NULL;
	unsigned char *to = aligned_alloc(64, 8192);
	size_t i;

	(void)arg;
	while ((copier = next_copier(copier)))
		for (i = 0; i < 500; i += field_step(25))
			CHECK_EQ(right(copier, lost.at, to, i * 7 % 3000,
				       1 + i * 11 % 4000), 0);
	free(to);
	return NULL;
}

static void threads(void)
{
	pthread_t thread[THREADS];
	size_t i;

	begin();
	field_open(&lost, 4, 12, 1);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, copies, NULL), 0);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
}

/* ------------------------------------------------------- signal handlers */

#define KNOCKS (300 / field_step(15))

static _Atomic unsigned int handled, handled_wrong;

static void on_usr1(int sig)
{
	static unsigned char to[8192];
	const struct bz_copier *copier = NULL;
	size_t i = handled;

	(void)sig;
	while ((copier = next_copier(copier)))
		handled_wrong += (unsigned int)
			right(copier, lost.at, to, i * 7 % 3000,
			      1 + i * 11 % 4000);
	handled++;
}

static void *knocks(void *arg)
{
	const pthread_t *other = arg;

	while (handled < KNOCKS && !pthread_kill(*other, SIGUSR1))
		sched_yield();
	return NULL;
}

/* On top of copies that meet the same pages. */
static void handlers(void)
{
	const struct bz_copier *copier = NULL;
	unsigned char *to;
	pthread_t self = pthread_self(), thread;
	size_t i;

	begin();
	to = live_pages(4);
	field_open(&lost, 4, 12, 1);
	signal(SIGUSR1, on_usr1);
	CHECK_EQ(pthread_create(&thread, NULL, knocks, &self), 0);
	for (i = 0; handled < KNOCKS; i++) {
		copier = next_copier(copier);
		if (copier)
			CHECK_EQ(right(copier, lost.at, to, i * 5 % 3000,
				       1 + i * 3 % 4000), 0);
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(handled_wrong, 0);
}

/* ---------------------------------------------------------------- sources */

static _Atomic unsigned int asked;

static int copies_inside(void *dst, size_t len, uint64_t offset, void *arg)
{
	const struct bz_copier *copier = NULL;
	static unsigned char to[8192];

	while ((copier = next_copier(copier)))
		if (right(copier, lost.at, to, 100 + asked, 300))
			return -EIO;
	asked++;
	/* a mirror that has lost this page: what there is of it, and zeros */
	memset(dst, 0, len);
	if (bez_copy(dst, (unsigned char *)arg + offset, len) != len - 100)
		return -EIO;
	return 0;
}

static void sources(void)
{
	const uint32_t *kind = tap_data();
	size_t page = begin();
	unsigned char *at = live_pages(2), *zeros;
	struct bez_source from = bez_source_of(*kind);
	struct field mirror;

	field_open(&lost, 4, 12, 1);
	field_open(&mirror, 3, 2, 1);
	from.fill = copies_inside;
	from.arg = mirror.at + page - 100;
	from.deadline_ns = 20000000000u;
	live_region(at, 2 * page, &from, "asks");
	live_poison(at);
	CHECK_EQ(memcmp(at, mirror.at + page - 100, 100), 0);
	zeros = calloc(1, page);
	CHECK_EQ(memcmp(at + 100, zeros, page - 100), 0);
	CHECK_EQ(asked, 1);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
}

/*
 * A copy that goes on after copies on top of it came to their end: it has its
 * own way back again.
 */
static void below(void)
{
	const struct bz_copier *copier = NULL;
	size_t page = begin();
	struct bez_source from = bez_source_of(BEZ_SOURCE_CALLBACK);
	unsigned char *to = live_pages(2);
	struct field f, mirror;
	unsigned int n = 0;

	field_open(&lost, 4, 12, 1);
	field_open(&f, 4, 14, 1);
	field_open(&mirror, 3, 2, 1);
	from.fill = copies_inside;
	from.arg = mirror.at + page - 100;
	live_region(f.at + page, page, &from, "asks");
	while ((copier = next_copier(copier))) {
		if (n++)
			live_poison(f.at + page);
		CHECK_EQ(copier->copy(to, f.at + page - 50, page + 150), 100);
		CHECK_EQ(asked, n);
		CHECK_EQ(memcmp(to, f.at + page - 50, page + 50), 0);
	}
	CHECK(n);
}

/* ------------------------------------------------------- what is not ours */

static void plain(void)
{
	struct field f;
	size_t page = begin();
	unsigned char to[8];

	field_open(&f, 4, 4, 1);
	CHECK_EQ(bez_copy(to, f.at + 2 * page - 3, 8), 5);
	live_read(f.at + 2 * page);
}

static void not_started(void)
{
	size_t page = live_page();
	unsigned char *a = live_pages(3), *b = live_pages(3);
	struct field f;
	uint64_t value = 0;
	int order = 3;

	memset(b, 0, 3 * page);
	CHECK_EQ(bez_copy(b + 1, a, 2 * page), 0);
	CHECK_EQ(memcmp(b + 1, a, 2 * page), 0);
	CHECK_EQ(bez_set(b, 9, page), 0);
	CHECK_EQ(b[page - 1], 9);
	CHECK_EQ(bez_compare(b + page, a + page - 1, page, &order), 0);
	CHECK_EQ(order, 0);
	CHECK_EQ(bez_store_u64((uint64_t *)(void *)a, 17), 0);
	CHECK_EQ(bez_load_u64((uint64_t *)(void *)a, &value), 0);
	CHECK_EQ(value, 17);
	CHECK_EQ(bez_cas_u64((uint64_t *)(void *)a, &value, 18), 0);
	field_open(&f, 4, 4, 1);
	bez_copy(b, f.at + 2 * page - 3, 8);
}

static void bad_pointer(void)
{
	unsigned char *a = live_pages(2);
	size_t page = begin();

	CHECK_EQ(mprotect(a + page, page, PROT_NONE), 0);
	bez_copy(a, a + page - 100, 200);
}

static _Atomic unsigned int sent;

static void counts_sent(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (info->si_code == SI_TKILL)
		sent++;
	else
		_exit(98);
}

static void *sends(void *arg)
{
	const pthread_t *other = arg;
	unsigned int i;

	for (i = 0; i < 300; i++) {
		while (sent < i)
			sched_yield();
		pthread_kill(*other, SIGBUS);
	}
	return NULL;
}

/* A SIGBUS that somebody sends does not end the copy it interrupts. */
static void sent_meanwhile(void)
{
	struct sigaction sa = { .sa_sigaction = counts_sent,
				.sa_flags = SA_SIGINFO };
	const struct bz_copier *copier = NULL;
	unsigned char *a = live_pages(32), *b = live_pages(32);
	pthread_t self = pthread_self(), thread;
	size_t len = 32 * live_page();

	sigaction(SIGBUS, &sa, NULL);
	live_start(BEZ_START_NO_EARLY_KILL);
	CHECK_EQ(pthread_create(&thread, NULL, sends, &self), 0);
	while (sent < 300) {
		copier = next_copier(copier);
		if (copier)
			CHECK_EQ(copier->copy(b, a, len), 0);
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(memcmp(a, b, len), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_COPY_SHORT), 0);
}

static struct sigaction ours;
static _Atomic unsigned int handed_on;

static void hands_on(int sig, siginfo_t *info, void *context)
{
	handed_on++;
	ours.sa_sigaction(sig, info, context);
}

static void later_handler(void)
{
	struct sigaction sa = { .sa_sigaction = hands_on,
				.sa_flags = SA_SIGINFO | SA_ONSTACK };
	const struct bz_copier *copier = NULL;
	unsigned char to[4096];

	begin();
	field_open(&lost, 4, 12, 1);
	CHECK_EQ(sigaction(SIGBUS, &sa, &ours), 0);
	while ((copier = next_copier(copier)))
		CHECK_EQ(right(copier, lost.at, to, 777, 1000), 0);
	CHECK(handed_on >= 4);
}

static void child(void)
{
	const struct bz_copier *copier = NULL;
	unsigned char to[4096];
	int status;
	pid_t pid;

	begin();
	field_open(&lost, 4, 12, 1);
	pid = fork();
	if (!pid) {
		while ((copier = next_copier(copier)))
			if (right(copier, lost.at, to, 777, 1000))
				_exit(1);
		_exit(7);
	}
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static const uint32_t callback = BEZ_SOURCE_CALLBACK;
static const uint32_t deferred = BEZ_SOURCE_DEFERRED;

static const struct tap_case cases[] = {
	{ .name = "a region is replaced", .run = replaced },
	{ .name = "a region that is not saved", .run = not_saved },
	{ .name = "memory of no region", .run = no_region },
	{ .name = "touched once", .run = touched_once },
	{ .name = "threads that nobody attached", .run = threads },
	{ .name = "in signal handlers", .run = handlers },
	{ .name = "in a source, callback", .run = sources, .data = &callback },
	{ .name = "below a source that copies", .run = below },
	{ .name = "in a source, deferred", .run = sources, .data = &deferred },
	{ .name = "other code is not caught", .run = plain, .want_exit = 99 },
	{ .name = "not started", .run = not_started, .want_signal = SIGBUS },
	{ .name = "a bad pointer", .run = bad_pointer,
	  .want_signal = SIGSEGV },
	{ .name = "a SIGBUS that is sent", .run = sent_meanwhile },
	{ .name = "by way of a later handler", .run = later_handler },
	{ .name = "in a child", .run = child },
};

TAP_MAIN(cases)
