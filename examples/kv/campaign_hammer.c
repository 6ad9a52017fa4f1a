/* SPDX-License-Identifier: MIT */
/*
 * Clients that store and get all the time, so that pages are lost under calls that
 * are under way. What they get is what they have stored last, or nothing; and for
 * each time that it is nothing, a page with that key on it has been lost.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../random.h"
#include "campaign.h"

#define LEN_MAX	6000u

struct hammer {
	pthread_t id;
	struct client client;
	unsigned int number;
	uint64_t seed;
	uint64_t version[HAMMER_KEYS];	/* 0: it is not there */
	uint64_t misses[HAMMER_KEYS];
	_Atomic uint64_t lost[HAMMER_KEYS];	/* the campaign's */
	uint64_t answers, wrong;
};

static struct hammer hammer[HAMMERS];
static _Atomic int stop;

/* Another length and other bytes each time. */
static size_t value_of(unsigned int key, uint64_t version, char *to)
{
	uint64_t from = version << 16 | key, x = 0;
	size_t len = 8 + random_below(&from, LEN_MAX - 8), i;

	for (i = 0; i < len; i++) {
		if (i % 8 == 0)
			x = random_next(&from);
		to[i] = (char)('a' + (x >> i % 8 * 8 & 15));
	}
	return len;
}

struct asked {
	struct hammer *h;
	unsigned int key;
	int came;
};

static void check(void *arg, size_t key, const char *at, size_t len)
{
	struct asked *a = arg;
	char must[LEN_MAX];
	uint64_t version = a->h->version[a->key];

	(void)key;
	a->came = 1;
	if (!version || value_of(a->key, version, must) != len ||
	    memcmp(must, at, len))
		a->h->wrong++;
}

static void get(struct hammer *h, unsigned int key, const char *name)
{
	struct asked a = { .h = h, .key = key };

	if (client_get(&h->client, &name, 1, check, &a))
		return;
	if (!a.came && h->version[key]) {
		h->misses[key]++;
		h->version[key] = 0;
	}
}

static void set(struct hammer *h, unsigned int key, const char *name,
		uint64_t version)
{
	char value[LEN_MAX];
	size_t len = value_of(key, version, value);
	char *answer = client_put(&h->client, "set", name, value, len);

	if (answer && !strcmp(answer, "STORED"))
		h->version[key] = version;
	else
		h->wrong++;
}

static void *work(void *arg)
{
	struct hammer *h = arg;
	uint64_t version = 0;
	unsigned int key;
	char name[32];

	while (!h->client.broken && !stop) {
		key = (unsigned int)random_below(&h->seed, HAMMER_KEYS);
		snprintf(name, sizeof(name), "hammer-%u-%u", h->number, key);
		if (random_below(&h->seed, 4))
			get(h, key, name);
		else
			set(h, key, name, ++version);
		h->answers++;
	}
	for (key = 0; !h->client.broken && key < HAMMER_KEYS; key++) {
		snprintf(name, sizeof(name), "hammer-%u-%u", h->number, key);
		get(h, key, name);
	}
	return NULL;
}

int hammers_start(struct server *s, uint64_t seed)
{
	unsigned int i;

	for (i = 0; i < HAMMERS; i++) {
		struct hammer *h = &hammer[i];

		client_open(&h->client, s->fd[1 + i], "a hammer");
		h->number = i;
		h->seed = seed + 1 + i;
		if (pthread_create(&h->id, NULL, work, h)) {
			fputs("kv-campaign: no more threads\n", stderr);
			return -1;
		}
	}
	return 0;
}

bool hammers_lost(const char *key)
{
	unsigned int i, k;

	if (sscanf(key, "hammer-%u-%u", &i, &k) != 2 || i >= HAMMERS ||
	    k >= HAMMER_KEYS)
		return false;
	hammer[i].lost[k]++;
	return true;
}

struct hammered hammers_stop(void)
{
	struct hammered sum = { 0 };
	unsigned int i, k;

	stop = 1;
	for (i = 0; i < HAMMERS; i++) {
		struct hammer *h = &hammer[i];

		pthread_join(h->id, NULL);
		sum.answers += h->answers;
		sum.wrong += h->wrong;
		sum.broken |= h->client.broken;
		client_close(&h->client);
		for (k = 0; k < HAMMER_KEYS; k++) {
			sum.misses += h->misses[k];
			if (h->misses[k] > h->lost[k])
				sum.not_excused += h->misses[k] - h->lost[k];
		}
	}
	return sum;
}
