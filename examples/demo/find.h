/* SPDX-License-Identifier: MIT */
/* Which files the demo holds. */
#ifndef DEMO_FIND_H
#define DEMO_FIND_H

#include <stddef.h>

#include "options.h"

struct found {
	char *path;
	size_t size;
};

/*
 * At most @limit regular files that fill @pages pages of @page bytes, none
 * empty, as the seed has it. If they would be more than @limit, those smaller
 * than *@ret_min are left out. The list is the caller's. -1: said on stderr.
 */
int find_files(const struct options *options, size_t page, size_t pages,
	       size_t limit, struct found **ret_list, size_t *ret_count,
	       size_t *ret_min);

#endif
