/* SPDX-License-Identifier: MIT */
#include "batch.h"

#include <string.h>
#include <time.h>

#include "client.h"

#define SECOND 1000000000u

uint64_t clock_now(void)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void due(struct batch *b, uint64_t in_ns)
{
	uint64_t at = clock_now() + in_ns;

	if (!b->due_ns || (at < b->due_ns && !b->fails))
		b->due_ns = at;
}

struct item *batch_room(struct batch *b)
{
	if (b->n == BATCH_MOST && (b->fails || batch_put(b))) {
		batch_count(b, COUNT_NO_ROOM, 1);
		return NULL;
	}
	return &b->items[b->n];
}

void batch_add(struct batch *b)
{
	/* a count alone has more time than an item */
	if (!b->n++)
		due(b, b->delay_ns);
	if (b->n == BATCH_MOST && !b->fails)
		batch_put(b);
}

void batch_count(struct batch *b, enum count what, uint64_t n)
{
	b->store->counts[what] += n;
	due(b, SECOND);
}

/* Those of one client that came together are answered together. */
static void acknowledge(struct batch *b)
{
	unsigned char digests[BATCH_MOST * ITEM_DIGEST];
	size_t i, n = 0;

	for (i = 0; i < b->n; i++) {
		const struct item *item = &b->items[i];

		/* nobody who is one waits for those of the kernel, and deaths */
		if (item->client == CLIENT_NONE || !item_is_told(item->kind))
			continue;
		memcpy(digests + n++ * ITEM_DIGEST,
		       item->raw + item->bytes - ITEM_DIGEST, ITEM_DIGEST);
		if (i + 1 < b->n && item[1].client == item->client &&
		    item[1].generation == item->generation &&
		    item_is_told(item[1].kind))
			continue;
		if (client_tell(b->clients, item->client, item->generation,
				digests, n * ITEM_DIGEST))
			batch_count(b, COUNT_ACKS_DROPPED, n);
		n = 0;
	}
}

int batch_put(struct batch *b)
{
	size_t i;

	b->due_ns = 0;
	if (store_put(b->store, b->items, b->n) != STORE_OK) {
		b->fails = 1;
		b->due_ns = clock_now() + SECOND;
		return -1;
	}
	b->fails = 0;
	if (b->clients)
		acknowledge(b);
	for (i = 0; b->on_stored && i < b->n; i++)
		if (b->items[i].number)
			b->on_stored(&b->items[i]);
	b->put += b->n;
	b->n = 0;
	return 0;
}
