/* SPDX-License-Identifier: MIT */
/*
 * Slabs and their slots. A slab has slots of one size; the sizes are those of
 * classes, each half as large again as the one before. Where there is no free slot the one that was longest
 * not asked for is emptied; where a class has no slab at all, it is given one
 * of that which has most.
 */
#include <string.h>

#include "shard.h"

#define SECOND_CHANCES	50	/* items passed over for one that is dropped */

static uint32_t class_size[CLASSES];
static int classes;

static void sizes(void)
{
	uint32_t size = SLOT_MIN;

	while (size < SLAB_BYTES / 2) {
		class_size[classes++] = size;
		size = (size + size / 2 + 7) / 8 * 8;
	}
	class_size[classes++] = SLAB_BYTES / 2;
	class_size[classes++] = SLAB_BYTES;
}

void slab_classes(struct shard *s)
{
	int i;

	if (!classes)
		sizes();
	for (i = 0; i < classes; i++) {
		s->class[i].size = class_size[i];
		s->class[i].slots = SLAB_BYTES / class_size[i];
	}
}

int slab_class_of(size_t bytes)
{
	int low = 0, high = classes;

	while (low < high) {
		int mid = (low + high) / 2;

		if (class_size[mid] < bytes)
			low = mid + 1;
		else
			high = mid;
	}
	return low < classes ? low : -1;
}

void slab_put_free(struct shard *s, slot_t n)
{
	struct slot_class *c = slot_class(s, n);

	slot_at(s, n)->state = SLOT_FREE;
	slot_at(s, n)->next = c->free;
	c->free = n;
}

void slab_unfree(struct shard *s, slot_t first, slot_t end)
{
	slot_t *from = &slot_class(s, first)->free;

	while (*from)
		if (*from >= first && *from < end)
			*from = slot_at(s, *from)->next;
		else
			from = &slot_at(s, *from)->next;
}

void slab_erase(struct shard *s, slot_t n)
{
	/* what it does not reach is lost, and will be zeros */
	bez_set(&slot_item(s, n)->valid, 0, 1);
}

void slab_drop(struct shard *s, slot_t n)
{
	slab_erase(s, n);
	index_unlink(s, n);
	slab_put_free(s, n);
}

/*
 * Cut it into slots of the class. If the slab is @used: no byte of what was there
 * may pass for the head of an item, and all heads are wiped before anything of
 * the index is touched, for after that the slab may be read by who makes that anew.
 */
static void cut(struct shard *s, uint32_t slab, int class, bool used)
{
	slot_t first = slab * SLAB_SLOTS + 1;
	uint32_t i;

	s->slab_class[slab] = (uint8_t)class;
	s->class[class].slabs++;
	for (i = 0; used && i < s->class[class].slots; i++)
		slab_erase(s, first + i);
	for (i = s->class[class].slots; i > 0; i--)
		slab_put_free(s, first + i - 1);
}

static bool has_lost(const struct shard *s, uint32_t slab)
{
	uint32_t i, slots = s->class[s->slab_class[slab]].slots;

	for (i = 0; i < slots; i++)
		if (slot_at(s, slab * SLAB_SLOTS + 1 + i)->state == SLOT_LOST)
			return true;
	return false;
}

static uint32_t most_slabs(const struct shard *s, int but)
{
	uint32_t most = 0;
	int i;

	for (i = 0; i < classes; i++)
		if (i != but && s->class[i].slabs > most)
			most = s->class[i].slabs;
	return most;
}

/* A slab of another class, emptied. */
static void take_slab(struct shard *s, int class)
{
	uint32_t i, slab = 0, slots, most = most_slabs(s, class);
	slot_t first;

	for (i = 0; i < s->slabs_used; i++) {
		slab = s->next_taken++ % s->slabs_used;
		if (s->slab_class[slab] != class && !has_lost(s, slab) &&
		    s->class[s->slab_class[slab]].slabs == most)
			break;
	}
	if (i == s->slabs_used)
		return;
	slots = s->class[s->slab_class[slab]].slots;
	first = slab * SLAB_SLOTS + 1;
	for (i = 0; i < slots; i++)
		if (slot_at(s, first + i)->state == SLOT_USED) {
			slab_drop(s, first + i);
			s->count[STORE_EVICTIONS]++;
		}
	slab_unfree(s, first, first + slots);
	for (i = 0; i < slots; i++)
		slot_at(s, first + i)->state = SLOT_NONE;
	s->class[s->slab_class[slab]].slabs--;
	cut(s, slab, class, true);
}

static void evict(struct shard *s, struct slot_class *c)
{
	int passed;

	for (passed = 0; passed < SECOND_CHANCES; passed++) {
		if (!slot_at(s, c->oldest)->asked_for)
			break;
		index_refresh(s, c->oldest);
	}
	slab_drop(s, c->oldest);
	s->count[STORE_EVICTIONS]++;
}

slot_t slab_take(struct shard *s, int class)
{
	struct slot_class *c = &s->class[class];
	slot_t n;

	if (!c->free && s->slabs_used < s->slabs)
		cut(s, s->slabs_used++, class, false);
	if (!c->free && c->oldest)
		evict(s, c);
	if (!c->free)
		take_slab(s, class);
	n = c->free;
	if (!n)
		return 0;
	c->free = slot_at(s, n)->next;
	s->held = n;
	slot_at(s, n)->state = SLOT_HELD;
	return n;
}
