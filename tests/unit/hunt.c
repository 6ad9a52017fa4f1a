/* SPDX-License-Identifier: MIT */
/*
 * The hunt where nothing is lost, with extents that are given: each kernel that the
 * processor has, at every offset and at the edges; random memory against a slow
 * exact scan, for few and for many extents; masks, counts, what is left out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../live/live.h"
#include "core/own.h"
#include "hunt/hunt.h"
#include "unit.h"

#define MOST	65536u			/* found, of a case */
#define HOUSE	0x7123400000ull		/* where extents are: nothing is there */

static struct bez_hunt_found found[MOST];

static const struct bz_hunt_kernel *next_kernel(const struct bz_hunt_kernel *last)
{
	size_t i = 0;

	while (last && bz_hunt_kernels[i++] != last)
		continue;
	while (bz_hunt_kernels[i] && !bz_hunt_kernels[i]->usable())
		i++;
	return bz_hunt_kernels[i];
}

static uint64_t seed = 1;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void *pages(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

static void begin(void)
{
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
}

/* ----------------------------------------------------------------- kernels */

static struct bz_quarry quarry_of(const struct bez_hunt_range *extents,
				  size_t count, uint64_t mask)
{
	struct bez_hunt_options o = BEZ_HUNT_OPTIONS_INIT;
	struct bz_quarry q;

	memset(&q, 0, sizeof(q));
	o.extents = extents;
	o.extent_count = count;
	o.mask = mask;
	CHECK_EQ(bz_quarry_take(&o, &q), 0);
	return q;
}

/* Of @words, the @i-th alone is @value: is that seen, and at the right place? */
static void one_word(const struct bz_hunt_kernel *k, const struct bz_lanes *lanes,
		     uint64_t *word, size_t words, size_t i, uint64_t value,
		     int fits)
{
	size_t block = k->block / sizeof(*word), done;
	uint64_t copy[BZ_BLOCK / sizeof(*word)];
	uint64_t was = word[i];
	uint32_t why = 99;

	word[i] = value;
	done = k->skip(word, words * sizeof(*word), lanes, copy, &why);
	CHECKF(why == (fits ? BZ_SKIP_HIT : BZ_SKIP_ALL),
	       "%s: word %zu, %#llx: %u", k->name, i,
	       (unsigned long long)value, why);
	CHECK_EQ(done, fits ? i / block * k->block : words * sizeof(*word));
	if (fits)
		CHECK_EQ(memcmp(copy, word + i / block * block, k->block), 0);
	word[i] = was;
}

/* The last lane first; and around addresses where signs change. */
static void every_offset(void)
{
	static const uint64_t bases[] = { 0x1000, HOUSE, 0x7ffffffffffff000ull,
					  0x8000000000000000ull,
					  0xfffffffffffe0000ull };
	const struct bz_hunt_kernel *k = NULL;
	uint64_t *word = pages(8192);
	size_t words = 3 * BZ_BLOCK / sizeof(*word), b, i, n;

	while ((k = next_kernel(k)))
		for (b = 0; b < COUNT_OF(bases); b++)
			for (n = 1; n <= 5; n += 2) {
				struct bez_hunt_range x[5];
				struct bz_quarry q;

				for (i = 0; i < n; i++) {
					x[i].addr = (void *)(bases[b] +
							     i * 0x3000);
					x[i].len = 0x1000;
				}
				q = quarry_of(x, n, 0);
				CHECK_EQ(q.lanes.count, n > 4 ? 4 : n);
				for (i = 0; i < words; i++) {
					uint64_t at = (uint64_t)x[i % n].addr;

					one_word(k, &q.lanes, word, words, i,
						 at, 1);
					one_word(k, &q.lanes, word, words, i,
						 at + 0xfff, 1);
					if (n <= BZ_LANES)
						one_word(k, &q.lanes, word,
							 words, i, at - 1, 0);
				}
				one_word(k, &q.lanes, word, words, 5,
					 (uint64_t)x[n - 1].addr + 0x1000, 0);
				one_word(k, &q.lanes, word, words, 5, 0, 0);
				bz_quarry_free(&q);
			}
}

static void lanes_hold_all(void)
{
	struct bez_hunt_range x[400];
	unsigned int round, i, k;

	for (round = 0; round < 300; round++) {
		unsigned int n = 1 + (unsigned int)(any() % COUNT_OF(x));
		uint64_t covered = 0, all = 0;
		struct bz_quarry q;

		for (i = 0; i < n; i++) {
			x[i].addr = (void *)(4096 + (any() % (1u << 20) << 12));
			x[i].len = 4096u << any() % 3;
		}
		q = quarry_of(x, n, 0);
		CHECK(q.lanes.count >= 1 && q.lanes.count <= BZ_LANES);
		for (i = 0; i < n; i++) {
			uint64_t at = (uint64_t)x[i].addr, in = 0;

			for (k = 0; k < q.lanes.count; k++)
				in += at - q.lanes.lo[k] < q.lanes.span[k] &&
				      at + x[i].len - 1 - q.lanes.lo[k] <
					      q.lanes.span[k];
			CHECK_EQ(in, 1);
			CHECK(bz_quarry_has(&q, at));
			CHECK(bz_quarry_has(&q, at + x[i].len - 1));
		}
		for (k = 0; k < q.lanes.count; k++)
			covered += q.lanes.span[k];
		/* the widest gaps are outside */
		all = q.extents.at[q.extents.count - 1].end -
		      q.extents.at[0].start;
		CHECK(q.extents.count < 5 ?
			      covered == bz_pieces_bytes(&q.extents) :
			      covered < all);
		bz_quarry_free(&q);
	}
}

/* ------------------------------------------------------ against a slow scan */

static int by_address(const void *a, const void *b)
{
	const struct bez_hunt_found *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

static int points(const struct bez_hunt_range *x, size_t n, uint64_t value)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (value - (uint64_t)x[i].addr < x[i].len)
			return 1;
	return 0;
}

/* Objects, some of which point to what is lost, to its edges, or nearly. */
static void make_graph(uint64_t *word, size_t words,
		       const struct bez_hunt_range *x, size_t n)
{
	size_t i;

	for (i = 0; i < words; i++) {
		const struct bez_hunt_range *to = &x[any() % n];
		uint64_t at = (uint64_t)to->addr;

		switch (any() % 24) {
		case 0:
			word[i] = at + any() % to->len;
			break;
		case 1:
			word[i] = at + to->len;
			break;
		case 2:
			word[i] = at - 1;
			break;
		case 3:
			word[i] = at;
			break;
		case 4:
			word[i] = at ^ (uint64_t)1 << any() % 64;
			break;
		case 5:
			word[i] = (uint64_t)&word[any() % words];
			break;
		case 6:
			word[i] = any();
			break;
		default:
			word[i] = 0;
		}
	}
}

static void compare(const uint64_t *word, const unsigned char *from, size_t len,
		    const struct bez_hunt_range *x, size_t n,
		    uint32_t threads, const char *kernel)
{
	struct bez_hunt_range range = { (void *)(uintptr_t)from, len };
	struct bez_hunt_options o = BEZ_HUNT_OPTIONS_INIT;
	struct bez_hunt_result result = BEZ_HUNT_RESULT_INIT;
	size_t first = ((uintptr_t)from - (uintptr_t)word + 7) / 8, i, k = 0;
	size_t end = ((uintptr_t)from + len - (uintptr_t)word) / 8;

	o.ranges = &range;
	o.range_count = 1;
	o.extents = x;
	o.extent_count = n;
	o.threads = threads;
	o.found = found;
	o.room = MOST;
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK(result.found <= MOST);
	CHECK_EQ(result.bytes + result.bytes_absent, (end - first) * 8);
	qsort(found, result.found, sizeof(*found), by_address);
	for (i = first; i < end; i++) {
		if (!points(x, n, word[i]))
			continue;
		CHECKF(k < result.found && found[k].at == &word[i],
		       "%s: word %zu of %zu", kernel, i, end);
		CHECK_EQ(found[k].value, word[i]);
		CHECK(word[i] - (uint64_t)found[k].extent < found[k].width);
		CHECK_EQ(found[k].what, BEZ_HUNT_FOUND);
		k++;
	}
	CHECK_EQ(k, result.found);
}

static void graphs(void)
{
	static const unsigned int counts[] = { 1, 2, 3, 4, 7, 300 };
	const struct bz_hunt_kernel *k = NULL;
	size_t words = (5u << 20) / 8, c, i;
	uint64_t *word = pages(words * 8);
	struct bez_hunt_range x[300];

	begin();
	while ((k = next_kernel(k)))
		for (c = 0; c < COUNT_OF(counts); c++) {
			unsigned int n = counts[c];
			const unsigned char *at = (unsigned char *)word;

			bz_hunt_use = k;
			for (i = 0; i < n; i++) {
				x[i].addr = (void *)(HOUSE + i * 0x40000);
				x[i].len = i % 3 ? 0x1000 : 0x30000;
			}
			/* to both ends of the address space */
			x[n - 1].addr = n > 1 ? (void *)0x7ffff0000000ull :
						x[0].addr;
			make_graph(word, words / 8, x, n);
			for (i = 0; i < 24; i++)
				compare(word, at + i, words - 1000 + 5 * i, x,
					n, 1, k->name);
			compare(word, at + 3, words - 3, x, n, 1, k->name);
			compare(word, at + 40, 7, x, n, 1, k->name);
			compare(word, at + 40, 8, x, n, 1, k->name);
			compare(word, at, words * 8, x, n, 3, k->name);
		}
	bz_hunt_use = NULL;
}

/* --------------------------------------------------------------- the options */

static uint64_t *field;			/* 512 words */
static struct bez_hunt_range field_range, house = { (void *)HOUSE, 0x1000 };
static struct bez_hunt_options o = BEZ_HUNT_OPTIONS_INIT;
static struct bez_hunt_result result = BEZ_HUNT_RESULT_INIT;

static void prepare(void)
{
	begin();
	field = pages(4096);
	field_range = (struct bez_hunt_range){ field, 4096 };
	o.ranges = &field_range;
	o.range_count = 1;
	o.extents = &house;
	o.extent_count = 1;
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
	at = pages(3 * 4096);
	at[7] = at[512 + 7] = at[1024 + 7] = HOUSE + 1;
	field_range = (struct bez_hunt_range){ at, 3 * 4096 };
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
	o.ranges = (struct bez_hunt_range[]){ field_range, field_range };
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
	bad.extents = &(struct bez_hunt_range){ (void *)HOUSE, 0 };
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
	at = pages(len);
	CHECK_EQ(madvise(at, len, MADV_NOHUGEPAGE), 0);
	for (i = 0; i < 16; i++)
		at[(i * i * 4000000 + 77) % (len / 8)] = HOUSE + i;
	field_range = (struct bez_hunt_range){ at, len };
	absent(at, len);
	/* page by page, as before Linux 6.7 */
	double_watch();
	double_rule(&(struct double_rule){ .nr = SYS_ioctl,
					   .what = (long)PAGEMAP_SCAN,
					   .err = ENOTTY });
	absent(at, len);
	double_rest();
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

static int in_own(uint64_t at)
{
	uint64_t start, end;
	uint32_t i = 0;

	while (bz_own_next(&i, &start, &end))
		if (at - start < end - start)
			return 1;
	return 0;
}

/* The tables of regions have where they begin, and so have the events. */
static void leaves_own(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_hunt_range extent;
	struct bez_hunt_options all = BEZ_HUNT_OPTIONS_INIT;
	uint64_t start, end, has = 0, planted = 0, i;
	uint32_t n = 0;
	bez_region_t region;
	unsigned char *at;

	prepare();
	at = live_pages(2);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, 2 * unit_page(), &policy, &region), 0);
	CHECK_EQ(bez_lost_add(at, unit_page()), 0);
	field[3] = (uint64_t)at + 9;
	while (bz_own_next(&n, &start, &end)) {
		uint64_t there = start, s, e;
		int fd = (int)bz_openat("/proc/self/pagemap", O_RDONLY);

		while (bz_present_next(fd, &there, end, &s, &e))
			for (; s < e; s += 8) {
				uint64_t word = 0;

				if (bz_hunt_fetch(&word, (void *)s, 8) == 8)
					has += word - (uint64_t)at <
					       unit_page();
			}
		bz_close(fd);
	}
	CHECK(has > 2);
	extent = (struct bez_hunt_range){ at, unit_page() };
	all.extents = &extent;
	all.extent_count = 1;
	all.flags = BEZ_HUNT_MAPPINGS | BEZ_HUNT_REGIONS;
	all.found = found;
	all.room = MOST;
	all.threads = 2;
	CHECK_EQ(bez_hunt(&all, &result), 0);
	CHECK(result.found >= 1 && result.found < 100);
	for (i = 0; i < result.found; i++) {
		CHECK(!in_own((uint64_t)found[i].at));
		CHECK((void *)found[i].at != (void *)&extent);
		planted += found[i].at == &field[3];
	}
	CHECK_EQ(planted, 1);
}

static const struct tap_case cases[] = {
	{ .name = "kernels: a word at every offset", .run = every_offset },
	{ .name = "intervals around all that is lost", .run = lanes_hold_all },
	{ .name = "random graphs against a slow scan", .run = graphs },
	{ .name = "masks", .run = masks },
	{ .name = "replaces", .run = replaces },
	{ .name = "read-only memory is left alone", .run = read_only },
	{ .name = "little room, exact counts", .run = little_room },
	{ .name = "tells, and ends when told", .run = tells },
	{ .name = "refuses", .run = refuses },
	{ .name = "memory that was never there", .run = leaves_absent },
	{ .name = "lines of maps", .run = lines },
	{ .name = "the library's own memory", .run = leaves_own },
};

TAP_MAIN(cases)
