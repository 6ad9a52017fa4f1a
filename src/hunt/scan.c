/* SPDX-License-Identifier: MIT */
/*
 * Through the memory that was chosen, in chunks that any of several threads takes.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "copy/copy.h"
#include "core/core.h"
#include "hunt/hunt.h"
#include "region/lost.h"

#define CHUNK	(4u << 20)		/* bz_present_all() */
#define BUFFER	(64u << 10)		/* in the second cache */
#define STACK	(1u << 20)		/* what a fault needs, and the program's
					 * bez_hunt_fn and sources */

/* One thread's. */
struct hunter {
	struct bz_hunt *h;
	struct bz_bag bag;
	uint32_t flags;			/* of the span it is in */
	unsigned char *buffer;		/* of BUFFER bytes; copied */
	unsigned char *stack;
	pthread_t thread;
	int runs;
	_Alignas(64) unsigned char block[BZ_BLOCK];
};

/* @words of what was at @at when it was copied. */
static void look(struct hunter *me, const void *words, size_t bytes,
		 uint64_t at)
{
	const struct bz_lanes *lanes = &me->h->quarry.lanes;
	const uint64_t *word = words;
	size_t i;

	for (i = 0; i < bytes / sizeof(*word); i++) {
		uint64_t value = word[i] & lanes->mask;
		uint32_t k;

		for (k = 0; k < lanes->count; k++)
			if (value - lanes->lo[k] < lanes->span[k])
				break;
		if (k < lanes->count)
			bz_note(me->h, &me->bag,
				(uint64_t *)(at + i * sizeof(*word)), word[i],
				me->flags, 0, 0);
	}
}

/* What was just met is lost, or closed: where to go on. */
static uint64_t behind(uint64_t at)
{
	struct bz_lost_at lost;

	if (bz_lost_count() && bz_lost_find(at, &lost))
		return lost.x.start + lost.x.width;
	return (at & -bz_core.page) + bz_core.page;
}

/* Skip to what is behind @at, at most @end. */
static uint64_t skip(struct hunter *me, uint64_t at, uint64_t end)
{
	uint64_t to = behind(at);

	to = to < end ? to : end;
	me->bag.skipped += to - at;
	return to;
}

/* Less than a block: by a copy, in which a lost page is met as well. */
static uint64_t scan_part(struct hunter *me, uint64_t at, uint64_t end)
{
	uint64_t page_end = (at & -bz_core.page) + bz_core.page;
	size_t len, left;

	end = end < page_end ? end : page_end;
	len = end - at;
	left = bz_scope_copy(me->block, (void *)at, len);
	if (left)
		return skip(me, at, end);
	look(me, me->block, len, at);
	me->bag.bytes += len;
	return end;
}

/* Memory that is read where it is. */
static void scan_there(struct hunter *me, uint64_t at, uint64_t end)
{
	const struct bz_hunt_kernel *kernel = me->h->kernel;
	uint64_t block = kernel->block, to;
	uint32_t why;
	size_t done;

	while (at < end) {
		to = (at + block - 1) & -block;
		if (at < to || end - at < block) {
			to = at < to && to < end ? to : end;
			at = scan_part(me, at, to);
			continue;
		}
		done = kernel->skip((void *)at, (end - at) & -block,
				    &me->h->quarry.lanes, me->block, &why);
		me->bag.bytes += done;
		at += done;
		if (why == BZ_SKIP_HIT) {
			look(me, me->block, block, at);
			me->bag.bytes += block;
			at += block;
		} else if (why == BZ_SKIP_FAULT) {
			at = skip(me, at, end);
		}
		if (atomic_load_explicit(&me->h->end, memory_order_relaxed))
			return;
	}
}

/* @bytes in the buffer that were at @at. */
static void scan_buffer(struct hunter *me, size_t bytes, uint64_t at)
{
	const struct bz_hunt_kernel *kernel = me->h->kernel;
	size_t block = kernel->block, i = 0;
	size_t end = (bytes + block - 1) & -block;
	uint32_t why;

	/* what is behind is no word that is hunted */
	memset(me->buffer + bytes, 0, end - bytes);
	while (i < end) {
		i += kernel->skip(me->buffer + i, end - i,
				  &me->h->quarry.lanes, me->block, &why);
		if (why == BZ_SKIP_ALL)
			break;
		/* ours may be lost as well: that part is not looked at */
		if (why == BZ_SKIP_HIT)
			look(me, me->block, block, at + i);
		else
			me->bag.skipped += block;
		i += block;
	}
	me->bag.bytes += bytes;
}

/* The kernel does not replace what it cannot read: the ladder of its region may. */
static int comes_back(uint64_t at)
{
	bez_region_t region;

	return !bez_region_at((void *)at, &region) &&
	       !bez_recover((void *)(at & -bz_core.page), bz_core.page);
}

static void scan_copied(struct hunter *me, uint64_t at, uint64_t end)
{
	uint64_t tried = 0;		/* page */

	while (at < end) {
		size_t len = end - at < BUFFER ? end - at : BUFFER;
		long got = bz_hunt_fetch(me->buffer, (void *)at, len);

		if (got < 0 && got != -EFAULT && got != -ENOMEM) {
			atomic_store(&me->h->end, (int32_t)got);
			return;
		}
		got = got < 0 ? 0 : got & -(long)sizeof(uint64_t);
		if (got) {
			scan_buffer(me, (size_t)got, at);
			at += (uint64_t)got;
		}
		if (!got && (at & -bz_core.page) != tried) {
			tried = at & -bz_core.page;
			if (comes_back(at))
				continue;
		}
		if (!got)
			at = skip(me, at, end);
		if (atomic_load_explicit(&me->h->end, memory_order_relaxed))
			return;
	}
}

/*
 * Nothing is there, and perhaps nothing for a long way: reservations of terabytes are
 * not to be asked about in pieces. Moves the cursor over chunks of @span that nobody
 * has taken; who moves it counts them.
 */
static void leap(struct hunter *me, const struct bz_piece *span, uint64_t from)
{
	uint64_t start, end, to = span->first, next;

	if (!bz_present_scan(me->h->pagemap, from, span->end, &start, &end))
		start = span->end;
	/* never the last one, which may be smaller than the others */
	start = start < span->end ? start : span->end - 1;
	to += (start - span->start) / CHUNK;
	next = atomic_load_explicit(&me->h->next, memory_order_relaxed);
	do {
		if (next >= to)
			return;
	} while (!atomic_compare_exchange_weak_explicit(
			&me->h->next, &next, to, memory_order_relaxed,
			memory_order_relaxed));
	me->bag.absent += (to - next) * CHUNK;
}

static void scan_chunk(struct hunter *me, const struct bz_piece *span,
		       uint64_t chunk)
{
	uint64_t at = span->start + chunk * CHUNK, start, stop;
	uint64_t end = span->end - at < CHUNK ? span->end : at + CHUNK;
	int pagemap = !(span->flags & BZ_PIECE_BARE) ||
		      bz_present_all(at, end) ? -1 : me->h->pagemap;
	uint64_t there = 0, from = at;

	me->flags = span->flags;
	while (bz_present_next(pagemap, &from, end, &start, &stop)) {
		there += stop - start;
		if (me->h->copied)
			scan_copied(me, start, stop);
		else
			scan_there(me, start, stop);
	}
	me->bag.absent += end - at - there;
	if (!there && end < span->end)
		leap(me, span, end);
}

static void hunt(struct hunter *me)
{
	const struct bz_pieces *spans = &me->h->spans;

	while (!atomic_load_explicit(&me->h->end, memory_order_relaxed)) {
		uint64_t n = atomic_fetch_add_explicit(&me->h->next, 1,
						       memory_order_relaxed);
		size_t low = 0, high = spans->count;

		if (n >= me->h->chunks)
			break;
		/* the last one whose first chunk is not above it */
		while (high - low > 1) {
			size_t mid = low + (high - low) / 2;

			if (spans->at[mid].first <= n)
				low = mid;
			else
				high = mid;
		}
		scan_chunk(me, &spans->at[low], n - spans->at[low].first);
	}
}

static void *helper(void *arg)
{
	prctl(PR_SET_NAME, "bezoar-hunt", 0, 0, 0);
	bz_hunt_helps();
	hunt(arg);
	return NULL;
}

/* No signal of the program's is for it; losses are. 32 and 33 are the libc's. */
static void start(struct hunter *me)
{
	uint64_t mask = bz_handler_mask() &
			~(bz_sigbit(32) | bz_sigbit(33)), was;
	pthread_attr_t attr;

	if (pthread_attr_init(&attr))
		return;
	/* the lowest page is there to be run into */
	if (!mprotect(me->stack, bz_core.page, PROT_NONE) &&
	    !pthread_attr_setstack(&attr, me->stack + bz_core.page,
				   STACK - bz_core.page)) {
		bz_sigmask(SIG_SETMASK, &mask, &was);
		me->runs = !pthread_create(&me->thread, &attr, helper, me);
		bz_sigmask(SIG_SETMASK, &was, NULL);
	}
	pthread_attr_destroy(&attr);
}

static void add_up(struct bz_bag *to, const struct bz_bag *bag)
{
	to->found += bag->found;
	to->replaced += bag->replaced;
	to->changed += bag->changed;
	to->read_only += bag->read_only;
	to->gone += bag->gone;
	to->bytes += bag->bytes;
	to->absent += bag->absent;
	to->skipped += bag->skipped;
}

static void count_chunks(struct bz_hunt *h)
{
	size_t i;

	h->chunks = 0;
	for (i = 0; i < h->spans.count; i++) {
		struct bz_piece *span = &h->spans.at[i];

		span->first = h->chunks;
		h->chunks += (span->end - span->start + CHUNK - 1) / CHUNK;
	}
}

int bz_scan(struct bz_hunt *h)
{
	uint64_t threads = h->o.threads ? h->o.threads : 1, i;
	size_t each = sizeof(struct hunter) + BUFFER + STACK, bytes;
	unsigned char *memory;
	struct hunter *all;
	uint32_t own;

	count_chunks(h);
	threads = threads < h->chunks ? threads : h->chunks;
	if (!threads)
		return 0;
	bytes = threads * each;
	memory = bz_hunt_get(bytes, &own);
	if (!memory)
		return -ENOMEM;
	all = (struct hunter *)(memory + threads * (BUFFER + STACK));
	for (i = 0; i < threads; i++) {
		all[i].h = h;
		all[i].stack = memory + i * STACK;
		all[i].buffer = memory + threads * STACK + i * BUFFER;
		if (i)
			start(&all[i]);
	}
	hunt(&all[0]);
	for (i = 0; i < threads; i++) {
		if (all[i].runs)
			pthread_join(all[i].thread, NULL);
		add_up(&h->bag, &all[i].bag);
	}
	bz_hunt_put(memory, bytes, own);
	return atomic_load(&h->end);
}
