/* SPDX-License-Identifier: MIT */
/* What the kernel says of a loss, without the library. */
#ifndef BEZOAR_CHECK_TOLD_H
#define BEZOAR_CHECK_TOLD_H

#include <stddef.h>

struct told {
	int count;		/* of SIGBUS */
	int code;		/* of the last */
	int width_bits;		/* si_addr_lsb; 0 where the code has none */
	void *addr;
};

extern volatile struct told told;

/* Take SIGBUS in all threads from here on. */
void told_begin(void);

/* Touch a byte: 1 if SIGBUS came, and told says what; else 0. */
int told_load(const volatile unsigned char *at);
int told_store(volatile unsigned char *at, unsigned char value);

/* The last SIGBUS said that exactly @at is gone, one page wide; or broken. */
void told_expect(const volatile void *at);

#endif
