/* SPDX-License-Identifier: MIT */
/*
 * Opening the store, and what is done with one that cannot be used: it is kept
 * aside under another name and a new one begun. What comes next is more than
 * what was, and what was may still be read by who has the tools.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "schema.h"
#include "store_in.h"

#define NAME_ROOM	4096
#define READERS		"bezoar"	/* group */
#define PATIENCE_MS	2000		/* with a reader that restores the log, */
#define LATER_MS	50		/* and where that was not enough */
#define AGAIN_NS	60000000000ll	/* until the same is said again */

static void beside(char ret[NAME_ROOM], const char *path, const char *end)
{
	snprintf(ret, NAME_ROOM, "%s%s", path, end);
}

/* It cannot be opened. That is tried each second for as long as it takes: the reason is
 * said once, when it is another, and once in a while. */
void store_refuse(struct store *s, const char *fmt, ...)
{
	char why[sizeof(s->refused)];
	struct timespec ts = { 0, 0 };
	va_list args;
	int64_t now;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	clock_gettime(CLOCK_BOOTTIME, &ts);
	now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	if (!strcmp(why, s->refused) && now - s->refused_ns < AGAIN_NS)
		return;
	say("%s", why);
	strcpy(s->refused, why);
	s->refused_ns = now;
}

/* SQLite makes its log and index with the mode and group of the database. */
static int make(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	struct group *readers;
	char name[NAME_ROOM];

	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	/* what is left of another is not its log */
	store_log_aside(path);
	beside(name, path, "-shm");
	unlink(name);
	readers = getgrnam(READERS);
	if (readers && fchown(fd, (uid_t)-1, readers->gr_gid))
		say("%s: group %s may not read it: %s", path, READERS,
		    strerror(errno));
	close(fd);
	return 0;
}

static void drop(struct store *s)
{
	int i;

	for (i = 0; i < SQLS; i++) {
		sqlite3_finalize(s->sql[i]);
		s->sql[i] = NULL;
	}
	sqlite3_close(s->db);
	s->db = NULL;
}

static int check_row(void *ret_ok, int n, char **values, char **names)
{
	(void)names;
	*(int *)ret_ok = n == 1 && values[0] && !strcmp(values[0], "ok");
	return 0;
}

/* NULL: all is well. Else what is wrong with it. */
static const char *begin(struct store *s)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, on = 1, ok = 0;
	/* that compares the indices with what they are of, too */
	const char *check = s->doubted ? "PRAGMA integrity_check(1)" :
					 "PRAGMA quick_check(1)";

	if (sqlite3_open_v2(s->path, &s->db, flags, NULL) ||
	    sqlite3_extended_result_codes(s->db, 1))
		return sqlite3_errmsg(s->db);
	if (sqlite3_db_readonly(s->db, "main") == 1)
		return "it may not be written to";
	if (store_join_functions(s->db))
		return sqlite3_errmsg(s->db);
	sqlite3_busy_timeout(s->db, PATIENCE_MS);
	/* readers that may not write to the folder need log and index there */
	sqlite3_file_control(s->db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
	if (sqlite3_exec(s->db, "PRAGMA trusted_schema = OFF;"
			 "PRAGMA cell_size_check = ON;"
			 "PRAGMA journal_mode = WAL;"
			 "PRAGMA synchronous = FULL;"
			 "PRAGMA cache_size = -1024;"
			 "PRAGMA temp_store = MEMORY;"
			 "PRAGMA journal_size_limit = 8388608", NULL, NULL,
			 NULL) ||
	    sqlite3_exec(s->db, check, check_row, &ok, NULL))
		return sqlite3_errmsg(s->db);
	return ok ? NULL : "it is damaged";
}

/* That is not the store's fault, and another day it is well. */
static int is_passing(int code)
{
	return code == SQLITE_FULL || code == SQLITE_IOERR ||
	       code == SQLITE_BUSY || code == SQLITE_LOCKED ||
	       code == SQLITE_NOMEM || code == SQLITE_CANTOPEN;
}

/* The same of the words that begin it: what cannot be read is damaged. */
static int is_passing_yet(sqlite3 *db)
{
	int code = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;

	return is_passing(code & 0xff) && code != SQLITE_IOERR_READ &&
	       code != SQLITE_IOERR_SHORT_READ;
}

/* It could not be made what it is to be: 1 or -1, as below. */
static int not_brought(struct store *s, char ret_why[256])
{
	int code = sqlite3_errcode(s->db) & 0xff;

	snprintf(ret_why, 256, "%s", sqlite3_errmsg(s->db));
	/* no reason to throw it away */
	if (!is_passing(code))
		return 1;
	store_refuse(s, "%s: %s", s->path, ret_why);
	return -1;
}

/* 0; 1: it is to be kept aside, *@ret_why; -1: said. */
static int bring(struct store *s, char ret_why[256])
{
	struct stat st;
	int from, i;

	switch (schema_bring(s->db, schema_steps, schema_version, &from)) {
	case SCHEMA_NEWER:
		store_refuse(s, "%s is a store of version %d, and this bezoard "
			     "knows %d: it was not touched. Run a newer bezoard, "
			     "or name another by --store", s->path, from,
			     schema_version);
		return -1;
	case SCHEMA_FOREIGN:
		store_refuse(s, "%s is a database of something else: it was not "
			     "touched. Name another by --store", s->path);
		return -1;
	case SCHEMA_FAILED:
		return not_brought(s, ret_why);
	case SCHEMA_OK:
	default:
		break;
	}
	if (from && from < schema_version)
		say("%s was of version %d and is of version %d now", s->path,
		    from, schema_version);
	for (i = 0; i < SQLS; i++)
		if (sqlite3_prepare_v3(s->db, store_sql[i], -1,
				       SQLITE_PREPARE_PERSISTENT, &s->sql[i],
				       NULL))
			return not_brought(s, ret_why);
	/* into the file itself: by that it is known, if its log is not there */
	if (from < schema_version)
		sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE,
					  NULL, NULL);
	if (sqlite3_exec(s->db, store_gone, NULL, NULL, NULL) || sums_open(s))
		return not_brought(s, ret_why);
	if (stat(s->path, &st))
		return not_brought(s, ret_why);
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	store_clock_load(s);
	store_join_load(s);
	return 0;
}

static int open_once(struct store *s, char ret_why[256])
{
	const char *wrong;
	int r = make(s->path), e;

	if (r) {
		store_refuse(s, "%s: %s", s->path, strerror(-r));
		return -1;
	}
	wrong = begin(s);
	if (!wrong)
		return bring(s, ret_why);
	snprintf(ret_why, 256, "%s", wrong);
	if (!is_passing_yet(s->db))
		return 1;
	e = s->db ? sqlite3_system_errno(s->db) : 0;
	store_refuse(s, "%s: %s%s%s", s->path, ret_why, e ? ": " : "",
		     e ? strerror(e) : "");
	return -1;
}

/* Once: if the new one is of no use either it was not the file's fault, and each second
 * would make one more. */
static int begin_anew(struct store *s, char ret_why[256])
{
	int r = 1;

	drop(s);
	if (!s->new_fails)
		r = store_aside(s, ret_why) ? -1 : open_once(s, ret_why);
	s->new_fails = r == 1;
	if (r == 1)
		store_refuse(s, "%s: %s", s->path, ret_why);
	return r;
}

int store_open(struct store *s, const char *path)
{
	const char *is;
	char why[256];
	int r;

	s->path = path;
	is = store_has_lock(s) ? NULL : store_is_another(path);
	if (is)
		store_refuse(s, "%s is %s: it was not touched. Name another by "
			     "--store; if it is a store, make an empty %s.lock",
			     path, is, path);
	if (is || store_lock(s))
		return -1;
	r = open_once(s, why);
	if (r == 1)
		r = begin_anew(s, why);
	if (r) {
		drop(s);
		return -1;
	}
	if (*s->refused)
		say("%s: it can be opened again", path);
	*s->refused = '\0';
	s->doubted = s->new_fails = 0;
	return 0;
}

void store_close(struct store *s)
{
	drop(s);
	store_unlock(s);
}

/*
 * Its log stays under the name that it had, and whoever opens a new one under that takes
 * it away (or for its own): so all of it goes into the old one first. SQLite does
 * not do that for one that was moved. Where somebody reads and it cannot be, the old one
 * is good for a while longer.
 */
void store_look(struct store *s)
{
	static int said;
	struct stat st;

	if (!s->db)
		return;
	if (!stat(s->path, &st) && st.st_dev == s->dev &&
	    st.st_ino == s->ino) {
		/* without it that is another's, too */
		if (store_lock(s))
			drop(s);
		return;
	}
	/* the first time as long as for anything; who hangs then does not hold up all */
	if (said)
		sqlite3_busy_timeout(s->db, LATER_MS);
	if (sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE,
				      NULL, NULL)) {
		if (!said)
			say("%s HAS BEEN MOVED AWAY, and is used where it is "
			    "until its log can be closed: %s", s->path,
			    sqlite3_errmsg(s->db));
		said = 1;
		return;
	}
	said = 0;
	say("%s HAS BEEN MOVED AWAY, or is another file now: what was stored is "
	    "in the old one, and what is there now is used from here on",
	    s->path);
	drop(s);
	store_open(s, s->path);
}

/* ---------------------------------------------------------------- trouble */

static int troubled;			/* it was said */

void store_well(struct store *s)
{
	if (troubled)
		say("%s: there is room again", s->path);
	if (troubled)
		sqlite3_busy_timeout(s->db, PATIENCE_MS);
	troubled = 0;
}

enum store_answer store_trouble(struct store *s, int bad)
{
	char why[256] = "it could not be opened";
	int code = bad & 0xff;

	if (s->db) {
		snprintf(why, sizeof(why), "%s", sqlite3_errmsg(s->db));
		if (!sqlite3_get_autocommit(s->db))
			store_run(s, SQL_ROLLBACK);
	}
	if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB ||
	    code == SQLITE_READONLY || !s->db) {
		s->doubted |= code == SQLITE_CORRUPT;
		drop(s);
		/* what is there may be good by now, else it goes aside */
		return store_open(s, s->path) ? STORE_LATER : STORE_OK;
	}
	if (!troubled)
		say("%s: %s. Records are kept in memory as far as there is "
		    "room, then dropped and counted; it is tried again each "
		    "second", s->path, why);
	troubled = 1;
	sqlite3_busy_timeout(s->db, LATER_MS);
	return STORE_LATER;
}
