/* SPDX-License-Identifier: MIT */
#include "hunting.h"

#include <sys/mman.h>

struct bez_hunt_found found[HUNTING_MOST];

const struct bz_hunt_kernel *next_kernel(const struct bz_hunt_kernel *last)
{
	size_t i = 0;

	while (last && bz_hunt_kernels[i++] != last)
		continue;
	while (bz_hunt_kernels[i] && !bz_hunt_kernels[i]->usable())
		i++;
	return bz_hunt_kernels[i];
}

void *hunting_pages(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

void hunting_start(void)
{
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
}
