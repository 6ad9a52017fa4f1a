/* SPDX-License-Identifier: MIT */
/*
 * Second room: whose memory is it, what did the owner want, and does it fault
 * again and again.
 */
#ifndef BEZOAR_REGION_REGION_H
#define BEZOAR_REGION_REGION_H

#include <stddef.h>
#include <stdint.h>

#include "core/mm.h"
#include "types.h"

/*
 * Begin to read the table: sets @w's mark. Until bz_walk_unmark() no region
 * or node that can be found is reused. Returns 1, or 0 if a fault further up
 * has set it: then it is that one's to clear. Context: handler-safe.
 */
int bz_region_mark(struct bz_walk *w);

/* The region at @addr. 0 or -ENOENT. The caller holds a mark. */
int bz_region_find(uint64_t addr, struct bz_hit *ret_hit);

/* Is any page of the @width bytes at @start in a region? As bz_taken_fn
 * (repair/repair.h) wants it. The caller holds a mark. */
int bz_region_in(uint64_t start, uint64_t width);

/* Count what happened in it. The caller still holds the mark under which @hit
 * was found. Context: handler-safe. */
void bz_region_count(const struct bz_hit *hit, const struct bz_result *result,
		     uint32_t cause);

/* All of the region is such memory. The caller holds the mark of @hit. */
void bz_region_learn(struct bz_hit *hit, struct bz_memory memory);

/* Is it known by now that it is not the same everywhere? */
int bz_region_is_mixed(struct bz_hit *hit);

/*
 * Has @x been replaced more than @limit times, each within 100 ms of the one
 * before? Counts this one in. The caller has claimed @x.
 */
int bz_repeats(struct bz_mm *mm, struct bz_extent x, uint64_t now_ns,
	       uint32_t limit);

/* The same for a page that faulted and is good: is that a loop? */
int bz_good_again(struct bz_mm *mm, struct bz_extent x, uint64_t now_ns);

/*
 * The kernel may not look into @x, and does not call it lost. ASKED_AGAIN: it is empty by
 * now, and a userfaultfd of the program's watches it (UFFD_USER_MODE_ONLY, Linux 5.11): who
 * runs into it himself waits for the program. Else REFUSED_KIND: other memory; somebody asks
 * for the kernel; or it comes here again and again, as with UFFD_FEATURE_SIGBUS.
 */
enum bez_outcome bz_watched(struct bz_mm *mm, const struct bz_fault *fault,
			    struct bz_extent x, struct bz_memory memory);

/*
 * A good page has been put at @x. Is the page there, which can be read, bad all the
 * same, as @fault says? Not if the report may be older than what was put there; or,
 * of memory that @others mend, of which nobody knows. Then the thread goes on over
 * it, and what the kernel says after that is news. The caller has claimed @x.
 * src/region/late_sig.c. Context: handler-safe.
 */
void bz_mended(struct bz_mm *mm, struct bz_extent x);
int bz_bad_anyway(struct bz_mm *mm, const struct bz_walk *w,
		  const struct bz_fault *fault, struct bz_extent x, int others);
void bz_go_on_over(struct bz_mm *mm, const struct bz_walk *w,
		   const struct bz_fault *fault, struct bz_extent x, int others);

/* May this fault without an address be tried again? Counts it in. */
int bz_missing_again(struct bz_mm *mm, uint64_t now_ns, uint32_t limit);

/* How many regions there are with BEZ_POLICY_NO_RESTART. Written under the
 * writers' lock; read anywhere. */
extern _Atomic uint32_t bz_region_strict;

static inline uint32_t bz_region_no_restarts(void)
{
	return atomic_load_explicit(&bz_region_strict, memory_order_relaxed);
}

/* Normal context: the writers' lock around fork(2); regions registered. */
struct bz_lock;
struct bz_lock *bz_region_lock(void);
/* In a child, that lock held: registrations are open, whoever had closed them. */
void bz_region_fork_open(void);
uint64_t bz_region_total(void);

/* All regions, under the lock: @each until it returns not 0, which is returned. @note:
 * what the library has of the region outside of its tables; 0 bytes: nothing. */
int bz_region_each(int (*each)(uint64_t start, uint64_t end, const void *note,
			       size_t bytes, void *arg), void *arg);

/* No more registrations until it is opened again. -EBUSY: there are some. */
int bz_region_close(void);
void bz_region_open(void);

/* More room in the inventory of what is lost, if there is little. */
void bz_region_lost_room(void);

/* All memory of an empty table back to the system. */
void bz_region_reset(void);

#endif
