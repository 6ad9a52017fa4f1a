/* SPDX-License-Identifier: MIT */
/*
 * What belongs to one address space: descriptors that work on it, and who is
 * inside the handler. It lies in one mapping with MADV_WIPEONFORK (4.14), so
 * that a child of fork(2) finds zeros there and makes its own, before any
 * repair. getpid() would not do: vfork(2) shares the memory. It is left out of
 * core dumps, because page contents pass through it.
 */
#ifndef BEZOAR_CORE_MM_H
#define BEZOAR_CORE_MM_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/walk.h"
#include "sys/sys.h"

#define BZ_EVENTS	1024		/* power of two */
#define BZ_REPEATS	1024		/* power of two */
#define BZ_NOTICES	64
#define BZ_OUTCOMES	160		/* above the largest outcome */
#define BZ_COUNTS	8		/* power of two */
#define BZ_MENDED	1024		/* power of two */

/* See region/late_sig.c. */
struct bz_mended {
	_Atomic uint64_t word, when;
};

/* One event; seq is odd while it is written. See record/event_sig.c. */
struct bz_event_slot {
	_Alignas(64) _Atomic uint64_t seq;
	struct bez_event event;
};

/* What was counted, in parts, by the walkers of every BZ_COUNTS-th slot: one
 * number for all would go from processor to processor with each fault. */
struct bz_counts {
	_Alignas(64) _Atomic uint64_t faults;
	_Atomic uint64_t outcomes[BZ_OUTCOMES];
};

struct bz_mm {
	/* The userfaultfd. Written under uffd_busy, see repair/uffd_sig.c. */
	_Atomic int32_t uffd;		/* number + 1; 0: none; -1: no hope */
	_Atomic uint32_t uffd_busy;
	_Atomic uint32_t placement;	/* enum bez_placement */
	_Atomic int32_t uffd_pid;	/* of the process that opened it */
	_Atomic uint32_t uffd_closes;	/* it has UFFDIO_POISON: what was emptied
					 * and can not be filled is lost as
					 * before */

	/* The userfaultfd that fences shared memory. Under uffd_busy as well,
	 * see repair/fence_sig.c. */
	_Atomic int32_t fence;		/* number + 1; 0: none */
	_Atomic int32_t fence_pid;	/* of the process that opened it */
	_Atomic uint32_t fence_nr;	/* which one it is; 0: never any */
	_Atomic uint32_t fence_first;	/* the first that this memory had */

	/* The worker. bell: futex, bumped by posters; asleep: worker. */
	_Atomic uint32_t bell;
	_Atomic uint32_t asleep;
	_Atomic int32_t worker_tid;	/* worker; 0: none */
	_Atomic uint32_t worker_stop;	/* bez_stop() */
	_Atomic uint32_t early_notice;	/* worker */
	_Atomic uint64_t posted[BZ_WALKS / 64];	/* set: walkers; cleared: worker */
	_Atomic uint64_t notice[BZ_NOTICES];	/* AO: page | lsb; 0: free */
	_Atomic uint32_t noticed;	/* some are; set: walkers, cleared: worker */

	_Atomic uint32_t threads;	/* attached */

	/* faults without an address: window start (ms) << 8 | count */
	_Atomic uint64_t missing;
	_Atomic uint64_t alias;		/* last address that was asked again */

	/* The record: record/write_sig.c. */
	_Atomic uint32_t recording;	/* this process knows who it is */
	_Atomic uint32_t counted;	/* a bit for each of counts in use */
	_Atomic uint64_t record_rate;	/* second << 32 | records in it */
	_Atomic uint64_t records;	/* written */
	_Atomic uint64_t records_dropped;
	_Atomic uint64_t records_sent, records_said;

	/* The connection to the daemon: record/daemon_sig.c. */
	_Atomic uint32_t kin_gone;	/* there is none. Set by who sends, cleared
					 * by the worker */
	_Atomic uint32_t kin_wanted;	/* a new one is. Set and cleared likewise */
	_Atomic uint64_t kin_tried;	/* when that was last tried, bz_now_ns();
					 * worker */
	_Atomic uint32_t kin_line;	/* a child's own is there. Set at fork(2),
					 * cleared by who sends */

	/* The shutdown: shutdown_sig.c, worker/hooks.h. */
	_Atomic uint32_t shutdown;	/* tid of who has begun it; futex */
	_Atomic uint32_t hooks;		/* enum bz_hooks_state; futex */
	_Atomic uint32_t hooks_hurt;	/* worker */
	struct bez_event loss;		/* who shuts down, before POSTED */

	/* Tid of the thread that forks; futex. Written by it. core/gate.h */
	_Atomic uint32_t gate;

	_Alignas(64) _Atomic uint64_t used[BZ_WALKS / 64];
	struct bz_walk walk[BZ_WALKS];

	/* region/repeats_sig.c; who has the claim */
	_Alignas(64) _Atomic uint64_t repeats[BZ_REPEATS];
	_Atomic uint64_t watched[BZ_REPEATS];
	struct bz_mended mended[BZ_MENDED];
	struct bz_counts counts[BZ_COUNTS];
	_Alignas(64) _Atomic uint64_t events;	/* numbers given out */
	struct bz_event_slot event[BZ_EVENTS];
};

/*
 * Behind struct bz_mm, page-aligned, for each walk slot: BZ_DEPTH stages (where
 * a page is built), scratch pages, and pages that the worker fills.
 */
#define BZ_WALK_PAGES (3 * BZ_DEPTH)

enum bz_page_use { BZ_PAGE_STAGE = 0, BZ_PAGE_SCRATCH = BZ_DEPTH,
		   BZ_PAGE_DEFER = 2 * BZ_DEPTH };

static inline struct bz_counts *bz_counts_of(struct bz_mm *mm,
					     const struct bz_walk *w)
{
	return &mm->counts[(uint64_t)(w - mm->walk) & (BZ_COUNTS - 1)];
}

/* Depth counts from 1, as bz_walk.depth does. */
void *bz_mm_page(struct bz_mm *mm, const struct bz_walk *w,
		 enum bz_page_use use, uint32_t depth);

/* Map it, for good. Context: not in a handler. */
int bz_mm_create(struct bz_mm **ret_mm);

/* Wake the worker if it sleeps: something was posted. worker/defer_sig.c.
 * Context: handler-safe. */
void bz_ring(struct bz_mm *mm);

#endif
