/* SPDX-License-Identifier: MIT */
#include "vmm/slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM	16

static uint64_t get(const _Atomic uint64_t *field)
{
	return atomic_load_explicit(field, memory_order_relaxed);
}

static void set(_Atomic uint64_t *field, uint64_t value)
{
	atomic_store_explicit(field, value, memory_order_relaxed);
}

static uint32_t count_of(const struct bzv_rows *rows)
{
	return rows ? atomic_load_explicit(&rows->count,
					   memory_order_relaxed) : 0;
}

/* ---------------------------------------------------------------- readers */

/*
 * How many of the rows begin at @key or before. No branch that depends on what was
 * read: in a table of thousands it would be guessed wrong every other time.
 */
static uint32_t rank(const struct bzv_row *row, uint32_t count, uint64_t key)
{
	const struct bzv_row *base = row;

	if (!count)
		return 0;
	while (count > 1) {
		uint32_t half = count / 2;

		base += get(&base[half].start) <= key ? half : 0;
		count -= half;
	}
	return (uint32_t)(base - row) + (get(&base->start) <= key);
}

static struct bzv_piece piece_of(const struct bzv_row *r)
{
	return (struct bzv_piece){
		.start = get(&r->start), .end = get(&r->end),
		.other = get(&r->other), .flags = get(&r->flags),
	};
}

static int look(const struct bzv_order *order, uint64_t key, int next,
		struct bzv_piece *ret_piece)
{
	uint32_t latch, count, at;
	int found;

	do {
		struct bzv_rows *rows;
		const struct bzv_row *row;

		/* pairs with the two steps in flip() */
		latch = atomic_load_explicit(&order->latch,
					     memory_order_acquire);
		/* what is in it before it is seen: pairs with make_room() */
		rows = atomic_load_explicit(&order->copy[latch & 1],
					    memory_order_acquire);
		row = rows ? rows->row : NULL;
		count = count_of(rows);
		at = rank(row, count, key);
		found = at && key < get(&row[at - 1].end);
		if (found)
			at--;
		else if (next)
			found = at < count;
		if (found)
			*ret_piece = piece_of(&row[at]);
		/* the rows before the latch: pairs with flip() */
		atomic_thread_fence(memory_order_acquire);
	} while (atomic_load_explicit(&order->latch, memory_order_relaxed) !=
		 latch);
	return found ? 0 : -ENOENT;
}

int bzv_order_find(const struct bzv_order *order, uint64_t key,
		   struct bzv_piece *ret_piece)
{
	return look(order, key, 0, ret_piece);
}

int bzv_order_next(const struct bzv_order *order, uint64_t key,
		   struct bzv_piece *ret_piece)
{
	return look(order, key, 1, ret_piece);
}

/* ----------------------------------------------------------------- writer */

/* Readers go to the other copy. All stores of the writer are on either side. */
static void flip(struct bzv_order *order)
{
	atomic_thread_fence(memory_order_seq_cst);
	atomic_fetch_add_explicit(&order->latch, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
}

static struct bzv_rows *rows_of(const struct bzv_order *order, int i)
{
	return atomic_load_explicit(&order->copy[i], memory_order_relaxed);
}

/* Both copies will hold @count. */
static int make_room(struct bzv_slots *slots, struct bzv_order *order,
		     uint32_t count)
{
	int i;

	for (i = 0; i < 2; i++) {
		struct bzv_rows *was = rows_of(order, i), *now;
		uint32_t n = count_of(was), room = was ? was->room : 0, k;
		void **old;

		if (count <= room)
			continue;
		while (room < count)
			room = room ? 2 * room : FIRST_ROOM;
		old = realloc(slots->old,
			      (slots->old_count + 1) * sizeof(*old));
		if (!old)
			return -ENOMEM;
		slots->old = old;
		now = calloc(1, sizeof(*now) + room * sizeof(now->row[0]));
		if (!now)
			return -ENOMEM;
		now->room = room;
		now->count = n;
		for (k = 0; k < n; k++) {
			set(&now->row[k].start, get(&was->row[k].start));
			set(&now->row[k].end, get(&was->row[k].end));
			set(&now->row[k].other, get(&was->row[k].other));
			set(&now->row[k].flags, get(&was->row[k].flags));
		}
		/* the same rows at another place: nobody can tell. Pairs with
		 * look() */
		atomic_store_explicit(&order->copy[i], now,
				      memory_order_release);
		if (was)
			old[slots->old_count++] = was;
	}
	return 0;
}

static void write_rows(struct bzv_rows *rows, const struct bzv_piece *piece,
		       uint32_t count)
{
	struct bzv_row *row;
	uint32_t i;

	if (!rows)
		return;			/* none was ever there */
	row = rows->row;
	for (i = 0; i < count; i++) {
		set(&row[i].start, piece[i].start);
		set(&row[i].end, piece[i].end);
		set(&row[i].other, piece[i].other);
		set(&row[i].flags, piece[i].flags);
	}
	atomic_store_explicit(&rows->count, count, memory_order_relaxed);
}

/* There is room. */
static void write_all(struct bzv_order *order, const struct bzv_piece *piece,
		      uint32_t count)
{
	flip(order);			/* they read copy 1 */
	write_rows(rows_of(order, 0), piece, count);
	flip(order);			/* they read copy 0 */
	write_rows(rows_of(order, 1), piece, count);
}

/* All rows of the order, and room for @more. NULL: no memory. */
static struct bzv_piece *read_all(const struct bzv_order *order, uint32_t more,
				  uint32_t *ret_count)
{
	const struct bzv_rows *rows = rows_of(order, 0);
	uint32_t count = count_of(rows), i;
	struct bzv_piece *all = calloc((size_t)count + more + 1, sizeof(*all));

	for (i = 0; all && i < count; i++)
		all[i] = piece_of(&rows->row[i]);
	*ret_count = count;
	return all;
}

static void put_in(struct bzv_piece *all, uint32_t *count, struct bzv_piece p)
{
	uint32_t at = 0;

	while (at < *count && all[at].start < p.start)
		at++;
	memmove(&all[at + 1], &all[at], (*count - at) * sizeof(*all));
	all[at] = p;
	++*count;
}

/* ------------------------------------------- by host address, from the slots */

static int by_start(const void *a, const void *b)
{
	const struct bzv_piece *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int goes_on(const struct bzv_piece *p, const struct bzv_piece *q)
{
	return p->end == q->start && p->flags == q->flags &&
	       p->other + (p->end - p->start) == q->other;
}

/*
 * Cut the line at every begin and end of a slot's memory; each part between belongs
 * to the slot that has it lowest. @slot: by guest address, turned round. Returns
 * how many pieces; at most 2 * @count - 1.
 */
static uint32_t cut(const struct bzv_piece *slot, uint32_t count,
		    uint64_t *cuts, struct bzv_piece *ret)
{
	uint32_t first = 0, n = 0, i, k;

	for (i = 0; i < count; i++) {
		cuts[2 * i] = slot[i].start;
		cuts[2 * i + 1] = slot[i].end;
	}
	qsort(cuts, (size_t)2 * count, sizeof(*cuts), by_number);
	for (i = 0; i + 1 < 2 * count; i++) {
		struct bzv_piece p = { .start = cuts[i], .end = cuts[i + 1],
				       .other = UINT64_MAX };

		if (p.start == p.end)
			continue;
		while (first < count && slot[first].end <= p.start)
			first++;
		for (k = first; k < count && slot[k].start <= p.start; k++) {
			uint64_t gpa = slot[k].other + (p.start - slot[k].start);

			if (slot[k].end >= p.end && gpa < p.other) {
				p.other = gpa;
				p.flags = slot[k].flags;
			}
		}
		if (p.other == UINT64_MAX)
			continue;
		if (n && goes_on(&ret[n - 1], &p))
			ret[n - 1].end = p.end;
		else
			ret[n++] = p;
	}
	return n;
}

/* @by_gpa are all slots as they will be. */
static int rebuild(struct bzv_slots *slots, const struct bzv_piece *by_gpa,
		   uint32_t count)
{
	struct bzv_piece *slot = calloc((size_t)count + 1, sizeof(*slot));
	struct bzv_piece *pieces = calloc((size_t)2 * count + 1,
					  sizeof(*pieces));
	uint64_t *cuts = calloc((size_t)2 * count + 1, sizeof(*cuts));
	int ret = -ENOMEM;
	uint32_t i, n;

	if (!slot || !pieces || !cuts)
		goto out;
	for (i = 0; i < count; i++)
		slot[i] = (struct bzv_piece){
			.start = by_gpa[i].other,
			.end = by_gpa[i].other +
			       (by_gpa[i].end - by_gpa[i].start),
			.other = by_gpa[i].start, .flags = by_gpa[i].flags,
		};
	qsort(slot, count, sizeof(*slot), by_start);
	n = cut(slot, count, cuts, pieces);
	ret = make_room(slots, &slots->by_hva, n);
	if (!ret)
		write_all(&slots->by_hva, pieces, n);
out:
	free(slot);
	free(pieces);
	free(cuts);
	return ret;
}

/* The usual case: memory that no other slot has. */
static int add_alone(struct bzv_slots *slots, struct bzv_piece p)
{
	uint32_t count;
	struct bzv_piece *all = read_all(&slots->by_hva, 1, &count);
	int ret;

	if (!all)
		return -ENOMEM;
	put_in(all, &count, p);
	ret = make_room(slots, &slots->by_hva, count);
	if (!ret)
		write_all(&slots->by_hva, all, count);
	free(all);
	return ret;
}

int bzv_slots_add(struct bzv_slots *slots, uint64_t gpa, uint64_t len,
		  uint64_t hva, uint64_t flags)
{
	struct bzv_piece slot = { .start = gpa, .end = gpa + len, .other = hva,
				  .flags = flags };
	struct bzv_piece there, *all;
	uint32_t count;
	int ret;

	if (!bzv_order_next(&slots->by_gpa, gpa, &there) &&
	    there.start < gpa + len)
		return -EEXIST;
	all = read_all(&slots->by_gpa, 1, &count);
	if (!all)
		return -ENOMEM;
	put_in(all, &count, slot);
	ret = make_room(slots, &slots->by_gpa, count);
	if (!ret) {
		if (!bzv_order_next(&slots->by_hva, hva, &there) &&
		    there.start < hva + len)
			ret = rebuild(slots, all, count);
		else
			ret = add_alone(slots, (struct bzv_piece){
				.start = hva, .end = hva + len, .other = gpa,
				.flags = flags });
	}
	if (!ret)
		write_all(&slots->by_gpa, all, count);
	free(all);
	return ret;
}

int bzv_slots_remove(struct bzv_slots *slots, uint64_t gpa,
		     struct bzv_piece *ret_slot)
{
	struct bzv_piece *all;
	uint32_t count, at = 0;
	int ret;

	all = read_all(&slots->by_gpa, 0, &count);
	if (!all)
		return -ENOMEM;
	while (at < count && all[at].start != gpa)
		at++;
	if (at == count) {
		free(all);
		return -ENOENT;
	}
	*ret_slot = all[at];
	count--;
	memmove(&all[at], &all[at + 1], (count - at) * sizeof(*all));
	ret = rebuild(slots, all, count);
	if (!ret)
		write_all(&slots->by_gpa, all, count);
	free(all);
	return ret;
}

void bzv_slots_clear(struct bzv_slots *slots)
{
	write_all(&slots->by_hva, NULL, 0);
	write_all(&slots->by_gpa, NULL, 0);
}

void bzv_slots_free(struct bzv_slots *slots)
{
	int i;

	for (i = 0; i < 2; i++) {
		free(rows_of(&slots->by_gpa, i));
		free(rows_of(&slots->by_hva, i));
	}
	while (slots->old_count)
		free(slots->old[--slots->old_count]);
	free(slots->old);
	memset(slots, 0, sizeof(*slots));
}
