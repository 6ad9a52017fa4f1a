/* SPDX-License-Identifier: MIT */
#include "region/table.h"

#include <stddef.h>

struct bz_table bz_table = { .epoch = 1 };

#define LINE 64

/* All lines of a node at once: the wait for one is the wait for all. */
static void fetch(const struct bz_node *n)
{
	uint32_t at;

	for (at = 0; at < sizeof(*n); at += LINE)
		__builtin_prefetch((const char *)n + at);
}

/* The last of the first @count entries whose key is <= @addr; the first if
 * there is none, which is right for inner nodes and checked for leaves. */
static const struct bz_entry *position(const struct bz_node *n,
				       uint32_t count, uint64_t addr)
{
	const struct bz_entry *base = n->entry;

	/* halves without a branch: which way is anybody's guess */
	while (count > 1) {
		uint32_t half = count / 2;

		base = atomic_load_explicit(&base[half].key,
					    memory_order_relaxed) <= addr ?
		       base + half : base;
		count -= half;
	}
	return base;
}

struct bz_region *bz_table_find(uint64_t addr)
{
	/* acquire: pairs with the release of each store that publishes, in
	 * table.c */
	const struct bz_node *n = atomic_load_explicit(&bz_table.root,
						       memory_order_acquire);

	while (n) {
		const struct bz_entry *e;
		uint64_t at;

		fetch(n);
		e = position(n, atomic_load_explicit(&n->count,
						     memory_order_acquire),
			     addr);
		at = atomic_load_explicit(&e->at, memory_order_acquire);
		if (!n->level)
			return atomic_load_explicit(&e->key,
						    memory_order_relaxed) <= addr &&
			       addr < atomic_load_explicit(
					      &e->end, memory_order_relaxed) ?
			       (struct bz_region *)at : NULL;
		n = (const struct bz_node *)at;
	}
	return NULL;
}
