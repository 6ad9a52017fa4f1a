/* SPDX-License-Identifier: MIT */
/*
 * After a loss. What is lost stands in bezoar's inventory by then, whoever met it:
 * a call of the store that was left by a jump, which comes here right away and is
 * made again (store.c), or nobody yet (an early notice): then the worker comes, by
 * on_lost. So this asks the inventory what to do, does it, and may be called once
 * too often.
 *
 *  items   the keys whose slots have a part of the page are taken out of the
 *	    index, which is touched alone for that. Then the page is made good with
 *	    zeros, and its slots are free. In this order: the head of an item of
 *	    which another page is lost must be wiped before that page can be read.
 *  index   made anew from what the slabs say.
 *
 * More can be lost while this is at work. Then it begins anew: each time at least
 * one more extent is in the inventory.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shard.h"

#define TRIES	1000	/* while somebody else is at the page */

static int open_again(void *at, size_t len)
{
	int i, r = bez_lost_clear(at, len);

	for (i = 0; r == -EAGAIN && i < TRIES; i++) {
		sched_yield();
		r = bez_lost_clear(at, len);
	}
	return r;
}

/* --------------------------------------------------------------- of items */

struct range {
	slot_t first, end;
};

/* The slots that have a byte of it. */
static struct range slots_on(const struct shard *s, const struct bez_lost *lost,
			     uint32_t slab)
{
	size_t from = (size_t)((char *)lost->addr - s->items), to;
	const size_t base = (size_t)slab * SLAB_BYTES;
	const struct slot_class *c = &s->class[s->slab_class[slab]];
	struct range r = { slab * SLAB_SLOTS + 1, slab * SLAB_SLOTS + 1 };

	to = from + lost->width;
	from = from > base ? from - base : 0;
	to = to - base < SLAB_BYTES ? to - base : SLAB_BYTES;
	r.first += (uint32_t)(from / c->size);
	r.end += (uint32_t)((to + c->size - 1) / c->size);
	if (r.end > slab * SLAB_SLOTS + 1 + c->slots)
		r.end = slab * SLAB_SLOTS + 1 + c->slots;
	return r;
}

/* Bytes of a slot with an item that are its item. */
static size_t used(const struct slot *at)
{
	return sizeof(struct item) + at->size;
}

static bool overlap(const char *at, size_t len, const struct bez_lost *lost)
{
	const char *from = lost->addr;

	return at < from + lost->width && from < at + len;
}

static void close_slots(struct shard *s, struct range r,
			const struct bez_lost *lost)
{
	slot_t n;

	if (r.first < r.end)
		slab_unfree(s, r.first, r.end);
	for (n = r.first; n < r.end; n++) {
		struct slot *at = slot_at(s, n);

		if (at->state == SLOT_USED) {
			/* what is behind its value is nobody's */
			if (!overlap((char *)slot_item(s, n), used(at), lost))
				continue;
			s->count[STORE_LOST_KEYS]++;
			s->count[STORE_LOST_BYTES] += at->size;
			slab_erase(s, n);
			index_unlink(s, n);
		}
		at->state = SLOT_LOST;
	}
}

static void open_slots(struct shard *s, struct range r)
{
	slot_t n;

	for (n = r.first; n < r.end; n++)
		if (slot_at(s, n)->state == SLOT_LOST &&
		    !bez_lost_in(slot_item(s, n), slot_class(s, n)->size))
			slab_put_free(s, n);
}

static void mend_items(struct shard *s, const struct bez_lost *lost)
{
	size_t at = (size_t)((char *)lost->addr - s->items);
	uint32_t first = (uint32_t)(at / SLAB_BYTES), slab;
	uint32_t end = (uint32_t)((at + lost->width - 1) / SLAB_BYTES) + 1;

	if (end > s->slabs_used)
		end = s->slabs_used;
	for (slab = first; slab < end; slab++)
		close_slots(s, slots_on(s, lost, slab), lost);
	if (open_again(lost->addr, lost->width)) {
		/* no memory, say: its slots are out of use until there is */
		s->unmended = true;
		s->count[STORE_UNMENDED]++;
		return;
	}
	s->count[STORE_LOST_PAGES] += lost->width / (size_t)sysconf(_SC_PAGESIZE);
	for (slab = first; slab < end; slab++)
		open_slots(s, slots_on(s, lost, slab));
}

/* ----------------------------------------------------------- of the index */

static void forget_all(struct shard *s)
{
	uint32_t slab;
	int i;

	memset(s->bucket, 0, s->buckets * sizeof(*s->bucket));
	for (slab = 0; slab < s->slabs_used; slab++)
		memset(slot_at(s, slab * SLAB_SLOTS + 1), 0,
		       s->class[s->slab_class[slab]].slots *
		       sizeof(struct slot));
	for (i = 0; i < CLASSES; i++)
		s->class[i].free = s->class[i].oldest = s->class[i].newest = 0;
	s->used_items = s->used_bytes = 0;
}

/* The call that was left may have put a new item beside the one that it was to
 * take the place of: the newer is right. */
static void enter(struct shard *s, slot_t n)
{
	struct item *item = slot_item(s, n);
	uint64_t hash = key_hash(item->data, item->key_len);
	slot_t other = index_find(s, hash, item->data, item->key_len);

	if (other && slot_item(s, other)->cas > item->cas) {
		slab_erase(s, n);
		slab_put_free(s, n);
		return;
	}
	if (other)
		slab_drop(s, other);
	index_link(s, n, hash, item->key_len + item->value_len);
}

/* Can it have been an item? */
static bool sane(const struct shard *s, slot_t n)
{
	const struct item *item = slot_item(s, n);
	uint32_t size = s->class[s->slab_class[(n - 1) / SLAB_SLOTS]].size;

	return item->valid == 1 && item->key_len &&
	       item->key_len <= KEY_MAX_LEN && item->value_len <= size &&
	       sizeof(*item) + item->key_len + item->value_len <= size;
}

static void enter_slot(struct shard *s, slot_t n)
{
	const struct item *item = slot_item(s, n);
	const size_t size = slot_class(s, n)->size;
	const bool head = !bez_lost_in(item, sizeof(*item)) && sane(s, n);
	const uint32_t len = head ? item->key_len + item->value_len : 0;

	if (head && !bez_lost_in(item, sizeof(*item) + len)) {
		enter(s, n);
	} else if (!bez_lost_in(item, size)) {
		slab_put_free(s, n);
	} else {
		/* a page of it is lost as well; whether it was a key can be
		 * told if the head is not on it */
		s->count[STORE_LOST_KEYS] += head;
		s->count[STORE_LOST_BYTES] += len;
		slab_erase(s, n);
		slot_at(s, n)->state = SLOT_LOST;
	}
}

static void mend_index(struct shard *s)
{
	uint32_t slab, i;
	int r = open_again(s->index, s->index_len);

	if (r) {
		fprintf(stderr, "kv: a page of the index is lost, and there is "
			"no other to be had (%s): the end\n", strerror(-r));
		exit(1);
	}
	forget_all(s);
	for (slab = 0; slab < s->slabs_used; slab++) {
		const struct slot_class *c = &s->class[s->slab_class[slab]];

		for (i = c->slots; i > 0; i--)
			enter_slot(s, slab * SLAB_SLOTS + i);
	}
	s->count[STORE_INDEX_LOST]++;
}

/* -------------------------------------------------------------------- all */

static bool within(const void *at, const void *start, size_t len)
{
	return (const char *)at >= (const char *)start &&
	       (const char *)at < (const char *)start + len;
}

static void agree(struct shard *s)
{
	struct bez_lost lost;
	uint64_t at = 0;

	if (bez_lost_in(s->index, s->index_len))
		s->index_broken = true;
	if (s->index_broken) {
		mend_index(s);
		s->held = 0;
		s->index_broken = false;
	}
	if (s->held) {
		slab_erase(s, s->held);
		slab_put_free(s, s->held);
		s->held = 0;
	}
	s->unmended = false;
	while (!bez_lost_next(&at, &lost))
		if (within(lost.addr, s->items, s->items_len))
			mend_items(s, &lost);
}

void mend(struct shard *s)
{
	volatile bool done = false;

	while (!done) {
		BEZ_TRY {
			agree(s);
			done = true;
		} BEZ_CATCH(lost) {
			(void)lost;
		}
	}
}

void mend_told(const struct bez_lost *lost, void *arg)
{
	struct shard *s = arg;

	(void)lost;
	pthread_mutex_lock(&s->lock);
	mend(s);
	pthread_mutex_unlock(&s->lock);
}
