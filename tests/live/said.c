/* SPDX-License-Identifier: MIT */
/*
 * What is lost because its owner says so, of each kind of memory: from then on it
 * is like what was met, until it is filled or cleared.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "after_help.h"
#include "huge.h"
#include "replace_see.h"

#define NEW	1		/* seed of what the owner has */

static size_t wrong_beside(void)
{
	size_t from = kinds_extent(&after, after_at);

	return (size_t)kinds_wrong(&after, 0, from) +
	       (size_t)kinds_wrong(&after, from + after.width, after.len);
}

/* The extent, and what stands in the inventory. */
static void say(void)
{
	struct bez_lost lost;
	struct bez_event e;
	uint64_t walk = 0;

	CHECK_EQ(bez_lost_add(after_extent(), after.width), 0);
	CHECK_EQ(bez_lost_in(after.at, after.len), 1);
	CHECK_EQ(bez_lost_next(&walk, &lost), 0);
	CHECK(lost.addr == after_extent());
	CHECK(lost.touched == after_extent());
	CHECK_EQ(lost.width, after.width);
	CHECK_EQ(lost.cause, BEZ_CAUSE_SAID);
	CHECK_EQ(lost.why, BEZ_OUTCOME_NONE);
	CHECK_EQ(lost.tid, gettid());
	CHECK(lost.region && lost.time_ns && lost.seq);
	CHECK_EQ(bez_lost_next(&walk, &lost), -ENOENT);
	e = see_event(after_extent());
	CHECK_EQ(e.cause, BEZ_CAUSE_SAID);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_DEGRADED);
	CHECK_EQ(e.action, BEZ_ACTION_DEGRADE);
	CHECK_EQ(e.width, after.width);
	CHECK_EQ(e.region, lost.region);
}

static void filled(void)
{
	void *new_bytes = (void *)(uintptr_t)kinds_bytes(NEW);

	CHECK_EQ(bez_lost_fill(after.at, after.len, new_bytes), 0);
	CHECK_EQ(bez_lost_in(after.at, after.len), 0);
	CHECK(!memcmp(after_extent(),
		      kinds_bytes(NEW) + (after_extent() - after.at),
		      after.width));
}

static void said_of(const struct kinds_kind *kind, uint32_t flags)
{
	struct kinds_seen was, is;
	uint64_t generation;
	bez_region_t r;
	size_t i;

	if (kind->huge) {
		live_need_linux(5, 16, "a huge page in the place of a cover");
		huge_need(8);
	}
	kinds_make(kind, &after);
	after_at = after.len / 2 + 77;
	see_start(flags);
	r = after_add();
	kinds_see(after_extent(), &was);
	say();
	after_all_ways("here");
	after_in_child();
	CHECK_EQ(wrong_beside(), 0);
	/* it is known */
	generation = bez_lost_generation();
	CHECK_EQ(bez_lost_add(after_extent(), after.width), 0);
	CHECK_EQ(bez_lost_generation(), generation);
	filled();
	kinds_see(after_extent(), &is);
	kinds_alike(&was, &is, kind->make != NULL, "filled");
	/* and once more; it has other memory behind it now */
	say();
	after_all_ways("again");
	CHECK_EQ(bez_lost_clear(after.at, after.len), 0);
	CHECK_EQ(bez_lost_in(after.at, after.len), 0);
	for (i = 0; i < after.width; i += 997)
		CHECK_EQ(live_read(after_extent() + i), 0);
	memset(after_extent(), 9, after.width);
	CHECK_EQ(live_read(after.at + after_at), 9);
	CHECK_EQ(wrong_beside(), 0);
	CHECK_EQ(bez_region_remove(r), 0);
	CHECK_EQ(bez_stop(), 0);
	kinds_unlink(&after);
}

static void each_kind(void)
{
	said_of(tap_data(), 0);
}

/* Where the kernel cannot poison it for us. */
static void covered(void)
{
	said_of(tap_data(), BEZ_START_NO_UFFD);
}

static size_t mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	size_t n = 0;
	int c;

	CHECK(f != NULL);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

/* It is poison then: nothing is mapped there, and what a cover cannot have stays. */
static void poison(void)
{
	size_t was, p = live_page();
	pid_t child;
	int status;

	live_need_linux(6, 6, "UFFDIO_POISON");
	after_begin(6, 0);
	after_add();
	CHECK_EQ(madvise(after.at, after.len, MADV_WIPEONFORK), 0);
	was = mappings();
	CHECK_EQ(bez_lost_add(after.at + p, p), 0);
	CHECK_EQ(bez_lost_add(after.at + 3 * p, p), 0);
	CHECK_EQ(mappings(), was);
	child = fork();
	if (!child)
		_exit(bez_lost_in(after.at, after.len) || after.at[p]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	CHECK_EQ(bez_lost_in(after.at + p, 1), 1);
	CHECK_EQ(madvise(after.at, after.len, MADV_POPULATE_READ), -1);
	CHECK_EQ(errno, EHWPOISON);
}

#define CHILDREN	300

static void *says(void *arg)
{
	size_t i;

	(void)arg;
	for (i = 0; i < after.len; i += after_page)
		CHECK_EQ(bez_lost_add(after.at + i, after_page), 0);
	return NULL;
}

/* A page of it is lost, or has its bytes; nothing else. */
static int is_sound(void)
{
	size_t i;

	for (i = 0; i < after.len; i += after_page)
		if (!bez_lost_in(after.at + i, 1) &&
		    after.at[i] != live_byte(i, 0))
			return 0;
	return 1;
}

/* Children that are made just then do not find the page empty. */
static void forked(void)
{
	pthread_t thread;
	int n, status;
	pid_t child;

	after_begin(2000, 0);
	after_add();
	CHECK_EQ(pthread_create(&thread, NULL, says, NULL), 0);
	for (n = 0; n < CHILDREN && (uint32_t)bez_lost_generation() < 1990; n++) {
		child = fork();
		if (!child)
			_exit(!is_sound());
		CHECK_EQ(waitpid(child, &status, 0), child);
		CHECK_EQ(status, 0);
	}
	CHECK(n > 3);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* What the kernel calls lost itself. */
static void poisoned(void)
{
	const struct kinds_kind *kind = tap_data();

	kinds_can_be_lost(kind);
	kinds_make(kind, &after);
	after_at = after.len / 2 + 77;
	see_start(0);
	after_add();
	kinds_lose(&after, after_at);
	say();
	after_all_ways("here");
	after_in_child();
	filled();
	CHECK_EQ(wrong_beside(), 0);
	kinds_unlink(&after);
}

/* ------------------------------------------------------------- shared memory */

static unsigned char *mirror;		/* the same file */

static void begin_shared(int known)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	kinds_make(&kinds_memfd, &after);
	mirror = mmap(NULL, after.len, PROT_READ | PROT_WRITE, MAP_SHARED,
		      after.fd, 0);
	CHECK(mirror != MAP_FAILED);
	after.at = mmap(after.at, after.len, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED, after.fd, 0);
	CHECK(after.at != MAP_FAILED);
	after_at = after.len / 2 + 5;
	see_start(0);
	shared.flags = BEZ_SHARED_EXCLUSIVE;
	shared.fd = after.fd;
	policy.shared = known ? &shared : NULL;
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(after.at, after.len, &policy, &r), 0);
}

/* Closed for this process; the file has it, and clearing finds it there. */
static void shared(void)
{
	int known = *(const int *)tap_data();
	size_t off;

	if (known)
		live_need_linux(5, 14, "minor faults by userfaultfd");
	begin_shared(known);
	off = (size_t)(after_extent() - after.at);
	say();
	after_all_ways("here");
	after_in_child();
	CHECK(!memcmp(mirror + off, kinds_bytes(0) + off, after.width));
	CHECK_EQ(wrong_beside(), 0);
	if (!known) {
		CHECK_EQ(bez_lost_clear(after.at, after.len), -EOPNOTSUPP);
		after_all_ways("not known");
		return;
	}
	CHECK_EQ(bez_lost_clear(after.at, after.len), 0);
	CHECK_EQ(kinds_wrong(&after, 0, after.len), 0);
	say();
	filled();
	CHECK(!memcmp(mirror + off, kinds_bytes(NEW) + off, after.width));
	after.at[after_at] = 0x5a;
	CHECK_EQ(mirror[after_at], 0x5a);
}

/* ------------------------------------------------------------------ the call */

static _Atomic int told_of;
static struct bez_lost told;

static void on_lost(const struct bez_lost *lost, void *arg)
{
	(void)arg;
	told = *lost;
	/* it may say so of another: that one is told, too */
	if (!told_of)
		CHECK_EQ(bez_lost_add(after.at + 4 * after_page, after_page), 0);
	atomic_fetch_add(&told_of, 1);
}

static void is_told(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	after_begin(6, 0);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.on_lost = on_lost;
	CHECK_EQ(bez_region_add(after.at, after.len, &policy, &r), 0);
	CHECK_EQ(bez_lost_add(after.at + after_page, after_page), 0);
	while (atomic_load(&told_of) < 2)
		sched_yield();
	CHECK(told.addr == after.at + 4 * after_page);
	CHECK_EQ(told.cause, BEZ_CAUSE_SAID);
	CHECK_EQ((uint32_t)bez_lost_generation(), 2);
}

static int said;

static int calls(void *dst, size_t len, uint64_t offset, void *arg)
{
	said = bez_lost_add(after.at, after_page);
	memcpy(dst, (char *)arg + offset, len);
	return 0;
}

/* Of several those before the one that is refused are lost. */
static void refused(void)
{
	unsigned char *inner = live_pages(1), *other = live_pages(1);
	struct bez_source source = bez_source_callback(calls, other);
	size_t p = live_page();

	CHECK_EQ(bez_lost_add(inner, p), -ESRCH);
	after_begin(6, BEZ_START_NO_UFFD);
	CHECK_EQ(bez_lost_add(after.at, p), -ENOENT);
	live_region(inner, p, &source, "inner");
	CHECK_EQ(bez_lost_add(inner, p), -ENOENT);
	after.len -= 2 * p;
	after_add();
	CHECK_EQ(bez_lost_add(after.at + 1, p), -EINVAL);
	CHECK_EQ(bez_lost_add(after.at, p - 1), -EINVAL);
	CHECK_EQ(bez_lost_add(after.at, -p), -EINVAL);
	CHECK_EQ(bez_lost_add(after.at, 0), 0);
	CHECK_EQ(bez_lost_generation(), 0);
	CHECK_EQ(bez_lost_add(after.at + 3 * p, 2 * p), -ENOENT);
	CHECK_EQ(bez_lost_in(after.at + 3 * p, p), 1);
	CHECK_EQ(bez_lost_in(after.at, 3 * p), 0);
	CHECK_EQ(live_wrong(after.at, 3 * p, 0), 0);
	/* in a handler */
	live_poison(inner);
	CHECK_EQ(live_read(inner + 9), live_byte(9, 0));
	CHECK_EQ(said, -EDEADLK);
	CHECK_EQ((uint32_t)bez_lost_generation(), 1);
	/* what cannot be covered */
	CHECK_EQ(madvise(after.at, p, MADV_WIPEONFORK), 0);
	CHECK_EQ(bez_lost_add(after.at, p), -EOPNOTSUPP);
	CHECK_EQ(see_event(after.at).outcome, BEZ_OUTCOME_LEFT);
	CHECK_EQ(see_event(after.at).why, BEZ_OUTCOME_REFUSED_ATTRS);
	CHECK_EQ(live_wrong(after.at, 3 * p, 0), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 1);
}

static void part_of_huge(void)
{
	size_t p = live_page();

	huge_need(8);
	kinds_make(&kinds_huge, &after);
	after_at = after.len / 2 + 77;
	see_start(0);
	after_add();
	CHECK_EQ(bez_lost_add(after_extent(), after.width - p), -EINVAL);
	CHECK_EQ(bez_lost_add(after_extent() + p, after.width - p), -EINVAL);
	CHECK_EQ(bez_lost_generation(), 0);
	CHECK_EQ(kinds_wrong(&after, 0, after.len), 0);
	CHECK_EQ(bez_lost_add(after.at, after.len), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), after.len / after.width);
}

/* More than there is room for in the beginning; nor does the worker make any. */
#define MANY	1200

static void many(void)
{
	size_t i;

	after_begin(MANY, BEZ_START_NO_WORKER);
	after_add();
	CHECK_EQ(bez_lost_add(after.at, after.len), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), MANY);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(bez_lost_in(after.at + i * after_page, 1), 1);
	CHECK_EQ(bez_lost_clear(after.at, after.len), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
	CHECK_EQ(live_read(after.at + after.len - 1), 0);
}

/* ------------------------------------------------------------- and others at it */

#define READERS	3
#define ROUNDS	200

static _Atomic int stop, wrong, seen[READERS];

/* It has the bytes of the one or the other seed, or it is lost. */
static void look_at(size_t n, size_t off)
{
	const unsigned char *addr = after_extent() + off;
	size_t at = (size_t)(addr - after.at);
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
	if (!got)
		atomic_fetch_add(&seen[n], 1);
	else if (byte != kinds_bytes(0)[at] && byte != kinds_bytes(NEW)[at])
		atomic_fetch_add(&wrong, 1);
}

static void *reads(void *arg)
{
	size_t n = (size_t)(uintptr_t)arg, off = n * 1021;

	bez_thread_attach();
	for (; !atomic_load(&stop); off += 613)
		look_at(n, off % after.width);
	return NULL;
}

static void hammered(void)
{
	const uint32_t *flags = tap_data();
	pthread_t t[READERS];
	size_t i;

	kinds_make(&kinds_anon, &after);
	after_at = after.len / 2;
	kinds_bytes(NEW);
	kinds_bytes(0);
	see_start(*flags);
	after_add();
	for (i = 0; i < READERS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, reads,
					(void *)(uintptr_t)i), 0);
	for (i = 0; i < ROUNDS; i++) {
		int was = atomic_load(&seen[i % READERS]);

		CHECK_EQ(bez_lost_add(after_extent(), after.width), 0);
		while (atomic_load(&seen[i % READERS]) == was)
			sched_yield();
		CHECK_EQ(bez_lost_fill(after.at, after.len,
				       kinds_bytes(i & 1 ? 0 : NEW)), 0);
	}
	atomic_store(&stop, 1);
	for (i = 0; i < READERS; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(wrong_beside(), 0);
}

static const int known = 1, unknown;
static const uint32_t any, no_uffd = BEZ_START_NO_UFFD;

#define KIND(k) { .name = #k, .run = each_kind, .data = &kinds_##k, \
		  .timeout_s = 120 }

static const struct tap_case cases[] = {
	KIND(anon), KIND(memfd), KIND(memfd_cow), KIND(tmpfs), KIND(tmpfs_cow),
	KIND(disk), KIND(disk_cow), KIND(huge), KIND(huge_memfd),
	KIND(huge_memfd_cow),
	{ .name = "what the kernel calls lost", .run = poisoned,
	  .data = &kinds_anon },
	{ .name = "what the kernel calls lost, of a file", .run = poisoned,
	  .data = &kinds_memfd_cow },
	{ .name = "shared memory", .run = shared, .data = &known },
	{ .name = "shared memory that the region does not know", .run = shared,
	  .data = &unknown },
	{ .name = "the owner is told", .run = is_told },
	{ .name = "what is refused", .run = refused },
	{ .name = "a part of a huge page", .run = part_of_huge },
	{ .name = "many at once", .run = many, .timeout_s = 120 },
	{ .name = "others read it all the time", .run = hammered,
	  .data = &any, .timeout_s = 120 },
	{ .name = "others read it all the time, covered", .run = hammered,
	  .data = &no_uffd, .timeout_s = 120 },
	{ .name = "covered", .run = covered, .data = &kinds_anon,
	  .timeout_s = 120 },
	{ .name = "covered, huge", .run = covered, .data = &kinds_huge,
	  .timeout_s = 120 },
	{ .name = "it is poison", .run = poison },
	{ .name = "children meanwhile", .run = forked, .timeout_s = 120 },
};

TAP_MAIN(cases)
