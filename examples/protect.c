/* SPDX-License-Identifier: MIT */
#include <bezoar/bezoar.h>
#include <bezoar/inject.h>
#include <stdio.h>
#include <string.h>

static _Alignas(65536) char data[65536], copy[65536];

int main(void)
{
	struct bez_source from = bez_source_mirror(copy);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	bez_inject_t lost;
	int r;

	memcpy(copy, memset(data, 'b', sizeof(data)), sizeof(copy));
	policy.source = &from;
	if ((r = bez_start(NULL)) ||
	    (r = bez_region_add(data, sizeof(data), &policy, &region)) ||
	    /* lose it all on purpose, with a back end that harms nobody */
	    (r = bez_inject(data, sizeof(data), BEZ_INJECT_UFFD,
			    BEZ_INJECT_NO_UNDO, &lost)))
		return fprintf(stderr, "protect: %s\n", strerror(-r)), 1;
	r = memcmp(data, copy, sizeof(data));
	puts(r ? "wrong bytes" : "all bytes are right");
	return r != 0;
}
