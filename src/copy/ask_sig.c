/* SPDX-License-Identifier: MIT */
/* Copies do not touch again what is known to be lost: with something in the
 * inventory they ask that first, and end in front of it. */
#include "copy/copy.h"

#include <errno.h>

#include "region/lost.h"

static size_t before(const void *a, const void *b, size_t len)
{
	size_t n = bz_lost_before((uint64_t)a, len);

	return bz_lost_before((uint64_t)b, n);
}

size_t bz_ask_copy(void *dst, const void *src, size_t len,
		   size_t (*go)(void *dst, const void *src, size_t len))
{
	size_t n = before(dst, src, len);

	return n ? len - n + go(dst, src, n) : len;
}

size_t bz_ask_set(void *dst, int c, size_t len,
		  size_t (*go)(void *dst, int c, size_t len))
{
	size_t n = bz_lost_count() ? bz_lost_before((uint64_t)dst, len) : len;

	return n || !len ? len - n + go(dst, c, n) : len;
}

size_t bz_ask_compare(const void *a, const void *b, size_t len, int *ret_order,
		      size_t (*go)(const void *a, const void *b, size_t len,
				   int *ret_order))
{
	size_t n = bz_lost_count() ? before(a, b, len) : len, left;
	int order = 0;

	if (n == len)
		return go(a, b, len, ret_order);
	left = n ? go(a, b, n, &order) : 0;
	if (left || !order)
		return len - n + left;
	*ret_order = order;
	return 0;
}

int bz_ask_word(const void *at)
{
	return bez_lost_in(at, sizeof(uint64_t)) ? -EFAULT : 0;
}
