/* SPDX-License-Identifier: MIT */
/* Lists of address ranges, in memory that hunts leave out. */
#include <errno.h>
#include <sys/mman.h>

#include "core/own.h"
#include "hunt/hunt.h"

#define FIRST_ROOM 512u

void *bz_hunt_get(size_t bytes, uint32_t *ret_own)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	*ret_own = bz_own_add(at, bytes);
	/* what is not known as ours would be found, and replaced */
	if (!*ret_own) {
		munmap(at, bytes);
		return NULL;
	}
	return at;
}

void bz_hunt_put(void *at, size_t bytes, uint32_t own)
{
	if (!at)
		return;
	bz_own_drop(own);
	munmap(at, bytes);
}

static int grow(struct bz_pieces *list)
{
	size_t room = list->room ? 2 * list->room : FIRST_ROOM, i;
	struct bz_piece *at;
	uint32_t own;

	at = bz_hunt_get(room * sizeof(*at), &own);
	if (!at)
		return -ENOMEM;
	for (i = 0; i < list->count; i++)
		at[i] = list->at[i];
	bz_hunt_put(list->at, list->room * sizeof(*at), list->own);
	list->at = at;
	list->room = room;
	list->own = own;
	return 0;
}

int bz_pieces_add(struct bz_pieces *list, uint64_t start, uint64_t end,
		  uint32_t flags)
{
	if (start >= end)
		return 0;
	if (list->count == list->room && grow(list))
		return -ENOMEM;
	list->at[list->count++] = (struct bz_piece){
		.start = start, .end = end, .flags = flags };
	return 0;
}

void bz_pieces_free(struct bz_pieces *list)
{
	bz_hunt_put(list->at, list->room * sizeof(*list->at), list->own);
	*list = (struct bz_pieces){ .at = NULL };
}

static void sift(struct bz_piece *at, size_t i, size_t count)
{
	struct bz_piece top = at[i];
	size_t child;

	while ((child = 2 * i + 1) < count) {
		if (child + 1 < count && at[child + 1].start > at[child].start)
			child++;
		if (at[child].start <= top.start)
			break;
		at[i] = at[child];
		i = child;
	}
	at[i] = top;
}

/* In place: qsort(3) may leave copies in freed memory. */
static void sort(struct bz_piece *at, size_t count)
{
	size_t i;

	for (i = count / 2; i--; )
		sift(at, i, count);
	for (i = count; i-- > 1; ) {
		struct bz_piece top = at[0];

		at[0] = at[i];
		at[i] = top;
		sift(at, 0, i);
	}
}

void bz_pieces_join(struct bz_pieces *list)
{
	size_t i, n = 0;

	for (i = 1; i < list->count; i++)
		if (list->at[i].start < list->at[i - 1].start) {
			sort(list->at, list->count);
			break;
		}
	for (i = 0; i < list->count; i++) {
		const struct bz_piece *p = &list->at[i];

		if (!n || p->start >= list->at[n - 1].end)
			list->at[n++] = *p;
		else if (p->end > list->at[n - 1].end)
			list->at[n - 1].end = p->end;
	}
	list->count = n;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

int bz_pieces_both(const struct bz_pieces *a, const struct bz_pieces *b,
		   struct bz_pieces *ret)
{
	size_t i = 0, j = 0;
	int r = 0;

	while (!r && i < a->count && j < b->count) {
		const struct bz_piece *x = &a->at[i], *y = &b->at[j];

		r = bz_pieces_add(ret, most(x->start, y->start),
				  least(x->end, y->end), y->flags);
		if (x->end < y->end)
			i++;
		else
			j++;
	}
	return r;
}

int bz_pieces_less(const struct bz_pieces *a, const struct bz_pieces *b,
		   struct bz_pieces *ret)
{
	size_t i, j = 0, k;
	int r = 0;

	for (i = 0; !r && i < a->count; i++) {
		const struct bz_piece *x = &a->at[i];
		uint64_t from = x->start;

		while (j < b->count && b->at[j].end <= from)
			j++;
		for (k = j; !r && k < b->count && b->at[k].start < x->end;
		     k++) {
			r = bz_pieces_add(ret, from, b->at[k].start, x->flags);
			from = most(from, b->at[k].end);
		}
		if (!r)
			r = bz_pieces_add(ret, from, x->end, x->flags);
	}
	return r;
}

uint64_t bz_pieces_bytes(const struct bz_pieces *list)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < list->count; i++)
		bytes += list->at[i].end - list->at[i].start;
	return bytes;
}

const struct bz_piece *bz_pieces_find(const struct bz_pieces *list,
				      uint64_t addr)
{
	size_t low = 0, high = list->count;

	/* the first one that ends above it */
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (list->at[mid].end > addr)
			high = mid;
		else
			low = mid + 1;
	}
	if (low == list->count || list->at[low].start > addr)
		return NULL;
	return &list->at[low];
}
