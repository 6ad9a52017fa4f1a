/* SPDX-License-Identifier: MIT */
/*
 * Where struct bz_region and lists of sources live: chunks that are never
 * given back while the library is started, so that an id of any age can be
 * looked up without a lock. Writers hold the region lock.
 */
#ifndef BEZOAR_REGION_POOL_H
#define BEZOAR_REGION_POOL_H

#include "region/table.h"

/* A free registration with its id set, or NULL. Its other fields are stale. */
struct bz_region *bz_pool_get(void);
void bz_pool_put(struct bz_region *r);

/* The @i-th that there is, in use or not; NULL: there are not so many. */
struct bz_region *bz_pool_nth(uint64_t i);

/* BEZ_SOURCE_MAX_LIST entries, or NULL. */
struct bz_source *bz_pool_get_list(void);
void bz_pool_put_list(struct bz_source *list);

void bz_pool_reset(void);

#endif
