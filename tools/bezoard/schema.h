/* SPDX-License-Identifier: MIT */
/*
 * The schema of the store, and how a store of an older version becomes one of
 * this. The version is in the table meta; a database without that is version 0.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_SCHEMA_H
#define BEZOAR_TOOLS_BEZOARD_SCHEMA_H

#include <sqlite3.h>

/* Each step makes version n + 1 of version n = its place in the table. */
extern const char *const schema_steps[];
extern const int schema_version;	/* how many steps there are */

enum schema_answer {
	SCHEMA_OK,
	SCHEMA_NEWER,		/* than these steps: not touched */
	SCHEMA_FOREIGN,		/* a database of something else: not touched */
	SCHEMA_FAILED		/* SQLite said no, sqlite3_errcode() says why; the
				 * transaction may still be open: who closes the
				 * database rolls it back, and it is as before */
};

/* -1: it cannot be told. */
int schema_of(sqlite3 *db);

/* All in one transaction, or nothing. *@ret_from: the version that it was. */
enum schema_answer schema_bring(sqlite3 *db, const char *const *steps,
				int count, int *ret_from);

#endif
