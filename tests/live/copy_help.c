/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "copy_help.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void field_open(struct field *f, size_t pages, unsigned int lost,
		unsigned int seed)
{
	size_t i;

	f->pages = pages;
	f->len = pages * live_page();
	f->lost = lost;
	f->seed = seed;
	f->at = live_pages(pages);
	f->is = malloc(f->len);
	CHECK(f->is);
	live_fill(f->is, f->len, seed);
	memcpy(f->at, f->is, f->len);
	for (i = 0; i < pages; i++)
		if (lost >> i & 1)
			live_poison(f->at + i * live_page());
}

static int is_lost(const struct field *f, size_t offset)
{
	return f->lost >> (offset / live_page()) & 1;
}

/* The end of the page of @offset, or @to. */
static size_t piece(size_t offset, size_t to)
{
	size_t end = (offset / live_page() + 1) * live_page();

	return end < to ? end : to;
}

void field_reset(struct field *f, size_t from, size_t to)
{
	size_t end;

	for (; from < to; from = end) {
		end = piece(from, to);
		if (!is_lost(f, from))
			memcpy(f->at + from, f->is + from, end - from);
	}
}

size_t field_good(const struct field *f, size_t offset, size_t len)
{
	size_t at = offset;

	while (at < offset + len && !is_lost(f, at))
		at = piece(at, offset + len);
	return at - offset;
}

size_t field_wrong(const struct field *f, size_t from, size_t to)
{
	size_t end, wrong = 0, i;

	for (; from < to; from = end) {
		end = piece(from, to);
		if (is_lost(f, from) ||
		    !memcmp(f->at + from, f->is + from, end - from))
			continue;
		for (i = from; i < end; i++)
			wrong += f->at[i] != f->is[i];
	}
	return wrong;
}

#define AROUND 192			/* bytes that are looked at outside */

void field_copy(const struct bz_copier *copier, struct field *dst, size_t to,
		struct field *src, size_t from, size_t len)
{
	static unsigned char before[FIELD_PAGES * 65536];
	size_t left, good = field_good(src, from, len), n, wrong;
	size_t begin = to > AROUND ? to - AROUND : 0;
	size_t end = to + len + AROUND;

	n = field_good(dst, to, good);
	if (end > dst->len)
		end = dst->len;
	memcpy(before, dst->is + begin, end - begin);
	memmove(dst->is + to, src->is + from, n);
	left = copier->copy(dst->at + to, src->at + from, len);
	CHECKF(left == len - n,
	       "%s: %zu bytes from %zu to %zu: %zu left, not %zu",
	       copier->name, len, from, to, left, len - n);
	wrong = field_wrong(dst, begin, end);
	CHECKF(!wrong, "%s: %zu bytes from %zu to %zu: %zu bytes are wrong",
	       copier->name, len, from, to, wrong);
	memcpy(dst->is + begin, before, end - begin);
	field_reset(dst, begin, end);
}

size_t field_step(size_t often)
{
	return live_is_real() ? often : 1;
}

const struct bz_copier *next_copier(const struct bz_copier *last)
{
	size_t i = 0;

	while (last && bz_copiers[i] && bz_copiers[i++] != last)
		continue;
	while (bz_copiers[i] && !bz_copiers[i]->usable())
		i++;
	return bz_copiers[i];
}
