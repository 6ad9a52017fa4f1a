/* SPDX-License-Identifier: MIT */
/*
 * Memory of which a part is lost and left, and all ways to touch that.
 */
#ifndef BEZOAR_TESTS_AFTER_HELP_H
#define BEZOAR_TESTS_AFTER_HELP_H

#include <bezoar/bezoar.h>
#include <stddef.h>
#include <stdint.h>

#include "kinds_help.h"
#include "live.h"

/* What a case is about: what is lost has offset after_at in it. */
extern struct kinds_memory after;
extern size_t after_page, after_at;
extern uint32_t after_flags;		/* of the policy */

/* Private memory, the third page of which is to be lost; or a memory file mapped
 * with @flags, of which it is the last. Starts the library. */
void after_begin(size_t pages, uint32_t flags);
void after_begin_file(size_t pages, int flags);

/* Registered: a ladder of REPLACE, which has no source, and DEGRADE. */
bez_region_t after_add(void);

unsigned char *after_extent(void);

/* Was it that extent, touched at @addr? */
int after_right(const struct bez_lost *lost, const unsigned char *addr);

/* The first to touch it has the catch. */
void after_first_touch(void);

/* By each way, a hundred times: the same answer with the same address. */
void after_all_ways(const char *where);
/* The same in a child, and in one of that. */
void after_in_child(void);

#endif
