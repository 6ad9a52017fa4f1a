/* SPDX-License-Identifier: MIT */
/* The inventory's half in normal context: room, and telling the owners. */
#include "region/lost.h"

#include <errno.h>
#include <string.h>

#include "core/core.h"
#include "ladder.h"
#include "region/arena.h"
#include "region/region.h"
#include "region/table.h"

#define STATE	3u
#define BUSY	1u
#define READY	2u

static _Atomic uint64_t *key_of(uint32_t slot)
{
	return &atomic_load(&bz_inventory.chunk[slot / BZ_LOST_CHUNK])
			->key[slot % BZ_LOST_CHUNK];
}

static struct bz_lost_slot *slot_of(uint32_t slot)
{
	return &atomic_load(&bz_inventory.chunk[slot / BZ_LOST_CHUNK])
			->slot[slot % BZ_LOST_CHUNK];
}

int bz_lost_has_room(void)
{
	uint32_t slots = atomic_load_explicit(&bz_inventory.slots,
					      memory_order_relaxed);

	return slots && slots - bz_lost_count() >= BZ_LOST_SPARE;
}

int bz_lost_grow(void)
{
	uint32_t slots = atomic_load_explicit(&bz_inventory.slots,
					      memory_order_relaxed);
	struct bz_lost_chunk *chunk;

	if (bz_lost_has_room() || slots == BZ_LOST_CHUNK * BZ_LOST_CHUNKS)
		return 0;
	chunk = bz_arena_get(sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	/* release, both: pairs with chunk_of() and bz_lost_take() */
	atomic_store_explicit(&bz_inventory.chunk[slots / BZ_LOST_CHUNK],
			      chunk, memory_order_release);
	atomic_store_explicit(&bz_inventory.slots, slots + BZ_LOST_CHUNK,
			      memory_order_release);
	return 0;
}

void bz_lost_forget(bez_region_t region)
{
	struct bz_lost_at at;
	struct bez_lost lost;
	uint32_t i = 0;

	while (bz_lost_walk(&i, &at))
		if (bz_lost_read(&at, &lost) && lost.region == region)
			bz_lost_remove(&at);
}

void bz_lost_forked(void)
{
	uint32_t i, slots = atomic_load(&bz_inventory.slots);
	uint64_t word = atomic_load(&bz_lost_word) >> 32, ready = 0;

	for (i = 0; i < slots; i++)
		if ((atomic_load(key_of(i)) & STATE) == BUSY)
			atomic_store(key_of(i), 0);
		else
			ready += (atomic_load(key_of(i)) & STATE) == READY;
	/* another thread may have been between a key and the count */
	atomic_store(&bz_lost_word, (word + 1) << 32 | ready);
	atomic_store(&bz_inventory.telling, 0);
}

void bz_lost_reset(void)
{
	uint32_t i;

	/* regions are gone, and with them what was lost in them */
	atomic_store(&bz_inventory.top, 0);
	atomic_store(&bz_inventory.slots, 0);
	for (i = 0; i < BZ_LOST_CHUNKS; i++)
		atomic_store(&bz_inventory.chunk[i], NULL);
}

/* --------------------------------------------------- because its owner says so */

int bez_lost_add(void *addr, size_t len)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint64_t start = (uint64_t)addr, end = start + len;
	int r = 0;

	if (!mm)
		return -ESRCH;
	if ((start | len) & (bz_core.page - 1) || end < start)
		return -EINVAL;
	if (bz_inside())
		return -EDEADLK;
	while (!r && start < end) {
		bz_region_lost_room();
		r = bz_lose(mm, start, end, &start);
	}
	return r;
}

/* ---------------------------------------------------------------- on_lost */

#define BY_OWNER	UINT64_MAX	/* what the owner was not told of */

struct untold {
	uint32_t slot;			/* of the one with the lowest number */
	uint64_t key;
	uint64_t seq;			/* UINT64_MAX: none */
	uint32_t busy;			/* are being entered */
};

/* @after: a number that has been told, or BY_OWNER. */
static void look(struct untold *u, uint64_t after)
{
	uint32_t i, top = atomic_load(&bz_inventory.top);

	*u = (struct untold){ .seq = UINT64_MAX };
	for (i = 0; i < top; i++) {
		uint64_t key = atomic_load(key_of(i)), seq;

		u->busy += (key & STATE) == BUSY;
		if ((key & STATE) != READY)
			continue;
		seq = atomic_load(&slot_of(i)->seq);
		if (after == BY_OWNER ? seq == atomic_load(&slot_of(i)->told) :
					seq <= after)
			continue;
		if (seq < u->seq) {
			u->slot = i;
			u->key = key;
			u->seq = seq;
		}
	}
}

/*
 * The next loss, in order. Numbers are drawn while a slot is BUSY, so one that
 * is lower than the lowest of a first look is BUSY or READY in all of a second.
 * Where something is BUSY there will be another ring.
 */
static int next_untold(struct untold *u, uint64_t after)
{
	struct untold again;

	look(u, after);
	for (;;) {
		if (u->seq == UINT64_MAX)
			return 0;
		look(&again, after);
		if (again.busy) {
			u->busy = again.busy;
			return 0;
		}
		if (again.seq == u->seq)
			return 1;
		*u = again;
	}
}

/* What the owner of @region wants to be told with; NULL: nothing. It stays his,
 * until telling is 0 again. */
static bez_lost_fn listener(struct bz_mm *mm, bez_region_t region, void **arg)
{
	struct bz_walk *w = bz_walk_enter(mm, BZ_WALK_ANYBODY, NULL,
					  UINT64_MAX / 2);
	struct bz_region *r;
	bez_lost_fn fn = NULL;

	bz_region_mark(w);
	r = bz_region_by_id(region);
	if (r && !r->dying) {
		fn = r->on_lost;
		*arg = r->on_lost_arg;
	}
	/* before the mark goes: pairs with bz_lost_wait_told() */
	if (fn)
		atomic_store(&bz_inventory.telling, region);
	bz_walk_unmark(w);
	bz_walk_leave(mm, w, NULL);
	return fn;
}

int bz_tell_losses(struct bz_mm *mm)
{
	struct bez_lost lost;
	struct bz_lost_at at;
	struct untold u;
	bez_lost_fn fn;
	void *arg;
	int did = 0;

	while (next_untold(&u, BY_OWNER)) {
		did = 1;
		bz_region_lost_room();
		at = (struct bz_lost_at){ .slot = u.slot, .key = u.key };
		if (!bz_lost_read(&at, &lost) || lost.seq != u.seq)
			continue;
		/* by its number: the slot may be another's by now */
		atomic_store(&slot_of(u.slot)->told, u.seq);
		fn = listener(mm, lost.region, &arg);
		if (!fn)
			continue;
		fn(&lost, arg);
		atomic_store(&bz_inventory.telling, 0);
		atomic_fetch_add(&bz_inventory.tells, 1);
		bz_futex_wake(&bz_inventory.tells);
	}
	return did;
}

int bz_lost_after(uint64_t after, uint32_t *ret_slot, struct bez_lost *ret_lost)
{
	struct bz_lost_at at;
	struct untold u;

	while (next_untold(&u, after)) {
		at = (struct bz_lost_at){ .slot = u.slot, .key = u.key };
		if (bz_lost_read(&at, ret_lost) && ret_lost->seq == u.seq) {
			*ret_slot = u.slot;
			return 1;
		}
	}
	return u.busy ? -EAGAIN : 0;
}

int bz_lost_is(uint32_t slot, uint64_t seq)
{
	return (atomic_load(key_of(slot)) & STATE) == READY &&
	       atomic_load(&slot_of(slot)->seq) == seq;
}

int bz_lost_wait_told(bez_region_t region, uint64_t patience_ns)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint64_t now = bz_now_ns(), end = bz_after(now, patience_ns);

	/* from within it */
	if (mm && atomic_load(&mm->worker_tid) == bz_gettid())
		return 0;
	for (;;) {
		uint32_t tells = atomic_load(&bz_inventory.tells);

		if (atomic_load(&bz_inventory.telling) != region)
			return 0;
		if (now >= end)
			return -EBUSY;
		bz_futex_wait(&bz_inventory.tells, tells, end - now);
		now = bz_now_ns();
	}
}
