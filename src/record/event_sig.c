/* SPDX-License-Identifier: MIT */
/*
 * The last 1,024 events in a ring. A writer draws a number n and owns slot
 * n mod 1,024 while its seq is odd (2n + 1); 2n + 2 says that event n is
 * whole. A reader copies and believes the copy only if seq was the same even
 * number before and after. A writer that finds the slot owned by somebody who
 * is a whole ring behind lets its event go: nobody waits here.
 */
#include "record/record.h"

#include <errno.h>
#include <string.h>

#include "core/core.h"

static void fill(struct bez_event *e, uint64_t n, const struct bz_walk *w,
		 const struct bz_fault *fault, uint64_t width,
		 const struct bz_hit *hit, struct bz_result *result)
{
	/* the clock takes as long as all the rest of it */
	if (!result->was_lost || (result->outcome != BEZ_OUTCOME_UNWOUND &&
				  result->outcome != BEZ_OUTCOME_RELAYED &&
				  result->outcome != BEZ_OUTCOME_COPY_SHORT))
		result->done_ns = bz_now_ns();
	e->seq = n + 1;
	e->time_ns = fault->taken_ns;
	e->took_ns = result->done_ns ? result->done_ns - fault->taken_ns : 0;
	e->addr = fault->addr;
	e->width = width;
	e->region = hit ? hit->id : 0;
	e->tid = (int32_t)bz_walk_tid(w);
	e->si_code = fault->si_code;
	e->cause = result->cause ? result->cause : (uint16_t)fault->cause;
	e->outcome = result->outcome;
	e->action = result->action;
	e->source = result->source;
	e->why = result->why;
	e->depth = (uint16_t)w->depth;
	if (hit)
		memcpy(e->name, hit->name, sizeof(e->name));
	else
		memset(e->name, 0, sizeof(e->name));
}

void bz_count(struct bz_mm *mm, const struct bz_walk *w,
	      enum bez_outcome outcome)
{
	struct bz_counts *counts = bz_counts_of(mm, w);
	uint32_t bit = 1u << (counts - mm->counts);

	if (!(atomic_load_explicit(&mm->counted, memory_order_relaxed) & bit))
		atomic_fetch_or_explicit(&mm->counted, bit,
					 memory_order_relaxed);
	if ((unsigned int)outcome < BZ_OUTCOMES)
		atomic_fetch_add_explicit(&counts->outcomes[outcome], 1,
					  memory_order_relaxed);
}

uint64_t bz_record(struct bz_mm *mm, const struct bz_walk *w,
		   const struct bz_fault *fault, uint64_t width,
		   const struct bz_hit *hit, struct bz_result *result)
{
	struct bz_event_slot *slot;
	uint64_t n, was;

	result->done_ns = 0;
	bz_count(mm, w, result->outcome);
	if (result->why)
		bz_count(mm, w, result->why);
	n = atomic_fetch_add_explicit(&mm->events, 1, memory_order_relaxed);
	slot = &mm->event[n & (BZ_EVENTS - 1)];
	was = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	if ((was & 1) || was > 2 * n ||
	    !atomic_compare_exchange_strong(&slot->seq, &was, 2 * n + 1))
		return n + 1;
	/* the odd number before the content: pairs with the reader's fence */
	atomic_thread_fence(memory_order_release);
	fill(&slot->event, n, w, fault, width, hit, result);
	atomic_store_explicit(&slot->seq, 2 * n + 2, memory_order_release);
	return n + 1;
}

/* 1: @ret is event @n. 0: it is not there (yet, or any more). */
static int copy_event(struct bz_mm *mm, uint64_t n, struct bez_event *ret)
{
	struct bz_event_slot *slot = &mm->event[n & (BZ_EVENTS - 1)];
	uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);

	if (seq != 2 * n + 2)
		return 0;
	memcpy(ret, &slot->event, sizeof(*ret));
	/* the content before the second look: pairs with the writer's */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&slot->seq, memory_order_relaxed) == seq;
}

int bez_events(uint64_t *seq, struct bez_event *ret_events, size_t max)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint64_t last, n;
	size_t got = 0;

	if (!seq || !ret_events || !max)
		return -EINVAL;
	if (!mm)
		return 0;
	if (max > BZ_EVENTS)
		max = BZ_EVENTS;
	last = atomic_load_explicit(&mm->events, memory_order_acquire);
	n = *seq;
	if (last > BZ_EVENTS && n < last - BZ_EVENTS)
		n = last - BZ_EVENTS;
	for (; n < last && got < max; n++) {
		if (copy_event(mm, n, &ret_events[got]))
			got++;
		else if (last - n < BZ_EVENTS / 2)
			break;		/* still being written: next time */
	}
	*seq = n;
	return (int)got;
}

uint64_t bez_outcome_count(enum bez_outcome outcome)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint64_t sum = 0;
	uint32_t i;

	if (!mm || (unsigned int)outcome >= BZ_OUTCOMES)
		return 0;
	for (i = 0; i < BZ_COUNTS; i++)
		sum += atomic_load_explicit(&mm->counts[i].outcomes[outcome],
					    memory_order_relaxed);
	return sum;
}
