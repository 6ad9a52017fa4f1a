/* SPDX-License-Identifier: MIT */
#include "core/own.h"

#define SHIFT		12u
#define COUNT_BITS	19u
#define COUNT_MOST	(((uint64_t)1 << COUNT_BITS) - 1)

static _Atomic uint64_t owns[BZ_OWNS];
static _Atomic uint32_t top;		/* above the highest that was ever used;
					 * raised by who takes one */

static void raise_top(uint32_t to)
{
	uint32_t was = atomic_load(&top);

	while (was < to && !atomic_compare_exchange_weak(&top, &was, to))
		continue;
}

uint32_t bz_own_add(const void *at, uint64_t len)
{
	uint64_t first = (uint64_t)at >> SHIFT;
	uint64_t pages = (((uint64_t)at + len - 1) >> SHIFT) - first + 1;
	uint32_t i;

	if (!len || pages > COUNT_MOST)
		return 0;
	for (i = 0; i < BZ_OWNS; i++) {
		uint64_t was = 0;

		if (atomic_load_explicit(&owns[i], memory_order_relaxed) ||
		    !atomic_compare_exchange_strong(&owns[i], &was,
						    first << COUNT_BITS |
						    pages))
			continue;
		raise_top(i + 1);
		return i + 1;
	}
	return 0;
}

void bz_own_drop(uint32_t number)
{
	if (number)
		atomic_store(&owns[number - 1], 0);
}

int bz_own_next(uint32_t *i, uint64_t *ret_start, uint64_t *ret_end)
{
	uint32_t end = atomic_load(&top);

	while (*i < end) {
		uint64_t word = atomic_load(&owns[(*i)++]);

		if (!word)
			continue;
		*ret_start = word >> COUNT_BITS << SHIFT;
		*ret_end = *ret_start + ((word & COUNT_MOST) << SHIFT);
		return 1;
	}
	return 0;
}

int bz_own_has(uint64_t addr)
{
	uint64_t start, end;
	uint32_t i = 0;

	while (bz_own_next(&i, &start, &end))
		if (addr - start < end - start)
			return 1;
	return 0;
}
