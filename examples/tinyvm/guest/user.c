/* SPDX-License-Identifier: MIT */
/*
 * What tasks do, in ring 3: fill pages from a seed, and see that every byte is still
 * what it was. They end by an instruction that is none, with the number of wrong bytes
 * in rax. Nothing of the kernel can be called here, nor by the compiler: memory is
 * volatile for that.
 */
#include "kernel.h"

static inline __attribute__((always_inline)) uint64_t word_of(uint64_t seed, uint64_t n)
{
	uint64_t z = seed + n * 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	return z ^ z >> 27;
}

static inline __attribute__((always_inline, noreturn)) void done(uint64_t wrong)
{
	__asm__ volatile("ud2" :: "a"(wrong));
	__builtin_unreachable();
}

void user_fill(uint64_t at, uint64_t first, uint64_t pages, uint64_t seed)
{
	volatile uint64_t *word = (volatile uint64_t *)at;
	uint64_t i;

	for (i = first * PAGE / 8; i < (first + pages) * PAGE / 8; i++)
		word[i] = word_of(seed, i);
	done(0);
}

static inline __attribute__((always_inline)) uint64_t bytes_apart(uint64_t a, uint64_t b)
{
	uint64_t n = 0;

	for (a ^= b; a; a >>= 8)
		n += (a & 0xff) != 0;
	return n;
}

/* By loads of every width: each shows a loss in its own way. */
static inline __attribute__((always_inline)) uint64_t load(uint64_t at, uint64_t width)
{
	uint64_t value = 0, i;

	switch (width) {
	case 0:
		for (i = 8; i-- > 0;)
			value = value << 8 | ((volatile uint8_t *)at)[i];
		return value;
	case 1:
		return ((volatile uint32_t *)at)[0] |
		       (uint64_t)((volatile uint32_t *)at)[1] << 32;
	case 2:
		value = *(volatile uint16_t *)(at + 6);
		value = value << 16 | *(volatile uint16_t *)(at + 4);
		return value << 32 | *(volatile uint32_t *)at;
	default:
		return *(volatile uint64_t *)at;
	}
}

void user_verify(uint64_t at, uint64_t first, uint64_t pages, uint64_t seed)
{
	uint64_t i, wrong = 0;

	for (i = first * PAGE / 8; i < (first + pages) * PAGE / 8; i++)
		wrong += bytes_apart(load(at + i * 8, i / (PAGE / 8) % 4),
				     word_of(seed, i));
	done(wrong);
}
