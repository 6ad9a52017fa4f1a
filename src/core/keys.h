/* SPDX-License-Identifier: MIT */
/*
 * Protection keys; pkeys(7). The kernel starts every handler with all keys but
 * the first shut, whatever the interrupted code had open, so memory with a key
 * looks to it like memory without access. While bezoar works on a fault all
 * keys are open; whoever is called afterwards finds them as the kernel set
 * them. Two instructions each; nothing on a machine without keys.
 */
#ifndef BEZOAR_CORE_KEYS_H
#define BEZOAR_CORE_KEYS_H

#include <stdint.h>

#include "core/core.h"

#define BZ_KEYS_OPEN 0u			/* PKRU: two bits a key forbid */

#if defined(__x86_64__)

#include <cpuid.h>

/* Has this processor keys, and does the kernel use them? Normal context. */
static inline uint32_t bz_keys_detect(void)
{
	uint32_t a, b, c = 0, d;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return 0;
	return c >> 4 & 1;		/* OSPKE */
}

/* Where they are in the extended state of a signal frame; 0: not known. */
static inline uint32_t bz_keys_at(void)
{
	uint32_t a, b = 0, c, d;

	return __get_cpuid_count(13, 9, &a, &b, &c, &d) ? b : 0;
}

/* What the calling thread may do. Context: handler-safe. */
static inline uint32_t bz_keys_get(void)
{
	uint32_t keys = 0, high;

	if (bz_core.has_keys)
		__asm__ volatile("rdpkru" : "=a"(keys), "=d"(high) : "c"(0));
	return keys;
}

/* Memory is a clobber: nothing that needs the keys moves across. */
static inline void bz_keys_set(uint32_t keys)
{
	if (bz_core.has_keys)
		__asm__ volatile("wrpkru" : : "a"(keys), "c"(0), "d"(0)
				 : "memory");
}

#else

static inline uint32_t bz_keys_detect(void)
{
	return 0;
}

static inline uint32_t bz_keys_at(void)
{
	return 0;
}

static inline uint32_t bz_keys_get(void)
{
	return 0;
}

static inline void bz_keys_set(uint32_t keys)
{
	(void)keys;
}

#endif
#endif
