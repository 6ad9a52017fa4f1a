/* SPDX-License-Identifier: MIT */
/*
 * Fourth room: put the page in place.
 */
#ifndef BEZOAR_REPAIR_REPAIR_H
#define BEZOAR_REPAIR_REPAIR_H

#include <stdint.h>

#include "core/mm.h"
#include "types.h"

enum bz_probe {
	BZ_PROBE_LOST = 0,	/* it would fault again */
	BZ_PROBE_GOOD = 1,	/* it can be read, or nobody may read it */
	BZ_PROBE_UNMAPPED = 2,	/* nothing is there */
	BZ_PROBE_OTHER = 3	/* unreadable, but not because of poison */
};

/*
 * Is @x lost, now? Asks the kernel without reading the memory. A page that
 * was not in memory is brought in by that. Context: handler-safe.
 */
enum bz_probe bz_probe(struct bz_extent x);

/*
 * Put a fresh page with the x.width bytes of @stage in place of @x, so that
 * no thread reads anything else in between: others fault and wait, or fault
 * and come to the handler. On BEZ_OUTCOME_NONE it is there. On anything else
 * the extent is as closed as before: lost, or without access, never a page of
 * zeros.
 *
 * BEZ_OUTCOME_ALREADY_GOOD: the program had put a page there itself; it stays.
 *
 * @scratch: a page to work in. @mapped: the page is bad although it can be
 * read (a huge page that did not split). The caller has claimed @x and knows
 * otherwise by bz_probe() that it is lost. Context: handler-safe.
 */
enum bez_outcome bz_place(struct bz_mm *mm, struct bz_extent x,
			  const void *stage, void *scratch, int mapped);

/*
 * The same by mremap(2) alone: slower, and nothing in between that a child of
 * fork(2) could inherit.
 */
enum bez_outcome bz_staged_place(struct bz_extent x, const void *stage,
				 void *scratch);

/*
 * What is at @x, which a touch of has raised SIGSEGV: LOST; UNMAPPED; GOOD, if
 * it can be read by now, or the next touch tells more; OTHER, a page that the
 * program has made a guard (MADV_GUARD_INSTALL). Context: handler-safe.
 */
enum bz_probe bz_probe_hole(struct bz_extent x);

/*
 * Map @x again, where nothing is mapped, with the bytes of @stage: like the
 * nearest mapping of the region that @hit is, or as ordinary memory if there
 * is none. As bz_place() otherwise; on anything else than NONE nothing is
 * there, or what another thread has mapped (ALREADY_GOOD). REFUSED_SYSTEM
 * before Linux 5.7.
 */
enum bez_outcome bz_hole_place(struct bz_mm *mm, const struct bz_walk *w,
			       struct bz_extent x, const struct bz_hit *hit,
			       const void *stage, void *scratch);

/* Keep the addresses that this needs, for good, if the kernel is one for it. 0
 * or a negative errno. Context: normal. */
int bz_bench_create(void);

/* Open the userfaultfd of this address space if there is none yet; sets
 * mm->placement. Context: handler-safe. */
void bz_uffd_open(struct bz_mm *mm);
void bz_uffd_close(struct bz_mm *mm);

/* In a child of fork(2), which has a table of descriptors of its own: what it
 * inherited works on its parent's memory. */
void bz_uffd_close_inherited(void);

#endif
