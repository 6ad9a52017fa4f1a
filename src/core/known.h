/* SPDX-License-Identifier: MIT */
/*
 * An attached thread's number without asking the kernel. Who else could find
 * it, and be wrong: a child of fork(2) (another life of the address space), and
 * a thread made by a bare clone(2) that shares this one's thread-local storage
 * (which has not its alternate stack). A child of vfork(2) has both, and goes by
 * the number of the thread that waits for it, as it goes by all that is that
 * thread's.
 */
#ifndef BEZOAR_CORE_KNOWN_H
#define BEZOAR_CORE_KNOWN_H

#include <stdint.h>

#include "core/mm.h"

struct bz_known {
	uint64_t low, high;		/* its alternate stack; both 0: none */
	uint64_t life;			/* of the address space: mm->life */
	uint32_t tid;
};

/* Written by its thread, core/thread.c. */
extern __thread struct bz_known bz_known
	__attribute__((tls_model("initial-exec")));

/* The number of the calling thread. @frame: an address on its stack. Context:
 * handler-safe. */
uint32_t bz_self(struct bz_mm *mm, const void *frame);

#endif
