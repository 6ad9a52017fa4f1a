/* SPDX-License-Identifier: MIT */
/* Between the files of the store. */
#ifndef BEZOAR_TOOLS_BEZOARD_STORE_IN_H
#define BEZOAR_TOOLS_BEZOARD_STORE_IN_H

#include "store.h"

extern const char *const store_sql[SQLS];
/* A trigger of this connection's: the last line of a boot that has gone. */
extern const char store_gone[];

/* One statement that returns no row, and is ready for the next time. Returns
 * SQLITE_OK or an extended code. */
int store_run(struct store *s, int which);
/* The one number that it asks for; *@ret_n is not touched if there is none. */
int store_ask(struct store *s, int which, int64_t *ret_n);

/* In a transaction: what was taken by a clock that was set since counts as taken
 * by the new one. Returns like store_run(). */
int store_clock(struct store *s);
/* The same when it is opened, out of the table meta. */
void store_clock_load(struct store *s);
int64_t store_now(void);

/* What is joined: store_join.c. In a transaction; they return like store_run(). */
int store_join_functions(sqlite3 *db);
void store_join_load(struct store *s);
/* The place of a record that has become row @number, of the process @pid. */
int store_place(struct store *s, int64_t number, const struct bez_record *r,
		int32_t pid);
/* An eighth of the records goes, whose that is too; adds how many to *@retired. */
int store_keep_size(struct store *s, uint64_t *retired);
/* The number of the kernel's lines is their own limit: no record is in their way, and
 * they are in no record's. */
int store_keep_kernel(struct store *s, uint64_t *retired);
/* Likewise; of the user who has most, as anybody can send what is kept apart. */
int store_keep_apart(struct store *s, uint64_t *retired);
int store_put_kernel(struct store *s, struct item *item, int64_t now,
		     uint64_t *counts);
int store_put_death(struct store *s, struct item *item, int64_t now,
		    uint64_t *counts);
/* A record from a file tells of a death that nobody had told of: its user's, or one
 * of root's files. */
int store_told_late(struct store *s, const struct item *item,
		    const struct bez_record *r);

/* store_ours.c: what is under that name, if bezoard has not made it; else NULL. */
const char *store_is_another(const char *path);
/* A folder, a device. */
int store_is_no_file(const char *path);

/* store_lock.c. Is the lock that is held the one beside the store? */
int store_has_lock(const struct store *s);
/* It is then: 0, at once if it was. Else -1, none is held, and that was said. */
int store_lock(struct store *s);
void store_unlock(struct store *s);

/* It cannot be opened, and that is tried again each second. */
void store_refuse(struct store *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* store_aside.c. The store out of the way, under a name that says when. -1: it was said why
 * not. */
int store_aside(struct store *s, const char *why);
/* The log of one that was moved away without it: it is of use beside that only. */
void store_log_aside(const char *path);

/* If the name is another file's by now, or nobody's: begin anew, loudly. */
void store_look(struct store *s);

/* Roll back, and say what is to be thought of the code @bad, once for each
 * trouble. */
enum store_answer store_trouble(struct store *s, int bad);
void store_well(struct store *s);

#endif
