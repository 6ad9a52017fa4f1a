/* SPDX-License-Identifier: MIT */
/*
 * What a process can do about a page that is lost: which calls take the
 * poison entry away, which refuse, and in what order they leave no moment at
 * which another thread reads a page that is not yet filled.
 *
 * Runs in the lab's guest only; see hwpoison.c.
 */
#define _GNU_SOURCE
#include "poison.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_DONTNEED_LOCKED	/* Linux 5.18 */
#define MADV_DONTNEED_LOCKED 24
#endif

static const int advice_free = MADV_FREE, advice_dontneed = MADV_DONTNEED;

/* Both give private anonymous memory back as zeros, just where they say. */
static void advice_heals(void)
{
	const int advice = *(const int *)tap_data();
	uint64_t before, after;
	unsigned char *p;

	take_sigbus();
	p = anon(3, MAP_PRIVATE);
	poison(p + PAGE);
	before = pagemap(p);
	after = pagemap(p + 2 * PAGE);
	CHECK(before & after & PAGEMAP_PRESENT);
	CHECK_EQ(madvise(p + PAGE, PAGE, advice), 0);
	CHECK_EQ(pagemap(p + PAGE) & (PAGEMAP_PRESENT | PAGEMAP_SWAP), 0);
	CHECK_EQ(pagemap(p), before);
	CHECK_EQ(pagemap(p + 2 * PAGE), after);
	CHECK(page_is(p + PAGE, 0));
	CHECK_EQ(poke(p + PAGE, 1), 0);
	CHECK(page_is(p, fill_of(0)));
	CHECK(page_is(p + 2 * PAGE, fill_of(2)));
	CHECK_EQ(sigbus.count, 0);
}

/* MADV_FREE is for private anonymous memory: a safe first try. */
static void free_refuses_shared(void)
{
	unsigned char *p, *q;
	int fd;

	take_sigbus();
	p = anon(2, MAP_SHARED);
	poison(p + PAGE);
	CHECK_EQ(madvise(p + PAGE, PAGE, MADV_FREE), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(madvise(p, PAGE, MADV_FREE), -1);
	CHECK_EQ(errno, EINVAL);

	fd = memfd_create("lab", MFD_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, PAGE), 0);
	q = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(q != MAP_FAILED);
	memset(q, 5, PAGE);
	poison(q);
	CHECK_EQ(madvise(q, PAGE, MADV_FREE), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(sigbus.count, 0);
	CHECK(page_is(p, fill_of(0)));
}

/* A locked page is given back only by the advice that says so. */
static void locked_page(void)
{
	unsigned char *p;

	take_sigbus();
	p = anon(2, MAP_PRIVATE);
	CHECK_EQ(mlock(p, 2 * PAGE), 0);
	poison(p + PAGE);
	CHECK_EQ(madvise(p + PAGE, PAGE, MADV_DONTNEED), -1);
	CHECK_EQ(errno, EINVAL);
	CHECK_EQ(madvise(p + PAGE, PAGE, MADV_FREE), -1);
	CHECK_EQ(errno, EINVAL);
	if (madvise(p, PAGE, MADV_DONTNEED_LOCKED) && errno == EINVAL)
		tap_skip("no MADV_DONTNEED_LOCKED before Linux 5.18");
	memset(p, fill_of(0), PAGE);
	CHECK_EQ(madvise(p + PAGE, PAGE, MADV_DONTNEED_LOCKED), 0);
	CHECK(page_is(p + PAGE, 0));
	CHECK(page_is(p, fill_of(0)));
	CHECK_EQ(sigbus.count, 0);
}

/* A page built elsewhere can be moved onto the poison in one step. */
static void mremap_replaces(void)
{
	unsigned char *p, *staged;

	take_sigbus();
	p = anon(3, MAP_PRIVATE);
	staged = anon(1, MAP_PRIVATE);
	memset(staged, 0x5a, PAGE);
	poison(p + PAGE);
	CHECK(mremap(staged, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     p + PAGE) == p + PAGE);
	CHECK(page_is(p + PAGE, 0x5a));
	CHECK(page_is(p, fill_of(0)));
	CHECK(page_is(p + 2 * PAGE, fill_of(2)));
	CHECK_EQ(sigbus.count, 0);
}

/* UFFDIO_COPY fills a gap, and poison is none. */
static void copy_onto_poison(void)
{
	unsigned char *p, good[PAGE], value;
	int fd;

	take_sigbus();
	memset(good, 0x66, PAGE);
	fd = uffd_open();
	p = anon(1, MAP_PRIVATE);
	uffd_register(fd, p);
	poison(p);
	CHECK_EQ(uffd_copy(fd, p, good), -EEXIST);
	CHECK_EQ(peek(p + 3, &value), -1);
	check_ar(p + 3);
}

/* A poison marker is a gap to it. */
static void copy_onto_marker(void)
{
	unsigned char *p, good[PAGE];
	int fd, r;

	memset(good, 0x66, PAGE);
	fd = uffd_open();
	p = anon(1, MAP_PRIVATE);
	uffd_register(fd, p);
	CHECK_EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
	r = uffd_poison(fd, p);
	if (r == -EINVAL)
		tap_skip("no UFFDIO_POISON before Linux 6.6");
	CHECK_EQ(r, 0);
	CHECK_EQ(uffd_copy(fd, p, good), 0);
	CHECK(page_is(p, 0x66));
}

/* The page that a thread reads all the time, while it is lost and replaced. */
struct hammered {
	volatile uint64_t *word;
	uint64_t good;
	_Atomic unsigned long reads;
	_Atomic unsigned long wrong;
	_Atomic int stop;
};

static void *hammer(void *data)
{
	struct hammered *h = data;

	while (!atomic_load(&h->stop)) {
		if (*h->word != h->good)
			atomic_fetch_add(&h->wrong, 1);
		atomic_fetch_add(&h->reads, 1);
	}
	return NULL;
}

/* The reader has read again: it got over whatever came before. */
static void await_reads(struct hammered *h)
{
	const unsigned long seen = atomic_load(&h->reads);

	while (atomic_load(&h->reads) < seen + 100)
		sched_yield();
}

/*
 * Register the page, give the poison back, copy, unregister: until the copy
 * the reader faults or waits, and never once sees anything but good data.
 * Without the registration it reads zeros; so the same reader is then made
 * to see one, lest it be blind.
 */
static void replaced_while_read(void)
{
	const int advice = *(const int *)tap_data();
	enum { ROUNDS = 40 };
	unsigned char *p, good[PAGE];
	struct hammered h = { .good = 0x4242424242424242 };
	pthread_t thread;
	int fd, mappings, i;

	take_sigbus();
	memset(good, 0x42, PAGE);
	fd = uffd_open();
	p = anon(3, MAP_PRIVATE);
	memset(p + PAGE, 0x42, PAGE);
	h.word = (volatile uint64_t *)(p + PAGE + 256);
	CHECK_EQ(pthread_create(&thread, NULL, hammer, &h), 0);
	await_reads(&h);
	mappings = count_mappings();
	for (i = 0; i < ROUNDS; i++) {
		const unsigned int before = sigbus.count;

		CHECK_EQ(madvise(p + PAGE, PAGE, MADV_HWPOISON), 0);
		/* One may be for this thread, at once; the reader's follow. */
		while (sigbus.count < before + 2)
			sched_yield();
		uffd_register(fd, p + PAGE);
		CHECK_EQ(madvise(p + PAGE, PAGE, advice), 0);
		CHECK_EQ(uffd_copy(fd, p + PAGE, good), 0);
		uffd_unregister(fd, p + PAGE);
		await_reads(&h);
	}
	CHECK_EQ(atomic_load(&h.wrong), 0);
	CHECK_EQ(count_mappings(), mappings);
	CHECK(page_is(p, fill_of(0)));
	CHECK(page_is(p + PAGE, 0x42));
	CHECK(page_is(p + 2 * PAGE, fill_of(2)));

	CHECK_EQ(madvise(p + PAGE, PAGE, MADV_DONTNEED), 0);
	await_reads(&h);
	CHECK(atomic_load(&h.wrong) > 0);
	atomic_store(&h.stop, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* hwpoison-inject takes back what software made, once nothing maps it. */
static void unpoison(void)
{
	const long before = corrupted_kib();
	unsigned char *p;
	uint64_t pfn;

	take_sigbus();
	p = anon(1, MAP_PRIVATE);
	pfn = pagemap(p) & PAGEMAP_PFN;
	poison(p);
	CHECK_EQ(corrupted_kib(), before + 4);
	CHECK_EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
	CHECK_EQ(inject_pfn("unpoison-pfn", pfn), 0);
	CHECK_EQ(corrupted_kib(), before);
}

static const struct tap_case cases[] = {
	{ .name = "dontneed_heals", .run = advice_heals,
	  .data = &advice_dontneed },
	{ .name = "free_heals", .run = advice_heals, .data = &advice_free },
	{ .name = "free_refuses_shared", .run = free_refuses_shared },
	{ .name = "locked_page", .run = locked_page },
	{ .name = "mremap_replaces", .run = mremap_replaces },
	{ .name = "copy_onto_poison", .run = copy_onto_poison },
	{ .name = "copy_onto_marker", .run = copy_onto_marker },
	{ .name = "replaced_while_read_dontneed", .run = replaced_while_read,
	  .data = &advice_dontneed },
	{ .name = "replaced_while_read_free", .run = replaced_while_read,
	  .data = &advice_free },
	{ .name = "unpoison", .run = unpoison },
};
TAP_MAIN(cases)
