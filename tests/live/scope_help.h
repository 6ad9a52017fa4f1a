/* SPDX-License-Identifier: MIT */
/* A region of which one page is lost, and a touch of it in a scope. */
#ifndef BEZOAR_TESTS_SCOPE_HELP_H
#define BEZOAR_TESTS_SCOPE_HELP_H

#include <bezoar/bezoar.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES	6
#define LOST	2			/* the page that is lost */
#define TOUCH	(LOST * page + 77)

extern unsigned char *at;
extern size_t page;
extern bez_region_t region;

/* A region whose ladder is the digits of @ladder. */
bez_region_t scope_add(void *addr, size_t pages, const char *ladder);

/* PAGES pages at @at, of which one is lost; a former action (replace_see.h). */
void scope_begin(const char *ladder);

/* Touch @addr in a scope: 1 and *@ret_lost, or 0. */
int scope_left(const void *addr, struct bez_lost *ret_lost);

/* The signals that this thread blocks. */
uint64_t scope_mask(void);

#endif
