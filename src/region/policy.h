/* SPDX-License-Identifier: MIT */
/* From what the owner wrote to what the handler reads; all checks are here. */
#ifndef BEZOAR_REGION_POLICY_H
#define BEZOAR_REGION_POLICY_H

#include "region/table.h"

/*
 * Check @policy for [@start, @end) and put it into @r: all but the place in
 * the table. Takes a list from the pool if it needs one. On an error @r has
 * no list and may be put back.
 */
int bz_policy_from_user(const struct bez_policy *policy, uint64_t start,
			uint64_t end, struct bz_region *r);

#endif
