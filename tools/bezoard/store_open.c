/* SPDX-License-Identifier: MIT */
/*
 * Opening the store, and what is done with one that cannot be used: it is kept
 * aside under another name and a new one begun. What comes next is more than
 * what was, and what was may still be read by who has the tools.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "schema.h"
#include "store_in.h"

#define NAME_ROOM	4096
#define READERS		"bezoar"	/* group */
#define PATIENCE_MS	2000		/* with a reader that restores the log, */
#define LATER_MS	50		/* and where that was not enough */

/* What of a frame says that it is lost; and a huge page with it. */
#define LOST	"('poison', 'handled', 'killed', 'uncorrected')"
#define HUGE	"bez_huge"

static const char *const sqls[SQLS] = {
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",
	[SQL_RECORD] = "INSERT INTO records (digest, id, taken, wall_ns, pid, "
		"own_pid, uid, origin, comm, region, outcome, action, cause, "
		"raw, cgroup) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
		"ON CONFLICT (digest, id) DO NOTHING",
	[SQL_APART] = "INSERT INTO apart (digest, taken, pid, uid, origin, "
		"why, raw) VALUES (?,?,?,?,?,?,?) "
		"ON CONFLICT (digest, pid, why) DO NOTHING",
	[SQL_COUNT] = "INSERT INTO counts VALUES (?1, ?2) "
		"ON CONFLICT (name) DO UPDATE SET n = n + ?2",
	[SQL_META] = "INSERT OR REPLACE INTO meta VALUES (?, ?)",
	[SQL_SHIFT] = "UPDATE records SET taken = taken + ?",
	[SQL_SHIFT_APART] = "UPDATE apart SET taken = taken + ?",
	[SQL_SHIFT_KERNEL] = "UPDATE kernel SET taken = taken + ?1, "
		"wall_ns = wall_ns + ?1",
	[SQL_SHIFT_DEATHS] = "UPDATE deaths SET taken = taken + ?",
	[SQL_SHIFT_LOSS] = "UPDATE meta SET value = value + ? "
		"WHERE key = 'last loss'",
	[SQL_FILE_AT] = "SELECT at, torn FROM files WHERE name = ? AND dev = ? AND "
		"ino = ?",
	[SQL_FILE_NOTE] = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
	/* by the numbers, which are older the smaller they are */
	[SQL_KEEP_AGE] = "DELETE FROM records WHERE number < ifnull("
		"(SELECT number FROM records WHERE taken >= ? ORDER BY number "
		"LIMIT 1), 9223372036854775807)",
	[SQL_KEEP_AGE_KERNEL] = "DELETE FROM kernel WHERE number < ifnull("
		"(SELECT number FROM kernel WHERE taken >= ? ORDER BY number "
		"LIMIT 1), 9223372036854775807)",
	[SQL_KEEP_AGE_DEATHS] = "DELETE FROM deaths WHERE taken < ?",
	/* of the user who has most: nobody fills it with what is not others' loss */
	[SQL_KEEP_SIZE] = "DELETE FROM records WHERE number IN (SELECT number "
		"FROM records WHERE uid = (SELECT uid FROM records GROUP BY "
		"uid ORDER BY count(*) DESC LIMIT 1) ORDER BY number LIMIT "
		"(SELECT count(*) / 8 + 1 FROM records))",
	[SQL_KEEP_APART] = "DELETE FROM apart WHERE number <= "
		"(SELECT max(number) FROM apart) - ?",
	[SQL_KEEP_KERNEL] = "DELETE FROM kernel WHERE number <= "
		"(SELECT max(number) FROM kernel) - ?",
	[SQL_KEEP_DEATHS] = "DELETE FROM deaths WHERE number IN (SELECT number "
		"FROM deaths WHERE uid = (SELECT uid FROM deaths GROUP BY uid "
		"ORDER BY count(*) DESC LIMIT 1) ORDER BY number LIMIT "
		"max(0, (SELECT count(*) FROM deaths) - ?))",
	[SQL_KEEP_PLACES] = "DELETE FROM places WHERE NOT EXISTS "
		"(SELECT 1 FROM records WHERE number = record)",
	[SQL_OLDEST] = "SELECT t FROM (SELECT (SELECT taken FROM records ORDER "
		"BY number LIMIT 1) AS t UNION ALL SELECT (SELECT taken FROM "
		"kernel ORDER BY number LIMIT 1) UNION ALL SELECT (SELECT "
		"taken FROM deaths ORDER BY number LIMIT 1)) "
		"WHERE t NOT NULL ORDER BY t LIMIT 1",
	[SQL_USED] = "SELECT (page_count - freelist_count) * page_size FROM "
		"pragma_page_count, pragma_freelist_count, pragma_page_size",
	/* a sum that has no room for more stays where it is */
	[SQL_SUM] = "INSERT INTO meta VALUES (?1, ?2) "
		"ON CONFLICT (key) DO UPDATE SET value = "
		"iif(value > 9000000000000000000 - ?2, value, value + ?2)",
	[SQL_AGAIN] = "SELECT number FROM records WHERE digest = ? AND id = ?",
	/* the log is read again from its beginning by each daemon: what has gone
	 * from here before is not new */
	[SQL_KERNEL] = "INSERT INTO kernel (taken, boot_id, seq, wall_ns, kind, "
		"frame, dimm, pid, text) SELECT ?1,?2,?3,?4,?5,?6,?7,?8,?9 "
		"WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'kernel gone' "
		"AND substr(value, 1, 32) = hex(?2) "
		"AND CAST(substr(value, 34) AS INTEGER) >= ?3) "
		"ON CONFLICT (boot_id, seq) DO NOTHING",
	/* numbers near the end: what is joined comes soon, or not at all */
	[SQL_KILLED] = "SELECT wall_ns FROM kernel WHERE boot_id = ? "
		"AND kind = 'killed' ORDER BY wall_ns DESC LIMIT 1",
	/* a frame that is a sender's word names no module: one that the kernel has
	 * lost does, or one of a huge page that it says so of */
	[SQL_DIMM] = "SELECT k.dimm, k.frame FROM kernel k "
		"WHERE k.frame BETWEEN ?1 AND ?2 "
		"AND k.boot_id = ?3 AND k.dimm <> '' AND EXISTS (SELECT 1 FROM "
		"kernel l WHERE l.frame = k.frame AND l.boot_id = ?3 AND "
		"iif(k.frame = ?4, l.kind IN " LOST ", " HUGE "(l.text))) "
		"ORDER BY k.frame = ?4 DESC, k.number DESC LIMIT 1",
	[SQL_LOST] = "SELECT (SELECT dimm FROM kernel WHERE frame = ?1 AND "
		"boot_id = ?2 AND dimm <> '' ORDER BY number DESC LIMIT 1), "
		"max(" HUGE "(text)) FROM kernel WHERE frame = ?1 AND "
		"boot_id = ?2 AND kind IN " LOST,
	/* which frames, and whether a record of this process has it already */
	[SQL_FRAME] = "SELECT k.frame, EXISTS (SELECT 1 FROM places p "
		"JOIN records r ON r.number = p.record "
		"WHERE p.record > (SELECT max(record) FROM places) - 4096 "
		"AND p.frame = k.frame AND r.pid = ?4) FROM kernel k "
		"WHERE k.number > (SELECT max(number) FROM kernel) - 1024 "
		"AND k.kind = 'killed' AND k.frame >= 0 AND k.boot_id = ?1 "
		"AND k.pid IN (?4, ?5) AND k.wall_ns BETWEEN ?2 AND ?3 "
		"GROUP BY k.frame",
	[SQL_PLACE] = "INSERT OR IGNORE INTO places VALUES (?,?,?)",
	[SQL_PLACE_DIMM] = "UPDATE places SET dimm = ?1, frame = ?2 "
		"WHERE dimm = '' "
		"AND record > (SELECT max(record) FROM places) - 4096 "
		"AND EXISTS (SELECT 1 FROM records r WHERE r.number = record "
		"AND substr(r.raw, 49, 16) = ?3 "
		"AND (frame = ?2 OR (?4 AND frame / bez_pages(r.raw) = "
		"?2 / bez_pages(r.raw))))",
	[SQL_UNPLACED] = "SELECT number, pid, raw FROM records "
		"WHERE number > (SELECT max(number) FROM records) - 1024 "
		"AND cause IN (1, 2) AND (pid = ?2 OR (pid = own_pid AND "
		"bez_tid(raw) = ?2)) AND substr(raw, 49, 16) = ?1 "
		"AND bez_mono(raw) BETWEEN ?3 AND ?4 "
		"AND NOT EXISTS (SELECT 1 FROM places WHERE record = number) "
		"ORDER BY number LIMIT 16",
	[SQL_DEATH] = "INSERT INTO deaths (taken, boot_id, pid, start_ticks, "
		"uid, comm, status, told) VALUES (?,?,?,?,?,?,?,?)",
	[SQL_DEATH_TOLD] = "UPDATE deaths SET told = ?1 WHERE told = 0 "
		"AND boot_id = ?2 AND pid = ?3 AND start_ticks = ?4 "
		"AND (?5 = uid OR ?5 = 0)",
};

/* The last line of a boot that has gone: rows go in the order in which they came. */
static const char gone[] =
	"CREATE TEMP TRIGGER IF NOT EXISTS kernel_gone AFTER DELETE ON kernel "
	"WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'kernel gone' AND "
	"substr(value, 1, 32) = hex(old.boot_id) AND "
	"CAST(substr(value, 34) AS INTEGER) >= old.seq) "
	"BEGIN INSERT OR REPLACE INTO meta VALUES ('kernel gone', "
	"hex(old.boot_id) || ' ' || old.seq); END";

static void beside(char ret[NAME_ROOM], const char *path, const char *end)
{
	snprintf(ret, NAME_ROOM, "%s%s", path, end);
}

int store_aside(const char *path, const char *why)
{
	static const char *const ends[] = { "", "-wal" };
	struct journal j = { .id = JOURNAL_ASIDE, .priority = LOG_ERR };
	char from[NAME_ROOM], to[NAME_ROOM], when[64];
	time_t now = time(NULL);
	unsigned int i, n = 0;
	struct tm tm;

	memset(&tm, 0, sizeof(tm));
	gmtime_r(&now, &tm);
	strftime(when, 32, ".aside-%Y%m%dT%H%M%SZ", &tm);
	do {
		if (n)
			snprintf(when + strcspn(when, "Z"), 16, "Z-%u", n);
		beside(to, path, when);
	} while (!access(to, F_OK) && ++n < 1000);
	beside(from, path, "-shm");
	unlink(from);
	for (i = 0; i < 2; i++) {
		beside(from, path, ends[i]);
		snprintf(to, sizeof(to), "%s%s%s", path, when, ends[i]);
		if (rename(from, to) && (!i || errno != ENOENT)) {
			say("%s cannot be used (%s), and cannot be kept aside "
			    "either: %s. Make its folder writable, or name "
			    "another by --store", path, why, strerror(errno));
			return -1;
		}
	}
	journal_field(&j, "BEZOAR_STORE=%s", path);
	journal_field(&j, "BEZOAR_ASIDE=%s%s", path, when);
	journal_say(&j, "%s CANNOT BE USED: %s. It is kept as %s%s, and a new, "
		    "empty store was begun", path, why, path, when);
	return 0;
}

/* SQLite makes its log and index with the mode and group of the database. */
static int make(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	struct group *readers;

	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	readers = getgrnam(READERS);
	if (readers && fchown(fd, (uid_t)-1, readers->gr_gid))
		say("%s: group %s may not read it: %s", path, READERS,
		    strerror(errno));
	close(fd);
	return 0;
}

static int lock(struct store *s)
{
	char name[NAME_ROOM];

	if (s->lock >= 0)
		return 0;
	beside(name, s->path, ".lock");
	s->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (s->lock < 0) {
		say("%s: %s", name, strerror(errno));
		return -1;
	}
	if (flock(s->lock, LOCK_EX | LOCK_NB)) {
		say("%s: another bezoard writes to it", s->path);
		return -1;
	}
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
	    sqlite3_exec(s->db, "PRAGMA quick_check(1)", check_row, &ok, NULL))
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

/* It could not be made what it is to be: 1 or -1, as below. */
static int not_brought(const struct store *s, char ret_why[256])
{
	int code = sqlite3_errcode(s->db) & 0xff;

	snprintf(ret_why, 256, "%s", sqlite3_errmsg(s->db));
	/* no reason to throw it away */
	if (!is_passing(code))
		return 1;
	say("%s: %s", s->path, ret_why);
	return -1;
}

/* 0; 1: it is to be kept aside, *@ret_why; -1: said. */
static int bring(struct store *s, char ret_why[256])
{
	struct stat st;
	int from, i;

	switch (schema_bring(s->db, schema_steps, schema_version, &from)) {
	case SCHEMA_NEWER:
		say("%s is a store of version %d, and this bezoard knows %d: it "
		    "was not touched. Run a newer bezoard, or name another by "
		    "--store", s->path, from, schema_version);
		return -1;
	case SCHEMA_FOREIGN:
		say("%s is a database of something else: it was not touched. "
		    "Name another by --store", s->path);
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
		if (sqlite3_prepare_v3(s->db, sqls[i], -1,
				       SQLITE_PREPARE_PERSISTENT, &s->sql[i],
				       NULL))
			return not_brought(s, ret_why);
	if (sqlite3_exec(s->db, gone, NULL, NULL, NULL) || sums_open(s))
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
	int r = make(s->path), code;

	if (r) {
		say("%s: %s", s->path, strerror(-r));
		return -1;
	}
	wrong = begin(s);
	if (!wrong)
		return bring(s, ret_why);
	snprintf(ret_why, 256, "%s", wrong);
	code = s->db ? sqlite3_errcode(s->db) & 0xff : SQLITE_NOMEM;
	if (code != SQLITE_FULL && code != SQLITE_NOMEM && code != SQLITE_BUSY)
		return 1;
	say("%s: %s", s->path, ret_why);
	return -1;
}

int store_open(struct store *s, const char *path)
{
	char why[256];
	int r;

	s->path = path;
	if (lock(s))
		return -1;
	r = open_once(s, why);
	if (r == 1) {
		drop(s);
		r = store_aside(path, why) ? -1 : open_once(s, why);
		if (r == 1)
			say("%s: %s", path, why);
	}
	if (r)
		drop(s);
	return r ? -1 : 0;
}

void store_close(struct store *s)
{
	drop(s);
	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
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

	if (!s->db || (!stat(s->path, &st) && st.st_dev == s->dev &&
		       st.st_ino == s->ino))
		return;
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
