/* SPDX-License-Identifier: MIT */
/*
 * What the tests of copies share: memory in which some pages are lost for good,
 * and a model of what a copy in it has to leave behind.
 */
#ifndef BEZOAR_TESTS_COPY_HELP_H
#define BEZOAR_TESTS_COPY_HELP_H

#include <stddef.h>

#include "copy/copy.h"
#include "live.h"

#define FIELD_PAGES 16

/* @pages of memory; page i is lost if bit i of @lost is set. */
struct field {
	unsigned char *at;
	size_t pages;
	size_t len;
	unsigned int lost;
	unsigned char *is;	/* what the good pages should hold */
	unsigned int seed;	/* of live_byte(), at the beginning */
};

void field_open(struct field *f, size_t pages, unsigned int lost,
		unsigned int seed);

/* What a call may have changed is between @from and @to: write it anew. */
void field_reset(struct field *f, size_t from, size_t to);

/* How many bytes from @offset on can be used, at most @len. */
size_t field_good(const struct field *f, size_t offset, size_t len);

/* How many bytes of the good pages from @from to @to are not as they should. */
size_t field_wrong(const struct field *f, size_t from, size_t to);

/*
 * Copy with @copier, and check the count and every byte that may have changed:
 * those that are to be copied are, all others are as they were.
 */
void field_copy(const struct bz_copier *copier, struct field *dst, size_t to,
		struct field *src, size_t from, size_t len);

/* Every @often-th of what a test would do where poison is real: each signal of
 * it is a line in the kernel's log, and the lab's machines are slow. */
size_t field_step(size_t often);

/* Run the case for each copier that is usable here: sets *ret_copier in turn,
 * NULL at the end. Start with NULL. */
const struct bz_copier *next_copier(const struct bz_copier *last);

#endif
