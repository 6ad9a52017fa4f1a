/* SPDX-License-Identifier: MIT */
/*
 * Memory of a guest that the monitor has not, unless it asks for that: guest_memfd
 * (Linux 6.8), mapped (6.18). What a monitor is told of a lost page of it, and what
 * it can do.
 */
#define _GNU_SOURCE
#include "gmem.h"
#include "live.h"
#include "memory.h"
#include "poison.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void make(struct memory *m)
{
	size_t i;

	*m = (struct memory){ .len = 4 * PAGE, .bad = 2 * PAGE, .unit = PAGE };
	m->fd = gmem_open(m->len);
	m->at = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	CHECKF(m->at != MAP_FAILED, "mmap: %s", strerror(errno));
	for (i = 0; i < m->len / PAGE; i++)
		memset(m->at + i * PAGE, fill_of(i), PAGE);
	note(m);
}

/* The kernel says that it could not do it now, and has. */
static void lose_it(struct memory *m)
{
	CHECK_EQ(poison_untold(m->at + m->bad), -EBUSY);
	CHECK_EQ(corrupted_kib(), m->corrupted + 4);
}

/* The memory has lost it, and not just a mapping: until it is punched out, there is
 * nothing to be had there, and then a page of zeros. */
static void stays_lost(void)
{
	unsigned char *at, page[PAGE];
	struct memory m;

	take_sigbus();
	make(&m);
	at = m.at + m.bad + 123;
	lose_it(&m);
	check_told(&m, at);
	CHECK_EQ(madvise(m.at + m.bad, PAGE, MADV_DONTNEED), 0);
	check_told(&m, at);
	check_good(at + PAGE, fill_of(3));
	CHECK_EQ(pread(m.fd, page, PAGE, 3 * PAGE), -1);
	CHECK_EQ(errno, ESPIPE);
	CHECK_EQ(fallocate(m.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)m.bad, PAGE), 0);
	check_good(at, 0);
	CHECK_EQ(sigbus.count, 2);
	undo(&m);
}

/* It is no file that could be read, or be asked for its holes: nobody may say who
 * shares it, and so it is not replaced. */
static void refused(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_event e = { .seq = 0 };
	struct bez_source from;
	bez_region_t region;
	struct memory m;
	uint64_t seq = 0;

	take_sigbus();
	make(&m);
	live_start(BEZ_START_NO_EARLY_KILL);
	m.mirror = anon(4, MAP_PRIVATE);
	from = bez_source_mirror(m.mirror);
	policy.source = &from;
	policy.shared = &shared;
	shared.fd = m.fd;
	shared.flags = BEZ_SHARED_EXCLUSIVE;
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), -ENXIO);
	policy.shared = NULL;
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), 0);
	lose_it(&m);
	check_told(&m, m.at + m.bad + 123);
	CHECK_EQ(bez_events(&seq, &e, 1), 1);
	CHECK_EQ(e.cause, BEZ_CAUSE_POISON_AR);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(e.why, BEZ_OUTCOME_REFUSED_SHARED);
	CHECK_EQ(bez_recover(m.at + m.bad, 1), -EFAULT);
	CHECK_EQ(bez_region_remove(region), 0);
	undo(&m);
}

static const struct tap_case cases[] = {
	{ .name = "lost until it is punched out", .run = stays_lost },
	{ .name = "a region is refused by name", .run = refused },
};
TAP_MAIN(cases)
