/* SPDX-License-Identifier: MIT */
/* The bad page of bench/salvage.c. */
#ifndef BEZOAR_BENCH_SALVAGE_H
#define BEZOAR_BENCH_SALVAGE_H

#include <stddef.h>

/* From now on the page at @offset of @fd is bad. */
void salvage_bad(int fd, size_t offset);

/* pread(2) as the kernel does it then: a result or a negative errno. */
long salvage_pread(int fd, void *buf, size_t len, size_t offset);

#endif
