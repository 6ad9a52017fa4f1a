/* SPDX-License-Identifier: MIT */
/* How experiments use the library. */
#include "probe.h"

#include <string.h>

void probe_start(uint32_t flags)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	int r;

	options.flags = flags;
	r = bez_start(&options);
	EXPECT(!r, "bez_start(): %s", strerror(-r));
}

bez_region_t probe_region(void *at, size_t len, const struct bez_policy *policy)
{
	bez_region_t region = 0;
	int r = bez_region_add(at, len, policy, &region);

	EXPECT(!r, "bez_region_add(): %s", strerror(-r));
	return region;
}

bez_region_t probe_mirrored(void *at, size_t len, const void *copy)
{
	struct bez_source from = bez_source_mirror(copy);
	struct bez_policy policy = BEZ_POLICY_INIT;

	policy.name = "check";
	policy.source = &from;
	policy.max_repeats = 4095;	/* it is lost as often as we like */
	return probe_region(at, len, &policy);
}
