/* SPDX-License-Identifier: MIT */
/* Private to repair/: placement by mremap(2). */
#ifndef BEZOAR_REPAIR_STAGED_H
#define BEZOAR_REPAIR_STAGED_H

#include "repair/repair.h"

enum bz_staged {
	BZ_STAGED_ALIKE,	/* like what was there */
	BZ_STAGED_BASE,		/* base pages for a huge one */
	BZ_STAGED_BASE_WATCHED,	/* the same, and our userfaultfd has the place */
	BZ_STAGED_DETACHED	/* anonymous memory for a file's */
};

/* Asks the kernel what is there. REFUSED_KIND: something else than @p says, or
 * nothing that can be made again. */
enum bez_outcome bz_staged_place(const struct bz_placing *p,
				 enum bz_staged how);

/* Can pages of @width bytes be moved? Huge ones since Linux 5.16. */
int bz_can_move(uint64_t width);

/* The mapping at @from over the place of @x. 0 or negative; then @x is without
 * access, and what was there is gone. */
long bz_move(uint64_t from, struct bz_extent x);

/* A file of no bytes, whose mappings nobody can touch: its descriptor, or
 * negative. src/repair/hole_sig.c. */
long bz_empty_file(void);

/*
 * Map @width bytes, private, readable and writable, where @taken says no. @flags,
 * @fd, @offset: mmap(2). The address or a negative errno.
 */
long bz_map_aside(uint64_t width, int flags, int fd, uint64_t offset,
		  bz_taken_fn taken);

#endif
