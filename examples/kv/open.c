/* SPDX-License-Identifier: MIT */
/*
 * The memory of the store, and what bezoar is told about it. That, a scope around
 * what touches it (store.c), and what to do about a loss (mend.c) is all that the
 * server has of bezoar.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "shard.h"

#define SHARDS_MAX	16u
#define SHARD_SLABS	32u		/* at least, or classes take them from each
					 * other */
#define BUCKET_BYTES	256u		/* of slabs, for each hash bucket */

struct shard *shards;
unsigned int shard_count;

struct shard *shard_of(uint64_t hash)
{
	return &shards[hash >> 48 & (shard_count - 1)];
}

/* Taken from the kernel page by page, as it is used. */
static void *memory(size_t len)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	/* a page, not a huge one, shall be lost */
	madvise(at, len, MADV_NOHUGEPAGE);
	return at;
}

static int protect(struct shard *s, void *at, size_t len, const char *name,
		   bez_region_t *ret_region)
{
	struct bez_policy policy = BEZ_POLICY_INIT;

	policy.name = name;
	policy.flags = BEZ_POLICY_IS_MAPPED;
	/* no copy is kept anywhere: what is lost is lost. Should it be met
	 * outside of a scope, which is a mistake here: an orderly end */
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	policy.actions[1] = BEZ_ACTION_SHUTDOWN;
	policy.on_lost = mend_told;
	policy.on_lost_arg = s;
	return bez_region_add(at, len, &policy, ret_region);
}

static int make(struct shard *s, uint32_t slabs)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t chains;
	int r;

	s->slabs = slabs;
	s->items_len = (size_t)slabs * SLAB_BYTES;
	for (s->buckets = 1024; s->buckets < s->items_len / BUCKET_BYTES;)
		s->buckets *= 2;
	chains = (s->buckets * sizeof(*s->bucket) + page - 1) / page * page;
	s->index_len = chains + (size_t)slabs * SLAB_SLOTS *
		       sizeof(*s->slot);
	s->items = memory(s->items_len);
	s->index = memory(s->index_len);
	s->slab_class = malloc(slabs);
	if (!s->items || !s->index || !s->slab_class)
		return -ENOMEM;
	memset(s->slab_class, CLASS_NONE, slabs);
	s->bucket = s->index;
	s->slot = (struct slot *)((char *)s->index + chains);
	slab_classes(s);
	pthread_mutex_init(&s->lock, NULL);
	r = protect(s, s->items, s->items_len, "items", &s->region[0]);
	return r ? r : protect(s, s->index, s->index_len, "index",
			       &s->region[1]);
}

int store_open(size_t bytes)
{
	uint32_t slabs = (uint32_t)(bytes / SLAB_BYTES), i;
	uint64_t seed;
	int r = 0;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -errno;
	index_seed(seed);
	for (shard_count = 1; shard_count < SHARDS_MAX &&
	     slabs / shard_count / 2 >= SHARD_SLABS;)
		shard_count *= 2;
	shards = aligned_alloc(64, shard_count * sizeof(*shards));
	if (!shards)
		return -ENOMEM;
	memset(shards, 0, shard_count * sizeof(*shards));
	for (i = 0; !r && i < shard_count; i++)
		r = make(&shards[i], slabs / shard_count);
	return r;
}

void store_stats(struct store_stats *ret_stats)
{
	struct store_stats sum = { 0 };
	unsigned int i, k;

	for (i = 0; i < shard_count; i++) {
		struct shard *s = &shards[i];

		pthread_mutex_lock(&s->lock);
		sum.items += s->used_items;
		sum.bytes += s->used_bytes;
		sum.limit += s->items_len;
		for (k = 0; k < STORE_COUNTERS; k++)
			sum.count[k] += s->count[k];
		pthread_mutex_unlock(&s->lock);
	}
	*ret_stats = sum;
}

void store_stats_reset(void)
{
	unsigned int i;

	for (i = 0; i < shard_count; i++) {
		pthread_mutex_lock(&shards[i].lock);
		memset(shards[i].count, 0, sizeof(shards[i].count));
		pthread_mutex_unlock(&shards[i].lock);
	}
}
