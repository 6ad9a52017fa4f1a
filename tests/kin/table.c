/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <bezoar/bezoar.h>

#include "live.h"

unsigned char *table_at;
static unsigned char *copy;
static size_t count;

void table_make(size_t pages)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;

	count = pages;
	table_at = live_pages(pages);
	copy = live_pages(pages);
	from = bez_source_mirror(copy);
	policy.name = "the table";
	policy.source = &from;
	policy.max_repeats = UINT32_MAX;
	CHECK_EQ(bez_region_add(table_at, pages * live_page(), &policy,
				&region), 0);
}

void table_lose(size_t page)
{
	size_t offset = page % count * live_page();

	live_poison(table_at + offset);
	CHECK(live_read(table_at + offset) == copy[offset]);
}
