/* SPDX-License-Identifier: MIT */
/*
 * Fifth room: say what happened.
 */
#ifndef BEZOAR_RECORD_RECORD_H
#define BEZOAR_RECORD_RECORD_H

#include "core/mm.h"
#include "types.h"

/* There will soon be an event: fetch what it is written to. */
static inline void bz_record_soon(struct bz_mm *mm)
{
	uint64_t n = atomic_load_explicit(&mm->events, memory_order_relaxed);
	const char *slot = (const char *)&mm->event[n & (BZ_EVENTS - 1)];

	__builtin_prefetch(slot, 1);
	__builtin_prefetch(slot + 64, 1);
	__builtin_prefetch(slot + 128, 1);
}

/*
 * Count the outcome of @w and keep the event. @hit may be NULL: no region.
 * When it was done is left in @result, if it was looked up. Returns its number. Context: handler-safe; waits for nobody.
 */
uint64_t bz_record(struct bz_mm *mm, const struct bz_walk *w,
		   const struct bz_fault *fault, uint64_t width,
		   const struct bz_hit *hit, struct bz_result *result);

/*
 * Write the record of event number @seq, as <bezoar/record.h> has it, and its
 * line to where the program wants them, if it does: at once or not at all. The
 * caller holds the mark of @hit and nothing that anybody waits for. Context:
 * handler-safe; the program's signals are blocked.
 */
void bz_record_write(struct bz_mm *mm, struct bz_walk *w,
		     const struct bz_fault *fault, uint64_t width,
		     const struct bz_hit *hit, const struct bz_result *result,
		     uint64_t seq);

/* The page frame of the page that @fault is about, before anything is done to
 * it; 0: it is of no memory error, nobody asked, or it is not told. Context:
 * handler-safe. */
uint64_t bz_record_frame(const struct bz_mm *mm, const struct bz_fault *fault);

/* Take over what the program said about records. 0, -EBADF, -EINVAL, or what
 * open(2) said; then nothing was changed. Normal context: no handler runs. */
int bz_record_open(struct bz_mm *mm, const struct bez_options *options);
void bz_record_close(void);

/* In a child of fork(2), before it runs: another process has another name. */
void bz_record_forked(struct bz_mm *mm);

/* Just count it: what happened is not worth an event. Context: as above. */
void bz_count(struct bz_mm *mm, const struct bz_walk *w,
	      enum bez_outcome outcome);

/*
 * One line on standard error: a page of the region called @region is not
 * mapped any more; @addr, which the thread @tid itself lives in, was lost; its
 * alternate stack was too small. @why: the outcome that says why it was not
 * replaced; NONE: it is in no region. Context: handler-safe.
 */
void bz_word_of_page(uint64_t page, const char *region, enum bez_outcome why);
void bz_word_of_thread(uint32_t tid, uint64_t addr, enum bez_outcome why);
void bz_word_of_stack(uint32_t tid, uint64_t addr);

#endif
