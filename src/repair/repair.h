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
	BZ_PROBE_OTHER = 3,	/* unreadable, but not because of poison */
	BZ_PROBE_FAULT = 4	/* a fault there would raise SIGBUS: a file's
				 * missing tail; or a page that somebody
				 * empties and fills again, or poisons, by a
				 * userfaultfd without privilege, and that
				 * is over in a moment */
};

/*
 * Is @x lost, now? Asks the kernel without reading the memory. A page that
 * was not in memory is brought in by that. @patient: ask again for a while
 * before FAULT is the answer. Context: handler-safe.
 */
enum bz_probe bz_probe(struct bz_extent x, int patient);

/* The same after EINVAL, which is an old kernel's, or of memory without access: GOOD.
 * @unsure: what that is without /proc on an old one. Context: handler-safe. */
enum bz_probe bz_probe_old(struct bz_extent x, enum bz_probe unsure);

/* Can @x, which is GOOD, be read? Nobody knows what lies behind memory without
 * access. Context: handler-safe. */
int bz_probe_readable(struct bz_extent x);

/*
 * What memory is at @addr? From /proc, which takes as long as there are mappings.
 * @ret_start, @ret_end: of the mapping. @scratch: a page. 0, -ENOENT: none, or
 * what the kernel said. Context: handler-safe.
 */
int bz_memory_read(uint64_t addr, void *scratch, struct bz_memory *ret_memory,
		   uint64_t *ret_start, uint64_t *ret_end);

/* Does the file that is mapped at @addr end before it? -1: nobody says. @scratch:
 * a page. Context: handler-safe. */
int bz_memory_is_cut(uint64_t addr, void *scratch);

/* Is there a region, or a hole of one, in the @width bytes at @start? */
typedef int (*bz_taken_fn)(uint64_t start, uint64_t width);

/* What is to be put in place, and how. */
struct bz_placing {
	struct bz_extent x;
	bz_taken_fn taken;		/* where nothing may be built */
	const void *stage;		/* x.width bytes */
	void *scratch;			/* a page to work in */
	struct bz_memory memory;	/* what it is; UNKNOWN: looks private and
					 * anonymous, of base pages */
	uint8_t mapped;			/* it is bad although it can be read: a
					 * huge page that did not split */
	uint8_t base_pages;		/* do, if there is no huge page */
	uint8_t detach;			/* the file does not have it any more:
					 * anonymous memory instead */
	uint8_t fenced;			/* by us: no program's userfaultfd */
	uint8_t in_place;		/* @stage is somebody else's memory, and
					 * may be lost itself: for the kernel to
					 * read, not for us */
	uint8_t forking;		/* leave nothing for a child to inherit
					 * in between: by mremap(2) alone */
};

/*
 * Put a fresh page in place of a private one, so that no thread reads anything
 * else in between: others fault and wait, or fault and come to the handler. On
 * BEZ_OUTCOME_NONE it is there. On anything else the extent is as closed as
 * before: lost, or without access, never a page of zeros.
 *
 * BEZ_OUTCOME_ALREADY_GOOD: the program had put a page there itself; it stays.
 * REFUSED_KIND: it is not what @p->memory says; read again what it is.
 * SOURCE_LOST: the bytes at @p->stage cannot be read.
 *
 * The caller has claimed the extent and knows otherwise by bz_probe() that it is
 * lost. What it reads of a file may fault, so for file mappings the caller
 * guards the call (core/guard.h). Context: handler-safe.
 */
enum bez_outcome bz_place(struct bz_mm *mm, const struct bz_placing *p);

/* A place to build what is wider than a page, not where @taken says; wiped by the
 * kernel when it is put back. NULL: no memory. Context: handler-safe. */
void *bz_stage_get(uint64_t width, bz_taken_fn taken);
void bz_stage_put(void *stage, uint64_t width);

/*
 * Is all of @x there, so that the kernel can read it without a fault? Brings in
 * what is not in memory. Context: handler-safe.
 */
int bz_probe_present(struct bz_extent x);

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

/* Map something there that nobody can touch without SIGBUS. ALREADY_GOOD:
 * somebody was quicker. Context: handler-safe. */
enum bez_outcome bz_hole_take(struct bz_extent x);

/*
 * Keep @x closed whatever the kernel would put there: a mapping of an empty file
 * comes in the place of what there is, in one step, with the attributes that one
 * of a file can have; REFUSED_ATTRS if there are others. @watched: a userfaultfd
 * that the range is registered with is ours. @scratch: a page. It is not built
 * where @taken says. *@ret_shared: was it a shared mapping? The caller has claimed
 * it. Context: handler-safe.
 */
enum bez_outcome bz_cover(struct bz_extent x, int watched, void *scratch,
			  bz_taken_fn taken, int *ret_shared);

/*
 * The same for private memory without a file, as an entry for poison: nothing is mapped
 * in its place. REFUSED_KIND: not here (before Linux 6.6, no userfaultfd, another one's
 * range), and nothing was changed; REFUSED_SYSTEM: it is closed, and not lost. The caller
 * has claimed it. Context: handler-safe.
 */
enum bez_outcome bz_mark(struct bz_mm *mm, struct bz_extent x);

/* Fresh memory of this process alone with x.width bytes of @content in place of
 * such a cover, with its attributes; a huge page if it was one, unless @base.
 * ALREADY_GOOD: it is none any more. REFUSED_HUGE: there is none free; REFUSED_KIND:
 * before Linux 5.16 none can be put there, or what is there is closed, and none. */
enum bez_outcome bz_uncover(struct bz_extent x, int base, const void *content,
			    void *scratch, bz_taken_fn taken);

/* @from over what is at @x and can be read already: ALREADY_GOOD, or
 * REFUSED_SYSTEM. Context: handler-safe. */
enum bez_outcome bz_write_over(struct bz_extent x, const void *from);

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
