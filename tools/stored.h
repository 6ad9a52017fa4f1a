/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_STORED_H
#define BEZOAR_TOOLS_STORED_H

#include <sqlite3.h>

#include "tool.h"

/* Is this file a database? It may be a store of bezoard(8) then. */
int stored_is(const char *path);

/* Nothing is there, or what a bezoard has only begun to make. */
int stored_is_not_yet(const char *path);

/* What to do if a store cannot be opened because of @error (positive errno), with its
 * full stop in front; "" if that is plain. */
const char *stored_hint(int error);

/* Open it to read, if it is a store that this program knows. @name: the path,
 * escaped. -1: it was said why not. */
int stored_open(const char *path, const char *name, sqlite3 **ret_db);

/* The same of those that were kept apart. */
int stored_apart(sqlite3 *db, const char *name,
		 const struct log_wishes *wishes);

/* Show the records in it. @name: the path, escaped. Returns a status, or LOG_NO_STORE:
 * what has come there meanwhile is none. */
int stored_log(const char *path, const char *name,
	       const struct log_wishes *wishes);

#endif
