/* SPDX-License-Identifier: MIT */
/*
 * The index: for any block of content, where in the files it stands first. A
 * hash table of (digest, place), at most half full, of a size that is known
 * before it is filled.
 */
#ifndef DEMO_INDEX_H
#define DEMO_INDEX_H

#include "memory.h"

#define INDEX_BLOCK	512	/* bytes; of a page a whole number */

/* Bytes of the index of @file_bytes (whole pages). */
size_t index_bytes(size_t file_bytes);

/* Blocks in the files of @m, numbered from 0. */
size_t index_blocks(const struct memory *m);

static inline const unsigned char *index_block(const struct memory *m,
					       size_t block)
{
	return m->base + block * INDEX_BLOCK;
}

/* Fill it, in the pages behind the files. */
void index_make(struct memory *m);

/* The first block with the same content as @bytes. -1: there is none. */
int index_find(const struct memory *m, const unsigned char *bytes,
	       size_t *ret_block);

#endif
