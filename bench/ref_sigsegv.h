/* SPDX-License-Identifier: MIT */
/*
 * The reference for finding and registering regions: the dispatcher of GNU
 * libsigsegv. That library is under the GPL; it is linked to the bench for
 * measuring, where it is installed, and to nothing else.
 */
#ifndef BEZOAR_BENCH_REF_SIGSEGV_H
#define BEZOAR_BENCH_REF_SIGSEGV_H

#include <stddef.h>
#include <stdint.h>

/* NULL, or why there is nothing to compare with; then the calls below fail. */
const char *ref_sigsegv_absent(void);

/*
 * Register @count places of @len bytes, the i-th (or the order[i]-th) at
 * base + i * step. Returns 0 or a negative errno.
 */
int ref_sigsegv_register(char *base, size_t step, size_t len,
			 const uint32_t *order, size_t count);

/* How many of the addresses are in a registered place. */
size_t ref_sigsegv_find(char *const *addrs, size_t count);

#endif
