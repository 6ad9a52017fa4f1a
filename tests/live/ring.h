/* SPDX-License-Identifier: MIT */
/* An io_uring, one request at a time, by bare system calls. */
#ifndef BEZOAR_TESTS_RING_H
#define BEZOAR_TESTS_RING_H

#include <linux/io_uring.h>
#include <stddef.h>

/* The one of this process; skips the case where there is none. */
void ring_open(void);

/* One request, and its result: bytes or a negative errno. */
int ring_do(const struct io_uring_sqe *request);

/* Register these bytes as the only fixed buffer; take it back. 0 or a negative
 * errno. */
int ring_fix(void *at, size_t len);
int ring_unfix(void);

#endif
