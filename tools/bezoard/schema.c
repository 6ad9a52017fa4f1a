/* SPDX-License-Identifier: MIT */
#include "schema.h"

#include <stddef.h>

/*
 * A step that was released is never changed. Numbers that need 64 bits without a
 * sign are kept as SQLite's signed ones of the same bits, but for wall_ns, which is
 * to be put in order: what is beyond 2262 counts as the end of that year there.
 * The raw bytes are what counts, the columns are for finding them.
 *
 * There is no index for the age: rows are numbered as they are taken.
 */
const char *const schema_steps[] = {
	/* 1 */
	"CREATE TABLE meta ("
	"	key TEXT PRIMARY KEY,"
	"	value"
	") WITHOUT ROWID;"
	"CREATE TABLE counts ("
	"	name TEXT PRIMARY KEY,"
	"	n INTEGER NOT NULL"
	") WITHOUT ROWID;"
	"CREATE TABLE records ("
	"	number INTEGER PRIMARY KEY AUTOINCREMENT,"
	"	digest INTEGER NOT NULL,"
	"	id INTEGER NOT NULL,"
	"	taken INTEGER NOT NULL,"	/* ns, CLOCK_REALTIME of here */
	"	wall_ns INTEGER NOT NULL,"
	"	pid INTEGER NOT NULL,"		/* as it is here */
	"	own_pid INTEGER NOT NULL,"	/* as the sender saw it */
	"	uid INTEGER NOT NULL,"
	"	origin INTEGER NOT NULL,"	/* 0: socket, 1: file */
	"	comm BLOB NOT NULL,"
	"	region BLOB NOT NULL,"
	"	outcome INTEGER NOT NULL,"
	"	action INTEGER NOT NULL,"
	"	cause INTEGER NOT NULL,"
	"	raw BLOB NOT NULL"
	");"
	"CREATE UNIQUE INDEX records_once ON records (digest, id);"
	"CREATE INDEX records_wall ON records (wall_ns);"
	"CREATE TABLE apart ("
	"	number INTEGER PRIMARY KEY AUTOINCREMENT,"
	"	digest INTEGER NOT NULL,"
	"	taken INTEGER NOT NULL,"
	"	pid INTEGER NOT NULL,"
	"	uid INTEGER NOT NULL,"
	"	origin INTEGER NOT NULL,"
	"	why TEXT NOT NULL,"		/* version, forged, unverified */
	"	raw BLOB NOT NULL"
	");"
	"CREATE UNIQUE INDEX apart_once ON apart (digest, pid, why);"
	"CREATE TABLE files ("
	"	name BLOB PRIMARY KEY,"
	"	dev INTEGER NOT NULL,"
	"	ino INTEGER NOT NULL,"
	"	at INTEGER NOT NULL,"		/* bytes that were taken */
	"	torn INTEGER NOT NULL"		/* how long it was when its end was
						 * said to be torn */
	") WITHOUT ROWID;",
	/* 2 */
	"CREATE TABLE kernel ("			/* what the kernel has said */
	"	number INTEGER PRIMARY KEY AUTOINCREMENT,"
	"	taken INTEGER NOT NULL,"	/* ns, CLOCK_REALTIME of here */
	"	boot_id BLOB NOT NULL,"		/* 16 bytes */
	"	seq INTEGER NOT NULL,"		/* of /dev/kmsg */
	"	wall_ns INTEGER NOT NULL,"	/* when it was said */
	"	kind TEXT NOT NULL,"		/* poison, handled, killed, offline, corrected, uncorrected */
	"	frame INTEGER NOT NULL,"	/* page frame; -1: it names none */
	"	dimm TEXT NOT NULL,"		/* label, or place, of the module; '' */
	"	pid INTEGER NOT NULL,"		/* who was signalled; 0 */
	"	text BLOB NOT NULL"		/* the line */
	");"
	"CREATE UNIQUE INDEX kernel_once ON kernel (boot_id, seq);"
	"CREATE INDEX kernel_frame ON kernel (frame);"
	"CREATE TABLE deaths ("			/* of who was connected */
	"	number INTEGER PRIMARY KEY AUTOINCREMENT,"
	"	taken INTEGER NOT NULL,"
	"	boot_id BLOB NOT NULL,"
	"	pid INTEGER NOT NULL,"
	"	start_ticks INTEGER NOT NULL,"
	"	uid INTEGER NOT NULL,"
	"	comm BLOB NOT NULL,"
	"	status INTEGER NOT NULL,"	/* as wait(2) has it; -1: nobody could say */
	"	told INTEGER NOT NULL"		/* number of its last record, 0: it died without a word */
	");"
	"CREATE TABLE places ("			/* frame -> module, for records */
	"	record INTEGER PRIMARY KEY,"	/* records.number */
	"	frame INTEGER NOT NULL,"
	"	dimm TEXT NOT NULL"		/* '' if not known */
	");",
	/* 3: of who sent it, as the kernel says; '' if not known */
	"ALTER TABLE records ADD COLUMN cgroup BLOB NOT NULL DEFAULT '';",
};
const int schema_version = sizeof(schema_steps) / sizeof(schema_steps[0]);

/* The one number that @sql asks for; -1: none. */
static int ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s = NULL;
	int n = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK &&
	    sqlite3_step(s) == SQLITE_ROW)
		n = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	return n;
}

int schema_of(sqlite3 *db)
{
	int has = ask(db, "SELECT count(*) FROM sqlite_schema "
			  "WHERE type = 'table' AND name = 'meta'");

	return has <= 0 ? has :
	       ask(db, "SELECT value FROM meta WHERE key = 'schema'");
}

static int note(sqlite3 *db, int version)
{
	sqlite3_stmt *s = NULL;
	int bad = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO meta "
				     "VALUES ('schema', ?)", -1, &s, NULL);

	bad = bad || sqlite3_bind_int(s, 1, version) ||
	      sqlite3_step(s) != SQLITE_DONE;
	sqlite3_finalize(s);
	return bad;
}

static enum schema_answer steps_from(sqlite3 *db, const char *const *steps,
				     int count, int *ret_from)
{
	int at = schema_of(db);

	*ret_from = at;
	if (at > count)
		return SCHEMA_NEWER;
	if (at < 0)
		return SCHEMA_FAILED;
	if (!at && ask(db, "SELECT count(*) FROM sqlite_schema") != 0)
		return SCHEMA_FOREIGN;
	if (at == count)
		return SCHEMA_OK;
	for (; at < count; at++)
		if (sqlite3_exec(db, steps[at], NULL, NULL, NULL))
			return SCHEMA_FAILED;
	return note(db, count) ? SCHEMA_FAILED : SCHEMA_OK;
}

enum schema_answer schema_bring(sqlite3 *db, const char *const *steps,
				int count, int *ret_from)
{
	enum schema_answer answer;

	*ret_from = -1;
	/* at once: who else has it open is waited for, and not overtaken */
	if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL))
		return SCHEMA_FAILED;
	answer = steps_from(db, steps, count, ret_from);
	if (answer == SCHEMA_OK &&
	    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL))
		answer = SCHEMA_FAILED;
	/* where it has failed the caller reads why, before that is forgotten */
	if (answer == SCHEMA_NEWER || answer == SCHEMA_FOREIGN)
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return answer;
}
