/* SPDX-License-Identifier: MIT */
/* How facts are put on the list. */
#ifndef BEZOAR_CHECK_FACTS_H
#define BEZOAR_CHECK_FACTS_H

#include "check.h"

/*
 * One more: @group, @name and @means are static; @fmt is the value, in which
 * everything that is no plain text is escaped. NULL: not readable.
 */
void fact_add(struct facts *facts, const char *group, const char *name,
	      const char *means, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* The first line of a file, without its end: 0, or -1: not readable. */
int fact_line(const char *path, char *ret, size_t room);

/* What is behind @key and blanks in the first line of @path that begins so. */
int fact_line_of(const char *path, const char *key, char *ret, size_t room);

void facts_of_kernel(struct facts *facts);
void facts_of_machine(struct facts *facts);
void facts_of_process(struct facts *facts);

#endif
