/* SPDX-License-Identifier: MIT */
/* Private to repair/: placement by userfaultfd(2). */
#ifndef BEZOAR_REPAIR_UFFD_H
#define BEZOAR_REPAIR_UFFD_H

#include "repair/repair.h"

enum bz_placed {
	BZ_PLACED = 0,
	BZ_PLACED_GOOD,		/* the program had put a page there */
	BZ_PLACED_NOT_HERE,	/* this way does not work for this memory, or
				 * here at all: try the other */
	BZ_PLACED_MAPS,		/* no room for two more mappings */
	BZ_PLACED_NOMEM,	/* no memory; the extent is closed */
	BZ_PLACED_AGAIN,	/* it went before the page was emptied */
	BZ_PLACED_GONE,		/* the descriptor went when the page was empty */
	BZ_PLACED_UNMAPPED,	/* the mapping went away */
	BZ_PLACED_SOURCE,	/* what was to be copied cannot be read; the
				 * extent is closed */
	BZ_PLACED_SYSTEM	/* anything else; the extent is closed */
};

/*
 * A new userfaultfd with UFFD_FEATURE_* @features, marked as this process's: the
 * number or a negative errno. *@ret_closes: it has UFFDIO_POISON. The caller has the
 * lock.
 */
long bz_uffd_new(uint64_t features, uint32_t *ret_placement,
		 uint32_t *ret_closes);
int bz_uffd_is_of(int fd, int32_t pid);

/* Orders who opens. 0 or -EBUSY. To unlock, store 0 to mm->uffd_busy. */
int bz_uffd_lock(struct bz_mm *mm);

/* The process's descriptor, opened if it is not; -1: there is none. Is @fd it? */
int bz_uffd_get(struct bz_mm *mm);
int bz_uffd_ours(struct bz_mm *mm, int fd);

/* UFFDIO_REGISTER for the faults of @mode, UFFDIO_COPY; each tried again where
 * that helps. */
long bz_uffd_register(int fd, struct bz_extent x, uint64_t mode);
long bz_uffd_copy(int fd, struct bz_extent x, const void *stage);
/* Wakes who waits as well. */
void bz_uffd_unregister(int fd, struct bz_extent x);
/* It is empty, and may not be left to read as zeros. */
void bz_uffd_close_page(int fd, struct bz_extent x);
/* MADV_DONTNEED, of what is locked, too. */
long bz_discard(struct bz_extent x);

enum bz_placed bz_uffd_place(struct bz_mm *mm, const struct bz_placing *p);

#endif
