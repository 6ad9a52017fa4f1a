/* SPDX-License-Identifier: MIT */
/*
 * The writers' side of the region table. All under one lock (region.c).
 */
#include "region/table.h"

#include <errno.h>
#include <string.h>

#include "core/core.h"
#include "region/arena.h"

#define RECLAIM_AT	64		/* retired nodes worth a look at marks */
#define NODES_AT_ONCE	64

/* An insert takes at most two nodes a level and a new root. */
#define RESERVE		(2 * BZ_LEVELS + 1)

static struct {
	struct bz_node *free;
	uint32_t free_count;
	struct bz_node *retired, **retired_tail;	/* oldest first */
	uint32_t retired_count;
} pool = { .retired_tail = &pool.retired };

/* The way down to a leaf; node[0] is the leaf, node[top] the root. */
struct way {
	struct bz_node *node[BZ_LEVELS];
	uint32_t pos[BZ_LEVELS];
	uint32_t top;
};

/* ------------------------------------------------------------------- nodes */

uint64_t bz_table_next_epoch(void)
{
	/* seq_cst: what was published comes before it, the look at the marks
	 * after; pairs with the fence in bz_region_mark() */
	return atomic_fetch_add(&bz_table.epoch, 1) + 1;
}

uint64_t bz_table_oldest_mark(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint64_t oldest = UINT64_MAX;
	uint32_t i;

	if (!mm)
		return oldest;
	for (i = 0; i < BZ_WALKS / 64; i++) {
		uint64_t bits = atomic_load(&mm->used[i]);

		for (; bits; bits &= bits - 1) {
			uint64_t mark = atomic_load(
				&mm->walk[i * 64 + __builtin_ctzll(bits)].mark);

			if (mark && mark < oldest)
				oldest = mark;
		}
	}
	return oldest;
}

static void put_free(struct bz_node *n)
{
	n->next = pool.free;
	pool.free = n;
	pool.free_count++;
}

static void reclaim(void)
{
	uint64_t oldest;

	bz_table_next_epoch();
	oldest = bz_table_oldest_mark();
	while (pool.retired && pool.retired->tag <= oldest) {
		struct bz_node *n = pool.retired;

		pool.retired = n->next;
		if (!pool.retired)
			pool.retired_tail = &pool.retired;
		pool.retired_count--;
		put_free(n);
	}
}

/* @n was unpublished in this epoch: readers of the next cannot find it. */
static void retire(struct bz_node *n)
{
	n->tag = atomic_load_explicit(&bz_table.epoch, memory_order_relaxed) + 1;
	n->next = NULL;
	*pool.retired_tail = n;
	pool.retired_tail = &n->next;
	if (++pool.retired_count % RECLAIM_AT == 0)
		reclaim();
}

static int grow(void)
{
	size_t step = (sizeof(struct bz_node) + 63) & ~(size_t)63;
	char *nodes = bz_arena_get(step * NODES_AT_ONCE);
	uint32_t i;

	if (!nodes)
		return -ENOMEM;
	for (i = NODES_AT_ONCE; i-- > 0;)
		put_free((struct bz_node *)(nodes + i * step));
	return 0;
}

static int reserve(uint32_t nodes)
{
	while (pool.free_count < nodes) {
		int r = grow();

		if (r)
			return r;
	}
	return 0;
}

/* Never fails: the caller has reserved. */
static struct bz_node *new_node(uint32_t level)
{
	struct bz_node *n = pool.free;

	pool.free = n->next;
	pool.free_count--;
	n->level = level;
	atomic_store_explicit(&n->count, 0, memory_order_relaxed);
	return n;
}

void bz_table_reset(void)
{
	pool.free = NULL;
	pool.free_count = 0;
	pool.retired = NULL;
	pool.retired_tail = &pool.retired;
	pool.retired_count = 0;
	atomic_store(&bz_table.root, NULL);
}

/* ----------------------------------------------------------------- entries */

/* The writer reads its own stores. */
static uint32_t count_of(const struct bz_node *n)
{
	return atomic_load_explicit(&n->count, memory_order_relaxed);
}

static uint64_t key_of(const struct bz_node *n, uint32_t i)
{
	return atomic_load_explicit(&n->entry[i].key, memory_order_relaxed);
}

static uint64_t end_of(const struct bz_node *n, uint32_t i)
{
	return atomic_load_explicit(&n->entry[i].end, memory_order_relaxed);
}

static uint64_t at_of(const struct bz_node *n, uint32_t i)
{
	return atomic_load_explicit(&n->entry[i].at, memory_order_relaxed);
}

static struct bz_node *child_of(const struct bz_node *n, uint32_t i)
{
	return (struct bz_node *)at_of(n, i);
}

/* What goes into a node as one: a region, or a child with its lowest key. */
struct item {
	uint64_t key, end, at;
};

static struct item item_of(struct bz_node *child)
{
	return (struct item){ key_of(child, 0), 0, (uint64_t)child };
}

static void set_entry(struct bz_node *n, uint32_t i, struct item item)
{
	atomic_store_explicit(&n->entry[i].key, item.key, memory_order_relaxed);
	atomic_store_explicit(&n->entry[i].end, item.end, memory_order_relaxed);
	atomic_store_explicit(&n->entry[i].at, item.at, memory_order_relaxed);
}

/* In a copy that nobody sees yet. */
static void set_child(struct bz_node *n, uint32_t i, struct bz_node *child)
{
	atomic_store_explicit(&n->entry[i].at, (uint64_t)child,
			      memory_order_relaxed);
}

/* Release: pairs with the acquire loads in bz_table_find(). */
static void publish_child(struct bz_node *n, uint32_t i, struct bz_node *child)
{
	atomic_store_explicit(&n->entry[i].at, (uint64_t)child,
			      memory_order_release);
}

static void publish_count(struct bz_node *n, uint32_t count)
{
	atomic_store_explicit(&n->count, count, memory_order_release);
}

/* Entries [@from, @to) of @n behind what @copy has; not yet published. */
static void append_range(struct bz_node *copy, const struct bz_node *n,
			 uint32_t from, uint32_t to)
{
	uint32_t have = count_of(copy);

	memcpy((void *)&copy->entry[have], (const void *)&n->entry[from],
	       (to - from) * sizeof(n->entry[0]));
	atomic_store_explicit(&copy->count, have + to - from,
			      memory_order_relaxed);
}

static void append_one(struct bz_node *copy, struct item item)
{
	uint32_t have = count_of(copy);

	set_entry(copy, have, item);
	atomic_store_explicit(&copy->count, have + 1, memory_order_relaxed);
}

/* The last entry with a key <= @addr, or 0. */
static uint32_t position(const struct bz_node *n, uint64_t addr)
{
	uint32_t low = 0, high = count_of(n);

	/* most programs register what lies behind all that is there */
	if (key_of(n, high - 1) <= addr)
		return high - 1;
	while (high - low > 1) {
		uint32_t mid = (low + high) / 2;

		if (key_of(n, mid) <= addr)
			low = mid;
		else
			high = mid;
	}
	return low;
}

static void go_down(struct way *way, uint64_t addr)
{
	struct bz_node *n = atomic_load_explicit(&bz_table.root,
						 memory_order_relaxed);

	way->top = n->level;
	for (;;) {
		way->node[n->level] = n;
		way->pos[n->level] = position(n, addr);
		if (!n->level)
			return;
		n = child_of(n, way->pos[n->level]);
	}
}

/* Put @fresh where the node of @level hangs. */
static void replace(const struct way *way, uint32_t level,
		    struct bz_node *fresh)
{
	if (level == way->top)
		atomic_store_explicit(&bz_table.root, fresh,
				      memory_order_release);
	else
		publish_child(way->node[level + 1], way->pos[level + 1], fresh);
}

/* ------------------------------------------------------------------ insert */

static void insert(struct way *way, uint32_t level, uint32_t i,
		   struct item item, struct bz_node *left);

/* @left and @right, or the old node and @right, where one node was. */
static void insert_above(struct way *way, uint32_t level,
			 struct bz_node *left, struct bz_node *right)
{
	if (level == way->top) {
		struct bz_node *root = new_node(level + 1);

		append_one(root, item_of(left ? left : way->node[level]));
		append_one(root, item_of(right));
		atomic_store_explicit(&bz_table.root, root,
				      memory_order_release);
		return;
	}
	insert(way, level + 1, way->pos[level + 1] + 1, item_of(right), left);
}

/*
 * A new entry at @i of the node at @level; if @left is given, it takes the
 * place of the child before it.
 *
 * A reader may have read a count, been put off, and read a child much later.
 * So a node is appended to in place only if no child loses anything by it:
 * where one is split in two, both halves come with a copy of the node above.
 */
static void insert(struct way *way, uint32_t level, uint32_t i,
		   struct item item, struct bz_node *left)
{
	struct bz_node *old = way->node[level], *copy, *right;
	uint32_t count = count_of(old);

	if (i == count && !left && count < BZ_FAN) {
		set_entry(old, i, item);
		publish_count(old, count + 1);
		return;
	}
	if (i == count && !left) {
		right = new_node(level);
		append_one(right, item);
		insert_above(way, level, NULL, right);
		return;
	}
	copy = new_node(level);
	if (count < BZ_FAN) {
		append_range(copy, old, 0, i);
		append_one(copy, item);
		append_range(copy, old, i, count);
		if (left)
			set_child(copy, i - 1, left);
		replace(way, level, copy);
	} else {
		uint32_t half = BZ_FAN / 2;

		right = new_node(level);
		if (i <= half) {
			append_range(copy, old, 0, i);
			append_one(copy, item);
			append_range(copy, old, i, half);
			append_range(right, old, half, count);
		} else {
			append_range(copy, old, 0, half);
			append_range(right, old, half, i);
			append_one(right, item);
			append_range(right, old, i, count);
		}
		if (left && i <= half)
			set_child(copy, i - 1, left);
		else if (left)
			set_child(right, i - 1 - half, left);
		insert_above(way, level, copy, right);
	}
	retire(old);
}

/*
 * The key above that ends what lies under @way's leaf, and the start of the
 * region that comes next behind that leaf. NULL: the leaf is the last one.
 */
static _Atomic uint64_t *next_key(const struct way *way, uint64_t *ret_start)
{
	uint32_t level, i;

	for (level = 1; level <= way->top; level++) {
		struct bz_node *n = way->node[level], *d;

		i = way->pos[level] + 1;
		if (i >= count_of(n))
			continue;
		for (d = child_of(n, i); d->level; d = child_of(d, 0))
			continue;
		*ret_start = key_of(d, 0);
		return &n->entry[i].key;
	}
	return NULL;
}

int bz_table_insert(struct bz_region *r)
{
	struct item item = { r->start, r->end, (uint64_t)r };
	uint64_t before_end = 0, after_start = UINT64_MAX;
	_Atomic uint64_t *bound = NULL;
	struct bz_node *leaf;
	struct way way;
	uint32_t i = 0;

	if (reserve(RESERVE))
		return -ENOMEM;
	if (!atomic_load_explicit(&bz_table.root, memory_order_relaxed)) {
		leaf = new_node(0);
		append_one(leaf, item);
		atomic_store_explicit(&bz_table.root, leaf,
				      memory_order_release);
		return 0;
	}
	go_down(&way, r->start);
	leaf = way.node[0];
	if (key_of(leaf, way.pos[0]) <= r->start) {
		before_end = end_of(leaf, way.pos[0]);
		i = way.pos[0] + 1;
	}
	if (i < count_of(leaf))
		after_start = key_of(leaf, i);
	else
		bound = next_key(&way, &after_start);
	if (before_end > r->start || after_start < r->end)
		return -EEXIST;
	/* only the last region of a leaf can reach over the next key */
	if (bound && atomic_load_explicit(bound, memory_order_relaxed) < r->end)
		atomic_store_explicit(bound, r->end, memory_order_release);
	insert(&way, 0, i, item, NULL);
	return 0;
}

/* ------------------------------------------------------------------ remove */

/* Entry @i of the node at @level goes, and nodes that have none left. */
static void remove_entry(struct way *way, uint32_t level, uint32_t i)
{
	struct bz_node *old = way->node[level], *copy;
	uint32_t count = count_of(old);

	if (count == 1) {
		if (level == way->top)
			atomic_store_explicit(&bz_table.root, NULL,
					      memory_order_release);
		else
			remove_entry(way, level + 1, way->pos[level + 1]);
	} else if (count == 2 && level && level == way->top) {
		atomic_store_explicit(&bz_table.root, child_of(old, !i),
				      memory_order_release);
	} else {
		copy = new_node(level);
		append_range(copy, old, 0, i);
		append_range(copy, old, i + 1, count);
		replace(way, level, copy);
	}
	retire(old);
}

int bz_table_remove(struct bz_region *r)
{
	struct way way;

	if (reserve(1))
		return -ENOMEM;
	go_down(&way, r->start);
	if (at_of(way.node[0], way.pos[0]) != (uint64_t)r)
		return -ENOENT;
	remove_entry(&way, 0, way.pos[0]);
	return 0;
}
