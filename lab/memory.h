/* SPDX-License-Identifier: MIT */
/*
 * Memory of the program's that is a region with a source, to be lost in earnest
 * and given back: what triggers.c, others.c and offline.c have in common.
 */
#ifndef BEZOAR_LAB_MEMORY_H
#define BEZOAR_LAB_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct memory {
	unsigned char *at, *mirror;	/* page i is full of fill_of(i) */
	size_t len, bad;		/* where the lost page is, from at */
	size_t unit;			/* what is lost with it */
	int fd;				/* -1: none */
	uint64_t frame;
	long corrupted;			/* HardwareCorrupted, before it was lost */
};

struct kind {
	const char *name;
	void (*make)(struct memory *m);
	int splits;			/* it is a part of a huge page */
};
enum { ANON, MEMFD, THP, HUGETLB, KINDS };
extern const struct kind kinds[KINDS];

/* The library, with take_sigbus() as the former action, and a region of it. */
void begin(struct memory *m, const struct kind *kind);

/* Note what will be lost; lose it, so that nobody here is told of it. */
void note(struct memory *m);
void lose(struct memory *m);
/* As if nothing had been: nobody else has it any more, and the frame goes back. */
void undo(struct memory *m);

/* How many the library has replaced. */
uint64_t replaced(void);
/* Can it, on this kernel? */
int can_be_replaced(const struct memory *m);

/* All bytes are right, but for @n from @from on, which are those at @by. */
void check_bytes(const struct memory *m, size_t from, size_t n,
		 const unsigned char *by);
/* The next touch of @at is told by the former action, that exact byte and all that
 * is lost of @m; or finds @want, and nobody is told. */
void check_told(const struct memory *m, unsigned char *at);
void check_good(unsigned char *at, unsigned char want);

/* @len bytes that children share. */
unsigned char *for_all(size_t len);

#endif
