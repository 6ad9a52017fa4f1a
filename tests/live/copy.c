/* SPDX-License-Identifier: MIT */
/*
 * Copies that meet lost pages: every way to copy, each side lost, at every
 * offset of two pages and with the loss at every byte of what is small. The
 * count is exact, and no byte behind it has changed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "copy_help.h"

static void forbidden(int sig)
{
	(void)sig;
	_Exit(99);
}

/* Whoever had SIGBUS before is not asked. */
static size_t begin(void)
{
	signal(SIGBUS, forbidden);
	live_start(BEZ_START_NO_EARLY_KILL);
	return live_page();
}

/* Which side is lost; @also: where the other one is. */
struct sides {
	unsigned int src, dst;		/* lost pages, as bits */
};

#define THIRD (1u << 2)
#define FIFTH (1u << 4)

static const struct sides src_lost = { THIRD, 0 };
static const struct sides dst_lost = { 0, THIRD };
static const struct sides both_lost = { THIRD, THIRD };
static const unsigned int one_page = THIRD, two_pages = THIRD | FIFTH;
static const struct sides src_first = { THIRD | FIFTH, FIFTH };
static const struct sides dst_first = { FIFTH, THIRD | FIFTH };

/* From each offset of two pages into the lost one, and beyond it. */
static void every_offset(void)
{
	const struct sides *sides = tap_data();
	const struct bz_copier *copier = NULL;
	struct field src, dst;
	size_t page = begin(), at, more;

	field_open(&src, 6, sides->src, 1);
	field_open(&dst, 6, sides->dst, 2);
	while ((copier = next_copier(copier)))
		for (at = 0; at < 2 * page; at += field_step(509)) {
			size_t left = 2 * page - at;

			/* up to three pages more */
			more = 1 + at * 31 % (3 * page);
			field_copy(copier, &dst, at, &src, at, left + more);
			/* the other side elsewhere */
			field_copy(copier, &dst, at * 13 % (2 * page), &src,
				   at, left + page);
			/* just not */
			field_copy(copier, &dst, at, &src, at, left);
		}
	CHECK(bez_outcome_count(BEZ_OUTCOME_COPY_SHORT) > 0);
}

/* Up to where all loads come before all stores, and a little more. */
#define SMALL 1200

static void every_small(void)
{
	const struct sides *sides = tap_data();
	const struct bz_copier *copier = NULL;
	struct field src, dst;
	size_t page = begin(), len, good;

	field_open(&src, 6, sides->src, 1);
	field_open(&dst, 6, sides->dst, 2);
	while ((copier = next_copier(copier)))
		for (len = 1; len < SMALL;
		     len += len < 140 ? field_step(23) : field_step(9) * 29)
			for (good = 0; good < len; good += field_step(31)) {
				size_t at = 2 * page - good;
				size_t off = 1 + (len + good) % 63;

				field_copy(copier, &dst, at, &src, at, len);
				field_copy(copier, &dst, at - off, &src, at,
					   len);
			}
	CHECK(bez_outcome_count(BEZ_OUTCOME_COPY_SHORT) > 0);
}

static const size_t distances[] = {
	0, 1, 2, 3, 7, 8, 9, 15, 16, 31, 33, 63, 64, 65, 100, 127, 129, 255,
	300, 511, 513, 700, 1025, 4095, 4096, 4097, 6000,
};

#define DISTANCES (sizeof(distances) / sizeof(distances[0]))

/* Both in one piece of memory, up and down. */
static void overlap(struct field *f)
{
	static const size_t lens[] = { 2, 5, 11, 20, 40, 70, 130, 200, 300, 520,
				       900, 2200, 4500, 9000 };
	const struct bz_copier *copier = NULL;
	size_t page = live_page(), d, l, good;

	while ((copier = next_copier(copier)))
		for (d = 0; d < DISTANCES; d++)
			for (l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
				size_t len = lens[l], by = distances[d];
				size_t step = 1 + (len + by) / 23;

				for (good = 0; good < len + by && good < page;
				     good += step * field_step(41)) {
					size_t low = 2 * page - good;

					field_copy(copier, f, low + by, f,
						   low, len);
					field_copy(copier, f, low, f,
						   low + by, len);
				}
				/* nothing is lost there */
				if (len + by < 2 * page) {
					field_copy(copier, f, by, f, 0, len);
					field_copy(copier, f, 0, f, by, len);
				}
			}
}

static void overlapping(void)
{
	const unsigned int *pages = tap_data();
	struct field f;

	begin();
	field_open(&f, 8, *pages, 3);
	overlap(&f);
}

/* Any pages, any place. */
static void several(void)
{
	const struct bz_copier *copier = NULL;
	unsigned int round, times = live_is_real() ? 6 : 400;
	struct field src, dst;

	begin();
	srand(7);
	for (round = 0; round < 12; round++) {
		field_open(&src, FIELD_PAGES, (unsigned int)rand() &
			   (unsigned int)rand() & 0xffff, 1);
		field_open(&dst, FIELD_PAGES, (unsigned int)rand() &
			   (unsigned int)rand() & 0xffff, 2);
		while ((copier = next_copier(copier))) {
			unsigned int i;

			for (i = 0; i < times; i++) {
				size_t from = (size_t)rand() % src.len;
				size_t to = (size_t)rand() % dst.len;
				size_t len = (size_t)rand() % src.len;

				if (from + len > src.len)
					len = src.len - from;
				if (to + len > dst.len)
					len = dst.len - to;
				field_copy(copier, &dst, to, &src, from, len);
				to = (size_t)rand() % (src.len - len + 1);
				field_copy(copier, &src, to, &src, from, len);
			}
		}
	}
}

#if defined(__x86_64__)
/* By vectors what is else copied by rep movsb, and the other way round. */
static void vectors(void)
{
	bz_copy_rep_from = SIZE_MAX;
	every_offset();
}

static void vectors_several(void)
{
	bz_copy_rep_from = SIZE_MAX;
	several();
}

static void strings(void)
{
	bz_copy_rep_from = 0;
	every_offset();
}
#endif

/* ------------------------------------------------------- set and compare */

static void check_set(const struct bz_copier *copier, struct field *f,
		      size_t at, size_t len)
{
	size_t n = field_good(f, at, len), left, i;
	size_t begin_at = at > 64 ? at - 64 : 0;
	size_t end = at + len + 64 < f->len ? at + len + 64 : f->len;
	static unsigned char before[FIELD_PAGES * 65536];

	memcpy(before, f->is + begin_at, end - begin_at);
	memset(f->is + at, 0xA5, n);
	left = copier->set(f->at + at, 0x1A5, len);
	CHECKF(left == len - n, "%s: %zu bytes at %zu: %zu left, not %zu",
	       copier->name, len, at, left, len - n);
	i = field_wrong(f, begin_at, end);
	CHECKF(!i, "%s: %zu bytes at %zu: %zu are wrong", copier->name, len,
	       at, i);
	memcpy(f->is + begin_at, before, end - begin_at);
	field_reset(f, begin_at, end);
}

static void setting(void)
{
	const struct bz_copier *copier = NULL;
	size_t page = begin(), at, len, good;
	struct field f;

	field_open(&f, 6, THIRD | FIFTH, 1);
	while ((copier = next_copier(copier))) {
		for (at = 0; at < 2 * page; at += field_step(509)) {
			check_set(copier, &f, at, 2 * page - at);
			check_set(copier, &f, at, 2 * page - at + 1);
			check_set(copier, &f, at, 3 * page);
		}
		for (len = 0; len < 700;
		     len += len < 70 ? field_step(9) : field_step(7) * 13)
			for (good = 0; good <= len; good += field_step(19))
				check_set(copier, &f, 2 * page - good, len);
	}
}

static void check_compare(const struct bz_copier *copier, const struct field *a,
			  size_t at, const struct field *b, size_t bt,
			  size_t len)
{
	size_t n = field_good(a, at, len), i = 0, left;
	int order = 77;

	n = field_good(b, bt, n);
	while (i < n && a->is[at + i] == b->is[bt + i])
		i++;
	left = copier->compare(a->at + at, b->at + bt, len, &order);
	if (i == n && n < len) {
		CHECKF(left == len - n && order == 77,
		       "%s: %zu bytes at %zu and %zu: %zu left, not %zu; %d",
		       copier->name, len, at, bt, left, len - n, order);
		return;
	}
	CHECKF(!left, "%s: %zu bytes at %zu and %zu: %zu left", copier->name,
	       len, at, bt, left);
	CHECKF(i == n ? order == 0 : (order < 0) ==
	       (a->is[at + i] < b->is[bt + i]) && order != 0,
	       "%s: %zu bytes at %zu and %zu: %d", copier->name, len, at, bt,
	       order);
}

/* The two differ in one byte, or in none. */
static void differ(struct field *a, size_t at, int by)
{
	if (field_good(a, at, 1)) {
		a->is[at] = (unsigned char)(a->is[at] + by);
		a->at[at] = a->is[at];
	}
}

static void comparing(void)
{
	const struct sides *sides = tap_data();
	const struct bz_copier *copier = NULL;
	size_t page = begin(), at, len, good, where;
	struct field a, b;

	field_open(&a, 6, sides->src, 1);
	field_open(&b, 6, sides->dst, 1);
	while ((copier = next_copier(copier))) {
		for (at = 0; at < 2 * page; at += field_step(509)) {
			size_t left = 2 * page - at;

			check_compare(copier, &a, at, &b, at, left);
			check_compare(copier, &a, at, &b, at, left + 1);
			check_compare(copier, &a, at, &b, at, left + page);
			check_compare(copier, &a, at, &b, at ^ 1, left + 9);
		}
		for (len = 0; len < 200; len += field_step(13))
			for (good = 0; good <= len; good += field_step(19)) {
				at = 2 * page - good;
				check_compare(copier, &a, at, &b, at, len);
				where = at + (len * 7 + good * 3) % (len + 1);
				differ(&b, where, 100);
				check_compare(copier, &a, at, &b, at, len);
				check_compare(copier, &b, at, &a, at, len);
				differ(&b, where, -100);
			}
	}
}

/* ------------------------------------------------------------------ words */

static void words(void)
{
	const struct bz_copier *copier = NULL;
	size_t page = begin();
	struct field f;
	uint64_t value, old, *good, *lost;

	field_open(&f, 3, 2, 1);
	good = (uint64_t *)(void *)(f.at + page - 8);
	while ((copier = next_copier(copier)))
		for (lost = good + 1; lost < good + 1 + page / 8;
		     lost += field_step(101)) {
			value = 5;
			CHECK_EQ(copier->load(lost, &value), -EFAULT);
			CHECK_EQ(value, 5);
			CHECK_EQ(copier->store(lost, 6), -EFAULT);
			old = 9;
			CHECK_EQ(copier->cas(lost, &old, 6), -EFAULT);
			CHECK_EQ(old, 9);

			CHECK_EQ(copier->store(good, 7), 0);
			CHECK_EQ(*good, 7);
			CHECK_EQ(copier->cas(good, &old, 8), -EAGAIN);
			CHECK_EQ(old, 7);
			CHECK_EQ(*good, 7);
			CHECK_EQ(copier->cas(good, &old, 8), 0);
			CHECK_EQ(copier->load(good, &value), 0);
			CHECK_EQ(value, 8);
			CHECK_EQ(copier->load((void *)((char *)good - 1),
					      &value), -EINVAL);
			CHECK_EQ(copier->store((void *)((char *)good - 4), 1),
				 -EINVAL);
			CHECK_EQ(copier->cas((void *)((char *)lost + 1), &old,
					     1), -EINVAL);
		}
}

static const struct tap_case cases[] = {
	{ .name = "every offset, source lost", .run = every_offset,
	  .data = &src_lost, .timeout_s = 120 },
	{ .name = "every offset, destination lost", .run = every_offset,
	  .data = &dst_lost, .timeout_s = 120 },
	{ .name = "every offset, both lost", .run = every_offset,
	  .data = &both_lost, .timeout_s = 120 },
	{ .name = "every offset, source lost first", .run = every_offset,
	  .data = &src_first, .timeout_s = 120 },
	{ .name = "every offset, destination lost first", .run = every_offset,
	  .data = &dst_first, .timeout_s = 120 },
	{ .name = "small, source lost", .run = every_small,
	  .data = &src_lost, .timeout_s = 120 },
	{ .name = "small, destination lost", .run = every_small,
	  .data = &dst_lost, .timeout_s = 120 },
	{ .name = "small, both lost", .run = every_small,
	  .data = &both_lost, .timeout_s = 120 },
	{ .name = "overlapping, one page lost", .run = overlapping,
	  .data = &one_page, .timeout_s = 120 },
	{ .name = "overlapping, two pages lost", .run = overlapping,
	  .data = &two_pages, .timeout_s = 120 },
	{ .name = "several pages", .run = several, .timeout_s = 120 },
#if defined(__x86_64__)
	{ .name = "vectors, source lost", .run = vectors,
	  .data = &src_lost, .timeout_s = 120 },
	{ .name = "vectors, destination lost", .run = vectors,
	  .data = &dst_lost, .timeout_s = 120 },
	{ .name = "vectors, several pages", .run = vectors_several,
	  .timeout_s = 120 },
	{ .name = "strings, source lost", .run = strings,
	  .data = &src_lost, .timeout_s = 120 },
	{ .name = "strings, destination lost", .run = strings,
	  .data = &dst_lost, .timeout_s = 120 },
#endif
	{ .name = "set", .run = setting, .timeout_s = 120 },
	{ .name = "compare, first lost", .run = comparing, .data = &src_lost },
	{ .name = "compare, second lost", .run = comparing,
	  .data = &dst_lost },
	{ .name = "compare, both lost", .run = comparing, .data = &both_lost },
	{ .name = "words", .run = words },
};

TAP_MAIN(cases)
