/* SPDX-License-Identifier: MIT */
/* "The table": pages that a process of a test loses, and has back from a copy. */
#ifndef BEZOAR_TESTS_TABLE_H
#define BEZOAR_TESTS_TABLE_H

#include <stddef.h>

extern unsigned char *table_at;

/* Make it, of so many pages; the library was started. */
void table_make(size_t pages);
/* Lose a page, and see that it is back. Numbers go round. */
void table_lose(size_t page);

#endif
