/* SPDX-License-Identifier: MIT */
/* Between the files of bezoar log that read a store. */
#ifndef BEZOAR_TOOLS_STORED_IN_H
#define BEZOAR_TOOLS_STORED_IN_H

#include <stdint.h>
#include <sys/types.h>

#include "stored.h"

#define STORED_PATIENCE_MS 10000

struct stored {
	const char *name, *path;	/* @name: the path, escaped */
	const struct log_wishes *wishes;
	int fd;				/* the same file, by whatever name; -1 */
	dev_t log_dev;			/* SQLite's log of it; 0, 0: none was */
	ino_t log_ino;			/* seen */
	sqlite3 *db;
	sqlite3_stmt *rows;
	int64_t last;			/* number of the last that was read */
	int status;
};

/* -1: s->status, and it was said why. */
int stored_begin(struct stored *s);
void stored_end(struct stored *s);
void stored_close_db(struct stored *s);

/* The statement, for the database that is open. -1: SQLite says why. */
int stored_prepare(struct stored *s);
/* Show all from s->last on. What SQLite says. */
int stored_step(struct stored *s);
void stored_failed(struct stored *s);

/* stored_follow.c: until nobody reads what is shown, or it cannot be read. @s is open, or
 * nothing is there yet. */
void stored_follow(struct stored *s);

#endif
