/* SPDX-License-Identifier: MIT */
/*
 * The catalogue: each outcome and each cause, what it means and what to do. Short
 * names and what to do now about an outcome are the library's own
 * (bez_outcome_name(3)); a test holds this against its header.
 */
#ifndef BEZOAR_TOOLS_CATALOGUE_H
#define BEZOAR_TOOLS_CATALOGUE_H

#include <stddef.h>

struct entry {
	char kind;		/* 'O': outcome, 'C': cause */
	unsigned int number;
	const char *symbol;	/* without BEZ_OUTCOME_ or BEZ_CAUSE_ */
	const char *happened;
	const char *means;
	const char *now;	/* what to do; see entry_now() */
	const char *later;
};

extern const struct entry catalogue[];
extern const size_t catalogue_entries;

/* "O67", "C8": stable. @ret has room for 8 bytes. */
const char *entry_code(const struct entry *e, char *ret);
const char *entry_name(const struct entry *e);
const char *entry_now(const struct entry *e);

/* By number; NULL: it is of a later version. */
const struct entry *entry_of(char kind, unsigned int number);

/* Does @word name it: by code, by number alone (an outcome), by its symbol with or
 * without what is before it? In any case of letters. */
int entry_is(const struct entry *e, const char *word);

#endif
