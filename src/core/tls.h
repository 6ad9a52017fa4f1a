/* SPDX-License-Identifier: MIT */
/*
 * Where the calling thread's own memory lies, found without touching it: that
 * may be what was lost. (errno as the libc has it reads a word of that memory
 * first, to know where it is.)
 */
#ifndef BEZOAR_CORE_TLS_H
#define BEZOAR_CORE_TLS_H

#include <stdint.h>

#include "core/core.h"

#if defined(__x86_64__)
#include <asm/prctl.h>
#endif

static inline uint64_t bz_thread_pointer(void)
{
	uint64_t at = 0;

#if defined(__x86_64__)
	if (bz_core.has_fsbase)
		__asm__ volatile("rdfsbase %0" : "=r"(at));
	else
		bz_sys(SYS_arch_prctl, ARCH_GET_FS, (long)&at, 0, 0, 0, 0);
#else
	__asm__ volatile("mrs %0, tpidr_el0" : "=r"(at));
#endif
	return at;
}

/* errno of the calling thread. */
static inline int *bz_errno(void)
{
	return (int *)(bz_thread_pointer() + (uint64_t)bz_core.errno_at);
}

static inline int bz_same_page(uint64_t a, uint64_t b)
{
	return !((a ^ b) & -bz_core.page);
}

#endif
