/* SPDX-License-Identifier: MIT */
/* Numbers that a seed repeats (splitmix64). */
#ifndef EXAMPLES_RANDOM_H
#define EXAMPLES_RANDOM_H

#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* 0 .. @limit - 1; the bias is far too small to matter here */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return (uint64_t)((unsigned __int128)random_next(state) * limit >> 64);
}

#endif
