/* SPDX-License-Identifier: MIT */
/* The reference for reading much memory: the sum of all its words, by the widest
 * vectors that the processor has. */
#ifndef BEZOAR_BENCH_REF_SUM_H
#define BEZOAR_BENCH_REF_SUM_H

#include <stddef.h>
#include <stdint.h>

/* @bytes: a multiple of 256; @at: of 64. */
uint64_t ref_sum(const void *at, size_t bytes);

/* How it is done. */
const char *ref_sum_how(void);

#endif
