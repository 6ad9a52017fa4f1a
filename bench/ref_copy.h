/* SPDX-License-Identifier: MIT */
/*
 * The reference for a copy that comes back from a lost page: a bare SIGBUS
 * handler that knows the one instruction of the one copy, and moves on from it.
 */
#ifndef BEZOAR_BENCH_REF_COPY_H
#define BEZOAR_BENCH_REF_COPY_H

#include <stddef.h>

/* Bytes that were not copied. */
size_t ref_copy(void *dst, const void *src, size_t len);

/* Take SIGBUS for it. Returns 0 or a negative errno. */
int ref_copy_begin(void);
/* Give it back to whoever had it. */
void ref_copy_end(void);

#endif
