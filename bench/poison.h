/* SPDX-License-Identifier: MIT */
/*
 * Poison for the benches by UFFDIO_POISON (Linux 6.6, no privilege). It marks
 * addresses only; no memory is lost.
 */
#ifndef BEZOAR_BENCH_POISON_H
#define BEZOAR_BENCH_POISON_H

#include <stddef.h>
#include <stdint.h>

/* A userfaultfd with @features, or a negative errno. */
int poison_uffd(uint64_t features);

/* A descriptor for the calls below, or a negative errno. */
int poison_open(void);

/*
 * Before and after marking pages inside [addr, addr + len). Nobody else may
 * touch the range in between, and no other userfaultfd may have it.
 */
int poison_begin(int fd, void *addr, size_t len);
int poison_mark(int fd, void *addr, size_t len);
int poison_end(int fd, void *addr, size_t len);

#endif
