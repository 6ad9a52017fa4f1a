/* SPDX-License-Identifier: MIT */
/*
 * What is lost stays lost: each kind of memory, each way to touch it, a hundred
 * times, here and in a child; whatever becomes of what was behind it. Until it is
 * cleared.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "after_help.h"
#include "huge.h"
#include "replace_see.h"

static size_t wrong_beside(void)
{
	size_t from = kinds_extent(&after, after_at);

	return (size_t)kinds_wrong(&after, 0, from) +
	       (size_t)kinds_wrong(&after, from + after.width, after.len);
}

/* Everything that touches it has the answer, here and in children. */
static void stays(void)
{
	after_first_touch();
	after_all_ways("here");
	after_in_child();
}

/* It is the owner's again, and can be written. */
static void clears(void)
{
	CHECK_EQ(bez_lost_clear(after.at, after.len), 0);
	CHECK_EQ(bez_lost_in(after.at, after.len), 0);
	CHECK_EQ(live_read(after.at + after_at), 0);
	after.at[after_at] = 9;
	CHECK_EQ(live_read(after.at + after_at), 9);
}

static void each_kind(void)
{
	const struct kinds_kind *kind = tap_data();
	struct kinds_seen was, is;
	bez_region_t r;
	int cleared;
	size_t i;

	kinds_can_be_lost(kind);
	if (kind == &kinds_memfd || kind == &kinds_memfd_cow)
		live_need_linux(5, 14, "minor faults by userfaultfd");
	if (kind->huge)
		huge_need(8);
	kinds_make(kind, &after);
	after_at = after.len / 2 + 77;
	see_start(0);
	r = after_add();
	kinds_see(after_extent(), &was);
	kinds_lose(&after, after_at);
	stays();
	CHECK_EQ(wrong_beside(), 0);

	/* the owner writes it anew */
	CHECK_EQ(bez_lost_clear(after_extent() + 1, after.width), -EINVAL);
	CHECK_EQ(bez_lost_clear(after_extent(), after.width - 1), -EINVAL);
	CHECK_EQ(bez_lost_in(after.at, after.len), 1);
	cleared = bez_lost_clear(after.at, after.len);
	CHECKF(!cleared, "%d: %s", cleared,
	       bez_outcome_name(see_event(after_extent()).why));
	CHECK_EQ(bez_lost_in(after.at, after.len), 0);
	for (i = 0; i < after.width; i += 997)
		CHECK_EQ(live_read(after_extent() + i), 0);
	memcpy(after_extent(), kinds_bytes(0) + (after_extent() - after.at),
	       after.width);
	CHECK_EQ(kinds_wrong(&after, 0, after.len), 0);
	kinds_see(after_extent(), &is);
	/* a page of its own: the file is out of it */
	kinds_alike(&was, &is, kind->make != NULL, "cleared");
	CHECK_EQ(bez_region_remove(r), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* --------------------------------------------- what the kernel would hand out */

/* A file that is cut, and grows again. */
static void cut_file(void)
{
	int flags = *(const int *)tap_data();

	after_begin_file(4, flags);
	after_flags = flags == MAP_SHARED ? BEZ_POLICY_DETACH : 0;
	after_add();
	if (flags == MAP_PRIVATE)
		CHECK_EQ(madvise(after_extent(), after.width, MADV_DONTNEED),
			 0);
	CHECK_EQ(ftruncate(after.fd, (off_t)(after.len - after.width)), 0);
	after_first_touch();
	CHECK_EQ(ftruncate(after.fd, (off_t)after.len), 0);
	after_all_ways("here");
	after_in_child();
	CHECK_EQ(see_wrong(after.at, 0, after.len - after.width, 0), 0);
	clears();
}

/*
 * Poison in a file's mapping, and then the file is cut, which takes the kernel's
 * entry along, and grows again.
 */
static void poison_cut(void)
{
	int flags = *(const int *)tap_data();

	after_begin_file(4, flags);
	after_flags = flags == MAP_SHARED ? BEZ_POLICY_DETACH : 0;
	after_add();
	kinds_lose(&after, after_at);
	after_first_touch();
	CHECK_EQ(ftruncate(after.fd, (off_t)(after.len - after.width)), 0);
	after_all_ways("while it is cut");
	CHECK_EQ(ftruncate(after.fd, (off_t)after.len), 0);
	after_all_ways("when it has grown");
	after_in_child();
	/* what the program discards does not open it, either */
	CHECK_EQ(madvise(after_extent(), after.width, MADV_DONTNEED), 0);
	after_all_ways("discarded");
	CHECK_EQ(see_wrong(after.at, 0, after.len - after.width, 0), 0);
	clears();
}

/* In a mapping that others share a child asks the file. */
static void others(void)
{
	after_begin_file(4, MAP_SHARED);
	after_add();
	live_poison(after_extent());
	stays();
	CHECK_EQ(bez_lost_clear(after.at, after.len), -EOPNOTSUPP);
	after_all_ways("after that");
}

/* Without its consent shared memory does not become its own. */
static void not_detached(void)
{
	after_begin_file(1, MAP_SHARED);
	after_add();
	CHECK_EQ(ftruncate(after.fd, 0), 0);
	after_first_touch();
	CHECK_EQ(ftruncate(after.fd, (off_t)after.len), 0);
	after_all_ways("here");
	CHECK_EQ(bez_lost_clear(after.at, after.len), -EOPNOTSUPP);
	after_all_ways("after that");
}

/* A page that is not mapped any more, by the door. */
static void hole(void)
{
	after_begin(4, BEZ_START_SEGV_DOOR);
	after_add();
	CHECK_EQ(munmap(after_extent(), after.width), 0);
	stays();
	clears();
}

/* A report of @bits to this thread, which must not run on from there. */
static void reported(int bits)
{
	after_flags = BEZ_POLICY_NO_RESTART;
	after_begin(4, 0);
	after_add();
	BEZ_TRY {
		see_report(after.at + after_at, BUS_MCEERR_AR, bits);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == after_extent());
		CHECK_EQ(lost->why, BEZ_OUTCOME_REFUSED_RESTART);
	}
}

/* Another thread has replaced the page before this one could: what is in it now
 * stays. */
static void replaced(void)
{
	reported(12);
	CHECK_EQ(bez_lost_in(after.at, after.len), 0);
	CHECK_EQ(live_wrong(after.at, after.len, 0), 0);
}

/* A huge page that the kernel could not split: it can still be read. */
static void unsplit(void)
{
	reported(21);
	after_all_ways("here");
	after_in_child();
	clears();
}

/* ------------------------------------------------------------ around the edge */

static void copies_end_before(void)
{
	static unsigned char to[1 << 16];
	size_t off, len;

	after_begin(4, 0);
	after_add();
	live_poison(after.at + after_at);
	after_first_touch();
	for (off = after_at - 700; off < after_at; off += 33)
		for (len = 1; len < 1500; len = len * 3 / 2 + 1) {
			size_t good = after_at - off, left, events;
			struct bez_event e[2];
			uint64_t seq = 0;
			int order = 0;

			while (bez_events(&seq, e, 2) == 2)
				continue;
			events = seq;
			if (good > len)
				good = len;
			memset(to, 0, len);
			left = bez_copy(to, after.at + off, len);
			CHECK_EQ(left, len - good);
			CHECK(!memcmp(to, after.at + off, good));
			CHECK(left == 0 || to[good] == 0);
			CHECK_EQ(bez_compare(to, after.at + off, len, &order),
				 len - good);
			CHECK_EQ(bez_copy(after.at + off, to, len),
				 len - good);
			CHECK_EQ(bez_set(after.at + off, 0x5a, len),
				 len - good);
			live_fill(after.at, after_at, 0);
			/* nothing of it was touched */
			CHECK_EQ(bez_events(&seq, e, 2), 0);
			CHECK_EQ(seq, events);
		}
}

static int well;

static int sometimes(void *dst, size_t len, uint64_t offset, void *arg)
{
	memcpy(dst, (char *)arg + offset, len);
	return well ? 0 : -EIO;
}

/* A source that is well again does not bring back what others were told is
 * gone. */
static void not_back(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t r;

	after_begin(4, 0);
	from = bez_source_callback(sometimes, live_pages(4));
	policy.source = &from;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(after.at, after.len, &policy, &r), 0);
	live_poison(after.at + after_at);
	after_first_touch();
	well = 1;
	after_all_ways("here");
	after_in_child();
	CHECK_EQ(bez_lost_clear(after.at, after.len), 0);
	CHECK_EQ(live_read(after.at + after_at), 0);
	live_poison(after.at + after_at);
	CHECK_EQ(live_wrong(after.at, after.len, 0), 0);
}

/* Nobody makes room for more than there was. */
static void no_room(void)
{
	size_t i;

	see_install();
	after_begin(513, BEZ_START_NO_WORKER);
	after_add();
	for (i = 0; i < 512; i++) {
		after_at = i * after_page;
		live_poison(after.at + after_at);
		after_first_touch();
	}
	live_poison(after.at + 512 * after_page);
	BEZ_TRY {
		see_refused(after.at + 512 * after_page,
			    BEZ_OUTCOME_REFUSED_INVENTORY);
	} BEZ_CATCH(lost) {
		CHECK(!lost->addr);
	}
	CHECK_EQ(bez_lost_clear(after.at, after_page), 0);
	after_at = 512 * after_page;
	after_first_touch();
}

static _Atomic int done;
static _Atomic uint32_t bad, read_it, caught;

static void *reads(void *arg)
{
	unsigned char *addr = arg;

	bez_thread_attach();
	while (!done) {
		BEZ_TRY {
			unsigned char byte = live_read(addr);

			atomic_fetch_add(&read_it, 1);
			if (byte && byte != live_byte(after_at + 9, 0))
				atomic_fetch_add(&bad, 1);
		} BEZ_CATCH(lost) {
			atomic_fetch_add(&caught, 1);
			if (!after_right(lost, addr))
				atomic_fetch_add(&bad, 1);
		}
	}
	return NULL;
}

/* Lost and cleared again and again, while others touch it all the time. */
static void again_and_again(void)
{
	/* a real one takes a tenth of a second in the lab */
	uint32_t before, rounds = live_is_real() ? 20 : 300;
	pthread_t t[4];
	size_t i;

	after_begin(4, 0);
	after_add();
	for (i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, reads,
					after.at + after_at + 9), 0);
	for (i = 0; i < rounds; i++) {
		before = caught;
		live_poison(after.at + after_at);
		while (caught == before || !bez_lost_in(after.at, after.len))
			sched_yield();
		before = read_it;
		CHECK_EQ(bez_lost_clear(after.at, after.len), 0);
		live_fill(after.at, after.len, 0);
		while (read_it == before)
			sched_yield();
		CHECK_EQ(bez_lost_in(after.at, after.len), 0);
	}
	done = 1;
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(bad, 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
	CHECK_EQ(bez_lost_generation() >> 32, 2 * rounds);
}

/* Its entries go with the region. */
static void removed(void)
{
	bez_region_t r;

	see_install();
	after_begin(4, 0);
	r = after_add();
	live_poison(after.at + after_at);
	after_first_touch();
	CHECK_EQ(bez_region_remove(r), 0);
	CHECK_EQ(bez_lost_in(after.at, after.len), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 0);
	CHECK_EQ(bez_lost_clear(after.at, after.len), 0);
	r = after_add();
	CHECK_EQ(bez_lost_in(after.at, after.len), 0);
	after_first_touch();
	CHECK_EQ(bez_lost_in(after.at, after.len), 1);
	CHECK_EQ(bez_region_remove(r), 0);
	CHECK_EQ(bez_stop(), 0);
}

static const int private_map = MAP_PRIVATE, shared_map = MAP_SHARED;

#define KIND(k) { .name = #k, .run = each_kind, .data = &kinds_##k, \
		  .timeout_s = 120 }

static const struct tap_case cases[] = {
	KIND(anon), KIND(memfd), KIND(memfd_cow), KIND(tmpfs), KIND(tmpfs_cow),
	KIND(disk), KIND(disk_cow), KIND(huge), KIND(huge_memfd),
	KIND(huge_memfd_cow),
	{ .name = "a cut file that grows again, private", .run = cut_file,
	  .data = &private_map },
	{ .name = "a cut file that grows again, shared", .run = cut_file,
	  .data = &shared_map },
	{ .name = "poison in a file that is cut and grows, private",
	  .run = poison_cut, .data = &private_map },
	{ .name = "poison in a file that is cut and grows, shared",
	  .run = poison_cut, .data = &shared_map },
	{ .name = "memory that others share", .run = others },
	{ .name = "shared memory stays shared", .run = not_detached },
	{ .name = "a page that was unmapped", .run = hole },
	{ .name = "a page that was replaced before", .run = replaced },
	{ .name = "a page that is bad and can be read", .run = unsplit },
	{ .name = "copies end in front of it and do not touch it",
	  .run = copies_end_before },
	{ .name = "a source that is well again does not bring it back",
	  .run = not_back, .timeout_s = 20 },
	{ .name = "no room in the inventory: the next action", .run = no_room },
	{ .name = "lost and cleared while others touch it",
	  .run = again_and_again },
	{ .name = "removed with the region", .run = removed },
};

TAP_MAIN(cases)
