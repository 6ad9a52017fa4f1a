/* SPDX-License-Identifier: MIT */
/* The directory of registrations by index: what the handler sees of the pool. */
#ifndef BEZOAR_REGION_CHUNKS_H
#define BEZOAR_REGION_CHUNKS_H

#include "region/table.h"

#define BZ_CHUNK_REGIONS	1024u
#define BZ_CHUNKS		16384u	/* 16 M registrations */

extern _Atomic(struct bz_region *) bz_chunks[BZ_CHUNKS];
extern uint32_t bz_first_generation;	/* writers */

#endif
