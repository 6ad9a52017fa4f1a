/* SPDX-License-Identifier: MIT */
/*
 * What the live tests share: real poison, and memory to lose.
 */
#ifndef BEZOAR_TESTS_LIVE_H
#define BEZOAR_TESTS_LIVE_H

#include <bezoar/bezoar.h>
#include <stddef.h>
#include <stdint.h>

#include "tap.h"

/* Bytes of a page. */
size_t live_page(void);

/*
 * Lose the page at @addr, in this process: by MADV_HWPOISON where the kernel
 * has memory failure and we may (BUS_MCEERR_AR), else by UFFDIO_POISON
 * (BUS_ADRERR on such kernels). No thread reads anything wrong meanwhile.
 * Fails the case if neither works. Keeps no copy. Nothing is signalled before
 * somebody touches the page, except to threads that asked for early notice.
 */
void live_poison(void *addr);

/* Real poison for the page at @addr by a child, which takes the SIGBUS that comes at
 * once. A bare one: it shares files and nothing of the library. The page may be
 * marked and yet be there (EBUSY: somebody else had it for a moment). */
void live_poison_file(void *addr);

/*
 * Lose @width bytes at @addr, one page of a mapping of any kind, by the marker
 * alone. The library holds the place registered while it repairs; it is waited
 * for. A descriptor stays open for it in each process: from _ready() on.
 */
void live_mark(void *addr, size_t width);
void live_mark_ready(void);

/* Is the page of @addr lost? Raises nothing. Before Linux 5.14, where only a
 * copy can tell, also 1 if nothing is mapped there. */
int live_lost(const void *addr);

/* Is this Linux @major.@minor or later? */
int live_linux(unsigned int major, unsigned int minor);
/* Skip the case if it is older: there is no @what, which bezoar or the case
 * needs. */
void live_need_linux(unsigned int major, unsigned int minor, const char *what);

/* 1: live_poison() makes real poison, with AR, width and address. */
int live_is_real(void);

/* The si_code that a touch of live_poison()ed memory raises here. */
int live_code(void);

/* Private anonymous pages, each filled by live_fill(), never a huge page. */
unsigned char *live_pages(size_t pages);

/* The byte that belongs at @offset of a buffer made with @seed; no page of it
 * is all zeros, no two pages are alike. */
unsigned char live_byte(size_t offset, unsigned int seed);
void live_fill(unsigned char *at, size_t len, unsigned int seed);

/* How many of the bytes differ from live_fill()'s. Reads them all. */
size_t live_wrong(const unsigned char *at, size_t len, unsigned int seed);

/* bez_start() and a check that it worked. @flags: BEZ_START_*. */
void live_start(uint32_t flags);

/* A region with one source; checks that it worked. */
bez_region_t live_region(void *addr, size_t len, const struct bez_source *from,
			 const char *name);

/* Threads of this process. One that was joined may be seen for a moment still:
 * the kernel tells of its end before it takes it off the list. */
size_t live_threads(void);
/* So many, or how many there are if that does not come true. */
size_t live_threads_soon(size_t count);

/* Does thread @tid of this process, if it is there yet (0: no), sleep in the kernel? */
int live_sleeps(int tid);

/* Run @look in a child of fork(2), whose checks count by its status. */
void live_in_child(void (*look)(void));

/* Read a byte so that the compiler cannot leave it out. */
static inline unsigned char live_read(const void *addr)
{
	return *(const volatile unsigned char *)addr;
}

#endif
