/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "scope_help.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "live.h"
#include "replace_see.h"

unsigned char *at;
size_t page;
bez_region_t region;

bez_region_t scope_add(void *addr, size_t pages, const char *ladder)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r = 0;
	size_t i;

	policy.name = "scope";
	for (i = 0; ladder[i]; i++)
		policy.actions[i] = (uint8_t)(ladder[i] - '0');
	CHECK_EQ(bez_region_add(addr, pages * page, &policy, &r), 0);
	return r;
}

void scope_begin(const char *ladder)
{
	page = live_page();
	at = live_pages(PAGES);
	see_install();
	see_start(0);
	region = scope_add(at, PAGES, ladder);
	live_poison(at + LOST * page);
}

int scope_left(const void *addr, struct bez_lost *ret_lost)
{
	BEZ_TRY {
		live_read(addr);
	} BEZ_CATCH(lost) {
		*ret_lost = *lost;
		return 1;
	}
	return 0;
}

uint64_t scope_mask(void)
{
	sigset_t set;
	uint64_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &set);
	memcpy(&mask, &set, sizeof(mask));
	return mask;
}
