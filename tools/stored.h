/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_STORED_H
#define BEZOAR_TOOLS_STORED_H

#include "tool.h"

/* Is this file a database? It may be a store of bezoard(8) then. */
int stored_is(const char *path);

/* Show the records in it. @name: the path, escaped. Returns a status. */
int stored_log(const char *path, const char *name,
	       const struct log_wishes *wishes);

#endif
