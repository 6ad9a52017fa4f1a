/* SPDX-License-Identifier: MIT */
/* The options of a hunt, what it counts, what it is told, and what is left out. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "core/own.h"
#include "hunt/quarantine_table.h"
#include "hunting.h"

/* --------------------------------------------------------------- the options */

static uint64_t *field;			/* 512 words */
static struct bez_range field_range, house = { (void *)HOUSE, 0x1000 };
static struct bez_hunt_options o = BEZ_HUNT_OPTIONS_INIT;
static struct bez_hunt_result result = BEZ_HUNT_RESULT_INIT;

static void prepare_with(uint32_t flags)
{
	live_start(BEZ_START_NO_EARLY_KILL | flags);
	field = hunting_pages(4096);
	field_range = (struct bez_range){ field, 4096 };
	o.ranges = &field_range;
	o.range_count = 1;
	o.extents = &house;
	o.extent_count = 1;
}

static void prepare(void)
{
	prepare_with(BEZ_START_NO_WORKER);
}

static void masks(void)
{
	const struct bz_hunt_kernel *k = NULL;

	prepare();
	field[1] = HOUSE | 8;
	field[2] = HOUSE | 7 | (uint64_t)0xab << 56;
	field[3] = (HOUSE + 0x1000) | (uint64_t)0xab << 56;
	while ((k = next_kernel(k))) {
		bz_hunt_use = k;
		o.mask = 0;
		o.found = found;
		o.room = 4;
		CHECK_EQ(bez_hunt(&o, &result), 0);
		CHECK_EQ(result.found, 1);
		CHECK(found[0].at == &field[1]);
		o.mask = 0x00fffffffffffff8ull;
		CHECK_EQ(bez_hunt(&o, &result), 0);
		CHECK_EQ(result.found, 2);
		CHECK_EQ(found[0].value + found[1].value, field[1] + field[2]);
	}
	bz_hunt_use = NULL;
	/* nothing would point to it */
	o.mask = 0xff;
	CHECK_EQ(bez_hunt(&o, &result), -EINVAL);
}

static void replaces(void)
{
	prepare();
	field[0] = HOUSE;
	field[9] = (HOUSE + 5) | (uint64_t)3 << 60;
	field[511] = HOUSE + 0xfff;
	o.mask = UINT64_MAX >> 8;
	o.tombstone = 0xdead;
	o.flags = BEZ_HUNT_REPLACE;
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.found, 3);
	CHECK_EQ(result.replaced, 3);
	CHECK_EQ(field[0], 0xdead);
	CHECK_EQ(field[9], 0xdead);
	CHECK_EQ(field[511], 0xdead);
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.found, 0);
	o.tombstone = HOUSE + 1;
	CHECK_EQ(bez_hunt(&o, &result), -EINVAL);
}

static void read_only(void)
{
	uint64_t *at;

	prepare();
	at = hunting_pages(3 * 4096);
	at[7] = at[512 + 7] = at[1024 + 7] = HOUSE + 1;
	field_range = (struct bez_range){ at, 3 * 4096 };
	CHECK_EQ(mprotect(at + 512, 4096, PROT_READ), 0);
	CHECK_EQ(mprotect(at + 1024, 4096, PROT_NONE), 0);
	o.flags = BEZ_HUNT_REPLACE;
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.found, 2);
	CHECK_EQ(result.replaced, 1);
	CHECK_EQ(result.read_only, 1);
	CHECK_EQ(result.bytes_skipped, 4096);
	CHECK_EQ(at[7], 0);
	CHECK_EQ(at[512 + 7], HOUSE + 1);
}

static void little_room(void)
{
	unsigned int i;

	prepare();
	for (i = 0; i < 100; i++)
		field[5 * i] = HOUSE + i;
	memset(found, 0x5a, sizeof(found));
	o.found = found;
	o.room = 3;
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.found, 100);
	for (i = 0; i < 3; i++)
		CHECK_EQ(*found[i].at, found[i].value);
	CHECK_EQ(found[3].value, 0x5a5a5a5a5a5a5a5aull);
	/* twice named, once found */
	o.ranges = (struct bez_range[]){ field_range, field_range };
	o.range_count = 2;
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.found, 100);
}

static unsigned int told;

static int enough(const struct bez_hunt_found *f, void *arg)
{
	CHECK(arg == &told);
	CHECK_EQ(*f->at, o.flags & BEZ_HUNT_REPLACE ? 0 : f->value);
	CHECK_EQ(bez_hunt(&o, NULL), -EDEADLK);
	return ++told == 5 ? 1 : 0;
}

static void tells(void)
{
	unsigned int i, left = 0;

	prepare();
	for (i = 0; i < 40; i++)
		field[i] = HOUSE;
	o.fn = enough;
	o.arg = &told;
	o.flags = BEZ_HUNT_REPLACE;
	CHECK_EQ(bez_hunt(&o, &result), -ECANCELED);
	CHECK_EQ(told, 5);
	CHECK_EQ(result.replaced, 5);
	for (i = 0; i < 40; i++)
		left += field[i] == HOUSE;
	CHECK_EQ(left, 35);
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(told, 40);
}

static void refuses(void)
{
	struct bez_hunt_options bad;

	prepare();
	CHECK_EQ(bez_hunt(NULL, NULL), -EINVAL);
	bad = o;
	bad.flags = 0x80;
	CHECK_EQ(bez_hunt(&bad, NULL), -EINVAL);
	bad = o;
	bad.range_count = 0;
	CHECK_EQ(bez_hunt(&bad, NULL), -EINVAL);
	bad = o;
	bad.threads = 65;
	CHECK_EQ(bez_hunt(&bad, NULL), -EINVAL);
	bad = o;
	bad.extents = &(struct bez_range){ (void *)HOUSE, 0 };
	CHECK_EQ(bez_hunt(&bad, NULL), -EINVAL);
	bad = o;
	bad.flags = BEZ_HUNT_THREADS;
	bad.signal = 10;
	CHECK_EQ(bez_hunt(&bad, NULL), -EINVAL);
	bad = o;
	bad.flags = BEZ_HUNT_REPLACE | BEZ_HUNT_MAPPINGS;
	CHECK_EQ(bez_hunt(&bad, NULL), -EOPNOTSUPP);
	/* nothing is lost: nothing is found */
	bad = o;
	bad.extents = NULL;
	bad.extent_count = 0;
	CHECK_EQ(bez_hunt(&bad, &result), 0);
	CHECK_EQ(result.found, 0);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(bez_hunt(&o, NULL), -ESRCH);
}

/* --------------------------------------------------------- what is looked at */

/* Sixteen pages of a gigabyte are there: no other comes there by the hunt. */
static void absent(uint64_t *at, size_t len)
{
	uint64_t start, end, from = (uint64_t)at, there = 0, last = from + len;
	int fd = (int)bz_openat("/proc/self/pagemap", O_RDONLY);

	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.found, 16);
	CHECK_EQ(result.bytes, 16 * unit_page());
	CHECK_EQ(result.bytes_absent, len - 16 * unit_page());
	while (bz_present_next(fd, &from, last, &start, &end))
		there += end - start;
	bz_close(fd);
	CHECK_EQ(there, 16 * unit_page());
}

static void leaves_absent(void)
{
	size_t len = 1u << 30, i;
	uint64_t *at;

	prepare();
	at = hunting_pages(len);
	CHECK_EQ(madvise(at, len, MADV_NOHUGEPAGE), 0);
	for (i = 0; i < 16; i++)
		at[(i * i * 4000000 + 77) % (len / 8)] = HOUSE + i;
	field_range = (struct bez_range){ at, len };
	absent(at, len);
	/* page by page, as before Linux 6.7 */
	double_watch();
	double_rule(&(struct double_rule){ .nr = SYS_ioctl,
					   .what = (long)PAGEMAP_SCAN,
					   .err = ENOTTY });
	absent(at, len);
	double_rest();
}

/* As garbage collectors and sanitizers have them: not in pieces of 4 MiB. */
static void reservations(void)
{
	size_t len = (size_t)4 << 40, i;
	uint64_t *at, start, end;

#if !defined(__x86_64__)
	tap_skip("qemu-user, where this runs, notes each page of a mapping");
#endif
	prepare();
	at = mmap(NULL, len, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		tap_skip("no 4 TiB of addresses");
	CHECK_EQ(madvise(at, len, MADV_NOHUGEPAGE), 0);
	for (i = 0; i < 16; i++)
		at[(i * i * i * 0x12345678 + 7) % (len / 8)] = HOUSE + i;
	at[len / 8 - 1] = HOUSE;
	CHECK(bz_present_scan((int)bz_openat("/proc/self/pagemap", O_RDONLY),
			      (uint64_t)at, (uint64_t)at + len, &start, &end));
	if (end == (uint64_t)at + len)
		tap_skip("no PAGEMAP_SCAN before Linux 6.7");
	field_range = (struct bez_range){ at, len };
	for (o.threads = 1; o.threads < 4; o.threads++) {
		CHECK_EQ(bez_hunt(&o, &result), 0);
		CHECK_EQ(result.found, 17);
		CHECK_EQ(result.bytes, 17 * unit_page());
		CHECK_EQ(result.bytes_absent, len - 17 * unit_page());
	}
}

static void lines(void)
{
	static const struct { const char *line; int is; uint32_t flags; } all[] = {
		{ "7f00-8000 rw-p 00000000 00:00 0 ", 1, 15 },
		{ "7f00-8000 r--p 00000000 00:00 0 ", 1, 13 },
		{ "7f00-8000 rw-p 00000000 00:00 0          [heap]", 1, 15 },
		{ "7f00-8000 rw-s 00000000 00:01 77   /memfd:x (deleted)", 1, 3 },
		{ "7f00-8000 rw-p 00001000 08:01 77   /lib/x.so", 1, 7 },
		{ "7f00-8000 ---p 00000000 00:00 0 ", 1, 12 },
		{ "7f00-8000 rw-p 00000000 00:0f 7  /anon_hugepage (deleted)",
		  1, 15 },
		{ "7f00-8000 rw-p 00000000 00:05 9    /dev/nvidia0", 1, 23 },
		{ "7f00-8000 r--p 00000000 00:00 0    [vvar]", 1, 29 },
		{ "7f00-8000", 0, 0 }, { "", 0, 0 }, { "x-y rw-p", 0, 0 },
	};
	struct bz_piece piece;
	size_t i;

	for (i = 0; i < COUNT_OF(all); i++) {
		CHECK_EQ(bz_maps_line(all[i].line, &piece), all[i].is);
		if (!all[i].is)
			continue;
		CHECK_EQ(piece.start, 0x7f00);
		CHECK_EQ(piece.end, 0x8000);
		CHECKF(piece.flags == all[i].flags, "%s: %u", all[i].line,
		       piece.flags);
	}
}

/* The ranges of an allocator, and what it was told. */
static struct bez_quarantined what;
static _Atomic int is_told;

static void hears(const struct bez_quarantined *lost, void *arg)
{
	(void)arg;
	what = *lost;
	atomic_store(&is_told, 1);
}

static struct bz_quarantine *quarantined(void *at)
{
	struct bez_range range = { at, 2 * unit_page() };
	struct bez_quarantine q = {
		.size = sizeof(q), .fn = hears, .ranges = &range, .count = 1,
	};
	bez_quarantine_t id;

	CHECK_EQ(bez_quarantine_add(&q, &id), 0);
	while (!atomic_load(&is_told))
		sched_yield();
	CHECK(what.addr == at);
	return &bz_quarantines.one[0];
}

/* The tables of regions have where they begin, and so have the events. */
static void leaves_own(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_range extent;
	struct bez_hunt_options all = BEZ_HUNT_OPTIONS_INIT;
	uint64_t start, end, has = 0, planted = 0, i, word = 0;
	const struct bz_quarantine *q;
	uint32_t n = 0;
	bez_region_t region;
	unsigned char *at;

	prepare_with(0);
	at = live_pages(2);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, 2 * unit_page(), &policy, &region), 0);
	CHECK_EQ(bez_lost_add(at, unit_page()), 0);
	q = quarantined(at);
	field[3] = (uint64_t)at + 9;
	if (bz_hunt_fetch(&word, field, 8) == -ENOSYS)
		tap_skip("no process_vm_writev here");
	while (bz_own_next(&n, &start, &end)) {
		uint64_t there = start, s, e;
		int fd = (int)bz_openat("/proc/self/pagemap", O_RDONLY);

		while (bz_present_next(fd, &there, end, &s, &e))
			for (; s < e; s += 8) {
				if (bz_hunt_fetch(&word, (void *)s, 8) == 8)
					has += word - (uint64_t)at <
					       unit_page();
			}
		bz_close(fd);
	}
	CHECK(has > 2);
	extent = (struct bez_range){ at, unit_page() };
	all.extents = &extent;
	all.extent_count = 1;
	all.flags = BEZ_HUNT_MAPPINGS | BEZ_HUNT_REGIONS;
	all.found = found;
	all.room = HUNTING_MOST;
	all.threads = 2;
	CHECK_EQ(bez_hunt(&all, &result), 0);
	CHECK(result.found >= 1 && result.found < 100);
	for (i = 0; i < result.found; i++) {
		CHECK(!bz_own_has((uint64_t)found[i].at));
		CHECK((uint64_t)found[i].at - (uint64_t)q->told >= q->map_size);
		CHECK((void *)found[i].at != (void *)&extent);
		planted += found[i].at == &field[3];
	}
	CHECK_EQ(planted, 1);
}

static const struct tap_case cases[] = {
	{ .name = "masks", .run = masks },
	{ .name = "replaces", .run = replaces },
	{ .name = "read-only memory is left alone", .run = read_only },
	{ .name = "little room, exact counts", .run = little_room },
	{ .name = "tells, and ends when told", .run = tells },
	{ .name = "refuses", .run = refuses },
	{ .name = "memory that was never there", .run = leaves_absent },
	{ .name = "a reservation of terabytes", .run = reservations,
	  .timeout_s = 20 },
	{ .name = "lines of maps", .run = lines },
	{ .name = "the library's own memory", .run = leaves_own },
};

TAP_MAIN(cases)
