/* SPDX-License-Identifier: MIT */
/*
 * The calls of the store. Each takes the lock of its shard and does its work in a
 * scope; if that is left by a jump, the shard is mended, under the same lock, and
 * the work is done again. change.c has the calls that change an item where it is.
 */
#include <string.h>

#include "call.h"

static void guarded(struct call *c, void (*work)(struct call *c))
{
	while (!c->done)
		BEZ_TRY {
			work(c);
			c->done = true;
		} BEZ_CATCH(lost) {
			(void)lost;	/* it is in the inventory */
			mend(c->s);
		}
}

static void drop_all(struct call *c)
{
	struct shard *s = c->s;
	uint32_t slab, i;

	for (slab = 0; slab < s->slabs_used; slab++)
		for (i = 1; i <= s->class[s->slab_class[slab]].slots; i++)
			if (slot_at(s, slab * SLAB_SLOTS + i)->state ==
			    SLOT_USED)
				slab_drop(s, slab * SLAB_SLOTS + i);
	s->flush_at = 0;
}

void call_run(struct call *c, const struct store_key *k,
	      void (*work)(struct call *c))
{
	c->key = k;
	c->hash = key_hash(k->at, k->len);
	c->s = shard_of(c->hash);
	pthread_mutex_lock(&c->s->lock);
	if (c->s->flush_at && k->now >= c->s->flush_at) {
		struct call flush = { .s = c->s };

		guarded(&flush, drop_all);
	}
	guarded(c, work);
	pthread_mutex_unlock(&c->s->lock);
}

slot_t call_find(struct call *c)
{
	slot_t n = index_find(c->s, c->hash, c->key->at, c->key->len);
	const struct item *item = n ? slot_item(c->s, n) : NULL;

	if (!n)
		return 0;
	(void)*(const volatile uint64_t *)&item->cas;
	if (item->expires && item->expires <= c->key->now) {
		slab_drop(c->s, n);
		n = 0;
	}
	return n;
}

/* -------------------------------------------------------------------- get */

/* The answer counts when its last byte is there: out->end moves then, and not
 * before. */
static bool append_value(struct call *c, const struct item *item)
{
	size_t len = item->value_len;
	char *to = buffer_room(c->out, len + item->key_len + 80);

	if (!to)
		return false;
	to = text(to, "VALUE ", 6);
	to = text(to, item->data, item->key_len);
	*to++ = ' ';
	to = number(to, item->flags);
	*to++ = ' ';
	to = number(to, len);
	if (c->with_cas) {
		*to++ = ' ';
		to = number(to, item->cas);
	}
	to = text(to, "\r\n", 2);
	to = text(to, item->data + item->key_len, len);
	to = text(to, "\r\n", 2);
	settled();
	c->out->end = (size_t)(to - c->out->at);
	return true;
}

static void get(struct call *c)
{
	struct shard *s = c->s;
	slot_t n = call_find(c);

	if (n) {
		struct item *item = slot_item(s, n);

		if (!slot_at(s, n)->asked_for)
			slot_at(s, n)->asked_for = 1;
		if (c->expires)
			item->expires = *c->expires;
		c->no_memory = !append_value(c, item);
	}
	s->count[STORE_GETS]++;
	s->count[STORE_GET_HITS] += n != 0;
	if (c->expires) {
		s->count[STORE_TOUCHES]++;
		s->count[STORE_TOUCH_HITS] += n != 0;
	}
}

int store_get(const struct store_key *k, int with_cas, const uint32_t *expires,
	      struct buffer *out)
{
	struct call c = { .with_cas = with_cas, .expires = expires,
			  .out = out };

	call_run(&c, k, get);
	return c.no_memory ? -1 : 0;
}

/* -------------------------------------------------------------------- put */

/* May it be stored, with @old there? */
static enum store_answer may(struct call *c, slot_t old)
{
	struct shard *s = c->s;

	switch (c->value->how) {
	case STORE_ADD:
		return old ? STORE_NOT_STORED : STORE_DONE;
	case STORE_REPLACE:
	case STORE_APPEND:
	case STORE_PREPEND:
		return old ? STORE_DONE : STORE_NOT_STORED;
	case STORE_CAS:
		if (!old)
			return STORE_NOT_FOUND;
		return slot_item(s, old)->cas == c->value->cas ? STORE_DONE :
		       STORE_EXISTS;
	default:
		return STORE_DONE;
	}
}

static void count_put(struct call *c)
{
	uint64_t *count = c->s->count;

	count[STORE_SETS]++;
	count[STORE_TOTAL_ITEMS] += c->answer == STORE_DONE;
	if (c->value->how == STORE_CAS) {
		count[STORE_CAS_HITS] += c->answer == STORE_DONE;
		count[STORE_CAS_BADVAL] += c->answer == STORE_EXISTS;
		count[STORE_CAS_MISSES] += c->answer == STORE_NOT_FOUND;
	}
}

/* @n has the new item, whole but for its mark, and @old has to go. */
static void commit(struct call *c, slot_t n, slot_t old)
{
	struct shard *s = c->s;
	struct item *item = slot_item(s, n);
	uint32_t size = item->key_len + item->value_len;

	settled();
	item->valid = 1;
	/* If the index is lost from here on, it is made anew with this in it,
	 * and nothing is to be done again. */
	c->answer = STORE_DONE;
	count_put(c);
	c->done = true;
	settled();
	if (old)
		slab_drop(s, old);
	index_link(s, n, c->hash, size);
	s->held = 0;
}

static void write_item(struct call *c, struct item *item, const struct item *old)
{
	const struct store_value *v = c->value;
	char *to = text(item->data, c->key->at, c->key->len);
	const char *was = old ? old->data + old->key_len : NULL;

	item->cas = ++c->s->cas;
	item->flags = old ? old->flags : v->flags;
	item->expires = old ? old->expires : v->expires;
	item->key_len = (uint8_t)c->key->len;
	item->reserved = 0;
	item->value_len = (uint32_t)(v->len + (old ? old->value_len : 0));
	if (v->how == STORE_APPEND)
		to = text(to, was, old->value_len);
	to = text(to, v->at, v->len);
	if (v->how == STORE_PREPEND)
		text(to, was, old->value_len);
}

void call_put(struct call *c)
{
	const struct store_value *v = c->value;
	const bool joins = v->how == STORE_APPEND || v->how == STORE_PREPEND;
	size_t len = sizeof(struct item) + c->key->len + v->len;
	slot_t old = call_find(c), n;
	int class;

	c->answer = may(c, old);
	if (c->answer != STORE_DONE)
		return count_put(c);
	if (joins)
		len += slot_item(c->s, old)->value_len;
	class = slab_class_of(len);
	if (class < 0) {
		c->answer = STORE_TOO_LARGE;
		return;
	}
	n = slab_take(c->s, class);
	if (!n) {
		c->answer = STORE_FULL;
		return;
	}
	/* it may have been dropped to make room */
	if (old && slot_at(c->s, old)->state != SLOT_USED)
		old = 0;
	if (joins && !old) {
		slab_put_free(c->s, n);
		c->s->held = 0;
		c->answer = STORE_NOT_STORED;
		return count_put(c);
	}
	write_item(c, slot_item(c->s, n), joins ? slot_item(c->s, old) : NULL);
	commit(c, n, old);
}

enum store_answer store_put(const struct store_key *k,
			    const struct store_value *v)
{
	struct call c = { .value = v };
	bool again;

	call_run(&c, k, call_put);
	if (c.answer != STORE_FULL)
		return c.answer;
	/* a page that could not be made good may be by now */
	pthread_mutex_lock(&c.s->lock);
	again = c.s->unmended;
	if (again)
		mend(c.s);
	pthread_mutex_unlock(&c.s->lock);
	if (again) {
		c.done = false;
		call_run(&c, k, call_put);
	}
	return c.answer;
}

/* -------------------------------------------------------------------- all */

void store_flush(uint64_t at, uint64_t now)
{
	unsigned int i;

	for (i = 0; i < shard_count; i++) {
		struct call c = { .s = &shards[i] };

		pthread_mutex_lock(&c.s->lock);
		c.s->count[STORE_FLUSHES] += i == 0;
		if (at > now)
			c.s->flush_at = at;
		else
			guarded(&c, drop_all);
		pthread_mutex_unlock(&c.s->lock);
	}
}
