/* SPDX-License-Identifier: MIT */
/*
 * The store: one SQLite database in WAL mode, written by this process alone (a
 * lock file sees to that), read by whoever may. What store_put() has put is on
 * the disk, as far as the disk keeps its word (synchronous=FULL: the log is
 * flushed by each commit).
 */
#ifndef BEZOAR_TOOLS_BEZOARD_STORE_H
#define BEZOAR_TOOLS_BEZOARD_STORE_H

#include <sqlite3.h>
#include <sys/types.h>

#include "item.h"
#include "sums.h"

#define STORE_APART_MOST 4096		/* rows of apart, */
#define STORE_APART_SHARE 8		/* and no more than a part of all, */
#define STORE_APART_ROW 1024		/* of so many bytes each, with room for
					 * what is beside them */

#define STORE_KERNEL_MOST 65536		/* rows of kernel, */
#define STORE_KERNEL_SHARE 4		/* and no more than a part of all, */
#define STORE_KERNEL_ROW 512		/* of so many bytes each */
#define STORE_DEATHS_MOST 4096		/* rows of deaths */

enum { SQL_BEGIN, SQL_COMMIT, SQL_ROLLBACK, SQL_RECORD, SQL_APART, SQL_COUNT,
       SQL_META, SQL_SHIFT, SQL_SHIFT_APART, SQL_SHIFT_KERNEL,
       SQL_SHIFT_DEATHS, SQL_SHIFT_LOSS, SQL_FILE_AT, SQL_FILE_NOTE,
       SQL_KEEP_AGE, SQL_KEEP_AGE_KERNEL, SQL_KEEP_AGE_DEATHS,
       SQL_SIZE_USERS, SQL_SIZE_ROWS, SQL_SIZE_GONE,
       SQL_KEEP_APART, SQL_KEEP_KERNEL,
       SQL_KEEP_DEATHS, SQL_KEEP_PLACES, SQL_OLDEST, SQL_USED,
       SQL_AGAIN, SQL_KERNEL, SQL_KILLED, SQL_HUGE, SQL_DIMM, SQL_LOST, SQL_FRAME,
       SQL_PLACE, SQL_PLACE_DIMM, SQL_UNPLACED, SQL_DEATH, SQL_DEATH_TOLD,
       SQL_SUM, SQLS };

struct store {
	const char *path;
	sqlite3 *db;			/* NULL: closed */
	sqlite3_stmt *sql[SQLS];
	int lock;			/* descriptor; -1 */
	dev_t dev;			/* of what is open */
	ino_t ino;
	int64_t offset;			/* CLOCK_REALTIME - CLOCK_BOOTTIME */
	unsigned char boot[16];		/* this one's id */
	int64_t killed_ns;		/* when the kernel has last said that it
					 * signals somebody; INT64_MIN: never */
	int has_huge;			/* has it ever said that of a huge page all
					 * is lost? Else nobody looks for that */
	uint64_t max_age_ns, max_bytes;	/* 0: no limit */
	uint64_t counts[COUNTS];	/* not in the table yet */
	struct sums sums;		/* of the transaction that is open */
	char refused[1024];		/* why it could not be opened, as it was */
	int64_t refused_ns;		/* said, and when; CLOCK_BOOTTIME */
	int doubted;			/* it was found damaged while it was used */
	int new_fails;			/* one was put aside, and what was begun is
					 * of no use either */
	uint64_t framed;		/* records with a page frame, tried ones, too */
};

enum store_answer {
	STORE_OK,
	STORE_LATER,		/* no room, or the disk fails: nothing was put */
	STORE_FAILED		/* neither now nor later; it was said */
};

/*
 * Open or make it. One that is damaged or cannot be written is kept aside and
 * a new one begun, which is said. -1: there is none, it was said why.
 */
int store_open(struct store *s, const char *path);

/* Where it is, if @path is a link: its lock and log are beside the file. Not to be freed. */
const char *store_where(const char *path);
void store_close(struct store *s);

/*
 * Put @n items and s->counts in one transaction; all or nothing. Each has its number
 * then. A database that turns out to be damaged is replaced as above.
 */
enum store_answer store_put(struct store *s, struct item *items, size_t n);

/* A file that records are read from, as far as it was read. */
struct store_file {
	const char *name;
	dev_t dev;
	ino_t ino;
	uint64_t at;			/* what is before is done with */
	uint64_t torn;			/* bytes that it had when its end was said to
					 * be torn; 0: it was not */
};

/* Fill at and torn: 0 if it is not known, or another file of that name. */
void store_file_at(struct store *s, struct store_file *file);
enum store_answer store_file_note(struct store *s,
				  const struct store_file *file);

/*
 * Delete what is too old, or too much. *@ret_next_ns: how long from now until the
 * next row will be too old; 0: none will.
 */
enum store_answer store_keep(struct store *s, uint64_t *ret_next_ns);

#endif
