/* SPDX-License-Identifier: MIT */
/* From what the owner wrote to what the handler reads; all checks are here. */
#ifndef BEZOAR_REGION_POLICY_H
#define BEZOAR_REGION_POLICY_H

#include <bezoar/shared.h>

#include "region/table.h"

/* What the owner said, as the handler needs it. */
struct bz_said {
	const uint64_t *digests;
	uint32_t flags;
	uint32_t max_repeats;
	bez_lost_fn on_lost;
	void *on_lost_arg;
	const struct bez_relay *relay;
	uint8_t actions[4];
	uint8_t sources;
	uint8_t is_list;
	uint8_t is_shared;		/* there is a shared */
	struct bez_shared shared;
	char name[BEZ_NAME_MAX + 1];
	struct bz_source source[BEZ_SOURCE_MAX_LIST];
};

/*
 * Check @policy for [@start, @end) and read all of it, once: it is the owner's
 * memory, may be lost itself, and must not be read under a lock.
 */
int bz_policy_from_user(const struct bez_policy *policy, uint64_t start,
			uint64_t end, struct bz_said *ret_said);

/* Does this ladder name DEGRADE? */
int bz_policy_degrades(const uint8_t actions[4]);

#endif
