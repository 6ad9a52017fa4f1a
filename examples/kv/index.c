/* SPDX-License-Identifier: MIT */
/*
 * From a key to its slot. Chains and queues lead through the index alone, and
 * whatever changes them touches no item: what is lost of an item never leaves a
 * list half-way changed.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

#include "shard.h"

/* Drawn at the start: nobody can choose keys that all land in one chain. */
static uint64_t seed;

void index_seed(uint64_t value)
{
	seed = value;
}

uint64_t key_hash(const char *key, size_t len)
{
	return XXH3_64bits_withSeed(key, len, seed);
}

static slot_t *bucket_of(const struct shard *s, uint64_t hash)
{
	return &s->bucket[hash & (s->buckets - 1)];
}

slot_t index_find(const struct shard *s, uint64_t hash, const char *key,
		  size_t key_len)
{
	slot_t n;

	for (n = *bucket_of(s, hash); n; n = slot_at(s, n)->next) {
		const struct item *item;

		if (slot_at(s, n)->hash != hash)
			continue;
		item = slot_item(s, n);
		if (item->key_len == key_len &&
		    !memcmp(item->data, key, key_len))
			return n;
	}
	return 0;
}

static void queue(struct shard *s, slot_t n)
{
	struct slot_class *c = slot_class(s, n);
	struct slot *at = slot_at(s, n);

	at->asked_for = 0;
	at->newer = 0;
	at->older = c->newest;
	*(c->newest ? &slot_at(s, c->newest)->newer : &c->oldest) = n;
	c->newest = n;
}

static void unqueue(struct shard *s, slot_t n)
{
	struct slot_class *c = slot_class(s, n);
	struct slot *at = slot_at(s, n);

	*(at->newer ? &slot_at(s, at->newer)->older : &c->newest) = at->older;
	*(at->older ? &slot_at(s, at->older)->newer : &c->oldest) = at->newer;
}

void index_link(struct shard *s, slot_t n, uint64_t hash, uint32_t size)
{
	slot_t *bucket = bucket_of(s, hash);
	struct slot *at = slot_at(s, n);

	at->hash = hash;
	at->size = size & 0xffffff;
	at->state = SLOT_USED;
	at->next = *bucket;
	*bucket = n;
	queue(s, n);
	s->used_items++;
	s->used_bytes += size;
}

void index_unlink(struct shard *s, slot_t n)
{
	struct slot *at = slot_at(s, n);
	slot_t *from = bucket_of(s, at->hash);

	while (*from != n)
		from = &slot_at(s, *from)->next;
	*from = at->next;
	unqueue(s, n);
	s->used_items--;
	s->used_bytes -= at->size;
}

void index_refresh(struct shard *s, slot_t n)
{
	unqueue(s, n);
	queue(s, n);
}
