/* SPDX-License-Identifier: MIT */
/* The calls of the store that change an item where it is, or take it away. */
#include <string.h>

#include "call.h"

/* ------------------------------------------------------ delete and touch */

static void delete(struct call *c)
{
	slot_t n = call_find(c);

	c->answer = n ? STORE_DONE : STORE_NOT_FOUND;
	c->s->count[n ? STORE_DELETE_HITS : STORE_DELETE_MISSES]++;
	if (!n)
		return;
	slab_erase(c->s, n);
	c->done = true;		/* it will not be found again, see commit() */
	settled();
	slab_drop(c->s, n);
}

enum store_answer store_delete(const struct store_key *k)
{
	struct call c = { .answer = STORE_NOT_FOUND };

	call_run(&c, k, delete);
	return c.answer;
}

static void touch(struct call *c)
{
	slot_t n = call_find(c);

	if (n)
		slot_item(c->s, n)->expires = *c->expires;
	c->answer = n ? STORE_DONE : STORE_NOT_FOUND;
	c->s->count[STORE_TOUCHES]++;
	c->s->count[STORE_TOUCH_HITS] += n != 0;
}

enum store_answer store_touch(const struct store_key *k, uint32_t expires)
{
	struct call c = { .expires = &expires };

	call_run(&c, k, touch);
	return c.answer;
}

/* ------------------------------------------------------------------ count */

static bool parse(const char *at, size_t len, uint64_t *ret_value)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < len && at[i] >= '0' && at[i] <= '9'; i++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, at[i] - '0', &value))
			return false;
	*ret_value = value;
	/* a number that became shorter has blanks behind it */
	return i && (i == len || at[i] == ' ');
}

static void count(struct call *c)
{
	struct shard *s = c->s;
	slot_t n = call_find(c);
	struct item *item = n ? slot_item(s, n) : NULL;
	char digits[20], *at;
	uint64_t was;
	size_t len;

	if (!n) {
		s->count[c->up ? STORE_INCR_MISSES : STORE_DECR_MISSES]++;
		c->answer = STORE_NOT_FOUND;
		return;
	}
	at = item->data + item->key_len;
	if (!parse(at, item->value_len, &was)) {
		c->answer = STORE_NOT_A_NUMBER;
		return;
	}
	c->sum = c->up ? was + c->by : was > c->by ? was - c->by : 0;
	len = (size_t)(number(digits, c->sum) - digits);
	s->count[c->up ? STORE_INCR_HITS : STORE_DECR_HITS]++;
	if (len <= item->value_len) {
		/* in place: should it be lost half-way, the key is */
		memcpy(at, digits, len);
		memset(at + len, ' ', item->value_len - len);
		item->cas = ++s->cas;
		c->answer = STORE_DONE;
	} else {
		const struct store_value longer = {
			.how = STORE_SET, .at = digits, .len = len,
			.flags = item->flags, .expires = item->expires };

		c->value = &longer;
		call_put(c);
		c->value = NULL;
	}
}

enum store_answer store_count(const struct store_key *k, int up, uint64_t by,
			      uint64_t *ret_value)
{
	struct call c = { .up = up, .by = by };

	call_run(&c, k, count);
	*ret_value = c.sum;
	return c.answer;
}
