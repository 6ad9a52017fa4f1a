/* SPDX-License-Identifier: MIT */
/* A call of the store, between the files that make them: store.c, change.c. */
#ifndef KV_CALL_H
#define KV_CALL_H

#include <stdatomic.h>
#include <string.h>

#include "shard.h"

struct call {
	struct shard *s;
	const struct store_key *key;
	uint64_t hash;
	const struct store_value *value;
	const uint32_t *expires;	/* NULL: as they are */
	struct buffer *out;
	int with_cas;
	int up;				/* count: or down */
	uint64_t by, sum;
	enum store_answer answer;
	bool no_memory;
	bool done;			/* whatever becomes of the index */
};

/* Do @work under the lock of the key's shard and in a scope: again, as long as that
 * is left by a jump, and c->done is not set. */
void call_run(struct call *c, const struct store_key *k,
	      void (*work)(struct call *c));

/*
 * Its slot; 0: there is none. The head of the item is met as a whole: whether its
 * page is lost must not depend on which of its fields the call has use for. The
 * key was compared, and the value is met by who has use for that.
 */
slot_t call_find(struct call *c);

/* Store c->value. */
void call_put(struct call *c);

/* What the slab says holds from here on. To the compiler; for who reads it is this
 * thread after a jump, or another after the lock. */
static inline void settled(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

static inline char *text(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	return to + len;
}

static inline char *number(char *to, uint64_t value)
{
	char digits[20];
	int n = 20;

	do
		digits[--n] = (char)('0' + value % 10);
	while (value /= 10);
	return text(to, digits + n, (size_t)(20 - n));
}

#endif
