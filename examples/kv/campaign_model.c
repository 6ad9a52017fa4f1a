/* SPDX-License-Identifier: MIT */
/*
 * What each key has to be. One client does something at random with a key at
 * random, and knows the answer to the byte.
 */
#include "campaign_model.h"

#include <stdlib.h>
#include <string.h>

#include "../random.h"

#define LEN_MAX		20000u
#define COUNTERS	16	/* one key in so many is a number */

struct key {
	char name[256];
	char *at;			/* NULL: it is not there */
	size_t len;
};

static struct key *key;
static size_t keys;
static struct client *client;
static uint64_t seed;
static struct found found;

static void wrong(const char *what, const struct key *k, const char *answer)
{
	/* the first few say enough */
	if (found.wrong++ < 10)
		fprintf(stderr, "kv-campaign: %s: '%.40s' must%s be there, and "
			"the answer is '%.60s'\n", what, k->name,
			k->at ? "" : " not", answer ? answer : "(none)");
}

static void expect(const char *what, const struct key *k, const char *answer,
		   const char *must)
{
	found.answers++;
	if (!answer || strcmp(answer, must))
		wrong(what, k, answer);
}

static void forget(struct key *k)
{
	free(k->at);
	k->at = NULL;
}

/* ------------------------------------------------- what is done with a key */

static size_t draw_value(const struct key *k, char *to)
{
	uint64_t bits = random_next(&seed), x = 0;
	/* as many short ones as long ones */
	size_t len = 1 + (bits >> 8) % (1u << (3 + bits % 12)), i;

	if ((size_t)(k - key) % COUNTERS == 0)
		return (size_t)sprintf(to, "%llu",
				       (unsigned long long)(bits >> bits % 60));
	if (len > LEN_MAX)
		len = LEN_MAX;
	for (i = 0; i < len; i++) {
		if (i % 8 == 0)
			x = random_next(&seed);
		to[i] = (char)(x >> i % 8 * 8);
	}
	return len;
}

static void put(struct key *k, const char *command, bool stored)
{
	char value[LEN_MAX];
	size_t len = draw_value(k, value);

	expect(command, k, client_put(client, command, k->name, value, len),
	       stored ? "STORED" : "NOT_STORED");
	if (!stored)
		return;
	forget(k);
	k->at = malloc(len);
	if (!k->at)
		abort();
	memcpy(k->at, value, len);
	k->len = len;
}

static void append(struct key *k)
{
	char some[100];
	size_t len = 1 + random_below(&seed, sizeof(some) - 1);

	memset(some, 'a' + (int)random_below(&seed, 26), len);
	expect("append", k, client_put(client, "append", k->name, some, len),
	       k->at ? "STORED" : "NOT_STORED");
	if (!k->at)
		return;
	k->at = realloc(k->at, k->len + len);
	if (!k->at)
		abort();
	memcpy(k->at + k->len, some, len);
	k->len += len;
}

static void ask(struct key *k, const char *command, const char *more,
		const char *there, const char *missing)
{
	char line[320];

	snprintf(line, sizeof(line), "%s %s%s", command, k->name, more);
	expect(command, k, client_ask(client, line), k->at ? there : missing);
}

static void count_up(struct key *k)
{
	char digits[24];
	unsigned long long by = random_below(&seed, 1000), sum = 0;

	if (k->at) {
		snprintf(digits, sizeof(digits), "%.*s", (int)k->len, k->at);
		sum = strtoull(digits, NULL, 10) + by;
	}
	snprintf(digits, sizeof(digits), " %llu", by);
	if (k->at) {
		char must[24];
		size_t len = (size_t)sprintf(must, "%llu", sum);

		ask(k, "incr", digits, must, "");
		k->at = realloc(k->at, len);
		memcpy(k->at, must, len);
		k->len = len;
	} else {
		ask(k, "incr", digits, "", "NOT_FOUND");
	}
}

static void came(void *arg, size_t n, const char *at, size_t len)
{
	struct key **k = arg;

	if (!k[n]->at || k[n]->len != len || memcmp(k[n]->at, at, len))
		wrong("get", k[n], "another value");
	k[n] = NULL;
}

static void get(struct key **k, size_t count)
{
	const char *names[GET_KEYS] = { NULL };
	size_t i;

	for (i = 0; i < count; i++)
		names[i] = k[i]->name;
	if (client_get(client, names, count, came, k))
		found.wrong++;
	found.answers += count;
	for (i = 0; i < count; i++)
		if (k[i] && k[i]->at)
			wrong("get", k[i], "END");
}

static void something(struct key *k)
{
	const bool counter = (size_t)(k - key) % COUNTERS == 0;

	switch (random_below(&seed, counter ? 8 : 7)) {
	case 0: put(k, "set", true); break;
	case 1: put(k, "add", !k->at); break;
	case 2: put(k, "replace", k->at); break;
	case 3:
		if (counter || (k->at && k->len > LEN_MAX))
			put(k, "set", true);
		else
			append(k);
		break;
	case 4:
		ask(k, "delete", "", "DELETED", "NOT_FOUND");
		forget(k);
		break;
	case 5: ask(k, "touch", " 0", "TOUCHED", "NOT_FOUND"); break;
	case 6: get(&k, 1); break;
	default: count_up(k);
	}
}

/* -------------------------------------------------------------------- all */

void model_start(struct client *c, size_t count, uint64_t from)
{
	size_t i;

	client = c;
	keys = count;
	seed = from;
	key = calloc(count, sizeof(*key));
	if (!key)
		abort();
	for (i = 0; i < keys; i++) {
		/* of all lengths, so that keys lie across pages, too */
		int len = sprintf(key[i].name, "key-%zu-", i);

		memset(key[i].name + len, 'k', i % 230);
		put(&key[i], "set", true);
	}
}

void model_work(size_t count)
{
	while (count-- && !client->broken) {
		struct key *k = &key[random_below(&seed, keys)];

		/* else they would become fewer */
		if (!k->at && random_below(&seed, 4))
			put(k, "set", true);
		else
			something(k);
	}
}

void model_look_at_all(void)
{
	struct key *some[GET_KEYS];
	size_t i, n = 0;

	for (i = 0; i < keys && !client->broken; i++) {
		some[n++] = &key[i];
		if (n == GET_KEYS || i + 1 == keys) {
			get(some, n);
			n = 0;
		}
	}
}

int model_lost(const char *name)
{
	size_t i;

	if (sscanf(name, "key-%zu-", &i) != 1 || i >= keys ||
	    strcmp(name, key[i].name))
		return -1;
	/* of an item on two pages the second may be lost before the first was
	 * met */
	if (!key[i].at)
		return 0;
	forget(&key[i]);
	found.lost++;
	return 1;
}

void model_meet(const char *name)
{
	struct key *k;
	size_t i;

	if (sscanf(name, "key-%zu-", &i) != 1 || i >= keys)
		return;
	k = &key[i];
	/* by what reads all of it: a delete, say, does not look at the value,
	 * and nobody knows of a page before it is met */
	if (random_below(&seed, 4)) {
		get(&k, 1);
		found.met++;
	} else if ((size_t)(k - key) % COUNTERS == 0) {
		count_up(k);
	} else if (random_below(&seed, 2)) {
		append(k);
	} else {
		put(k, "set", true);
	}
}

struct found model_found(void)
{
	return found;
}
