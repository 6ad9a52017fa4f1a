/* SPDX-License-Identifier: MIT */
/*
 * Which memory is the library's own, for who looks through all that the process
 * has: stacks for the handler, the tables, the worker's stack, a hunt's notes. One
 * word for each piece, so that a child of fork(2) finds them as they are:
 *
 *	63                    19 18       0
 *	| start, in 4 KiB pages | pages    |	0: free
 *
 * Taken by compare-and-swap from 0 by whose memory it is, 0 again by the same.
 */
#ifndef BEZOAR_CORE_OWN_H
#define BEZOAR_CORE_OWN_H

#include <stdatomic.h>
#include <stdint.h>

#define BZ_OWNS 4096u

/*
 * [@at, @at + @len) is ours: a number for bz_own_drop(), or 0: there is no room,
 * and it looks like the program's. Context: any, handler-safe.
 */
uint32_t bz_own_add(const void *at, uint64_t len);

/* Not any more; before it is given back. 0 does nothing. */
void bz_own_drop(uint32_t number);

/* The next piece from *@i on, and *@i behind it: 1, or 0. */
int bz_own_next(uint32_t *i, uint64_t *ret_start, uint64_t *ret_end);

/* Is @addr in one? */
int bz_own_has(uint64_t addr);

#endif
