/* SPDX-License-Identifier: MIT */
/*
 * System calls that move a program's bytes, each by itself: what the kernel does
 * when the memory is lost is a table (triggers.c), and the same for all of them.
 */
#ifndef BEZOAR_LAB_CALLS_H
#define BEZOAR_LAB_CALLS_H

#include <stddef.h>
#include <sys/types.h>

struct call {
	const char *name;
	/* Move @n bytes between the memory at @at and @other: from there to
	 * @other, or, if it is @into, from @other. How many it says that it did,
	 * or a negative errno. */
	ssize_t (*run)(unsigned char *at, size_t n, unsigned char *other);
	int into;
	int word;			/* it reads four bytes, and no more */
	int fixed;			/* by a buffer that is registered */
	int whole;			/* it is never short: it fails */
};

extern const struct call calls[];
extern const size_t n_calls;

#endif
