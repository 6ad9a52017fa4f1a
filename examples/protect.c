/* SPDX-License-Identifier: MIT */
#include <bezoar/bezoar.h>
#include <bezoar/inject.h>
#include <stdio.h>
#include <string.h>

static _Alignas(65536) char data[65536], copy[65536];

int main(void)
{
	struct bez_source from = bez_source_mirror(copy);
	struct bez_policy policy = { .size = sizeof(policy), .source = &from };
	bez_region_t region;
	bez_inject_t lost;
	int r = bez_start(NULL);

	memcpy(copy, memset(data, 'b', sizeof(data)), sizeof(copy));
	if (r || (r = bez_region_add(data, sizeof(data), &policy, &region)) ||
	    /* lose it all on purpose, with a back end that harms nobody */
	    (r = bez_inject(data, sizeof(data), BEZ_INJECT_UFFD,
			    BEZ_INJECT_NO_UNDO, &lost)))
		return fprintf(stderr, "protect: %s\n", strerror(-r)), 1;
	r = memcmp(data, copy, sizeof(data));
	return puts(r ? "wrong bytes" : "all bytes are right"), r != 0;
}
