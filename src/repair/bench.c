/* SPDX-License-Identifier: MIT */
/* Where pages are built that are moved into a hole: see hole_sig.c. */
#include <errno.h>
#include <sys/mman.h>

#include "core/core.h"
#include "repair/repair.h"

#define FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/* Can a page leave it without leaving a hole? Linux 5.7. */
static int works(char *at)
{
	size_t page = bz_core.page;

	return !mprotect(at, page, PROT_READ | PROT_WRITE) &&
	       mremap(at, page, page, MREMAP_MAYMOVE | MREMAP_FIXED |
		      MREMAP_DONTUNMAP, at + page) == at + page &&
	       !mprotect(at, 2 * page, PROT_NONE);
}

int bz_bench_create(void)
{
	size_t bytes = (size_t)BZ_WALKS * BZ_DEPTH * bz_core.page;
	char *at;

	if (bz_core.bench)
		return 0;
	at = mmap(NULL, bytes, PROT_NONE, FLAGS, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	if (works(at))
		bz_core.bench = (uint64_t)at;
	else
		munmap(at, bytes);
	return 0;
}
