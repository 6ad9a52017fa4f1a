/* SPDX-License-Identifier: MIT */
/*
 * The hunt where nothing is lost, with extents that are given: each kernel that the
 * processor has, at every offset and at the edges; random memory against a slow
 * exact scan, for few and for many extents.
 */
#include <stdlib.h>
#include <string.h>

#include "hunting.h"

static uint64_t seed = 1;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* ----------------------------------------------------------------- kernels */

static struct bz_quarry quarry_of(const struct bez_range *extents,
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
	uint64_t *word = hunting_pages(8192);
	size_t words = 3 * BZ_BLOCK / sizeof(*word), b, i, n;

	while ((k = next_kernel(k)))
		for (b = 0; b < COUNT_OF(bases); b++)
			for (n = 1; n <= 5; n += 2) {
				struct bez_range x[5];
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
	struct bez_range x[400];
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

static int points(const struct bez_range *x, size_t n, uint64_t value)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (value - (uint64_t)x[i].addr < x[i].len)
			return 1;
	return 0;
}

/* Objects, some of which point to what is lost, to its edges, or nearly. */
static void make_graph(uint64_t *word, size_t words,
		       const struct bez_range *x, size_t n)
{
	size_t i;

	for (i = 0; i < words; i++) {
		const struct bez_range *to = &x[any() % n];
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
		    const struct bez_range *x, size_t n,
		    uint32_t threads, const char *kernel)
{
	struct bez_range range = { (void *)(uintptr_t)from, len };
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
	o.room = HUNTING_MOST;
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK(result.found <= HUNTING_MOST);
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
	uint64_t *word = hunting_pages(words * 8);
	struct bez_range x[300];

	hunting_start();
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

static const struct tap_case cases[] = {
	{ .name = "kernels: a word at every offset", .run = every_offset },
	{ .name = "intervals around all that is lost", .run = lanes_hold_all },
	{ .name = "random graphs against a slow scan", .run = graphs },
};

TAP_MAIN(cases)
