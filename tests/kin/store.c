/* SPDX-License-Identifier: MIT */
/* The store by itself, without a daemon around it, and with what this test says of the
 * clock and the machine. */
#define _GNU_SOURCE
#include "alone.h"
#include "store_in.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *const count_names[COUNTS] = {
	[COUNT_RETIRED] = "retired",
	[COUNT_FORGED] = "forged",
	[COUNT_APART_RETIRED] = "apart retired",
	[COUNT_TAKEN] = "taken",
	[COUNT_KERNEL] = "kernel lines",
	[COUNT_DEATHS] = "deaths",
	[COUNT_UNTOLD] = "deaths without a word",
};

static time_t ahead;			/* s: the clocks of this test, of the others */
static char said[8192];

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	int bad = __real_clock_gettime(clock, ts);

	ts->tv_sec += ahead;
	return bad;
}

static long page;			/* of this machine; 0: as it is */

long __real_sysconf(int name);
long __wrap_sysconf(int name);

long __wrap_sysconf(int name)
{
	return name == _SC_PAGESIZE && page ? page : __real_sysconf(name);
}

static int broken;			/* SQLite can do nothing */

int __real_sqlite3_exec(sqlite3 *db, const char *sql,
			int (*each)(void *, int, char **, char **), void *data,
			char **ret_why);
int __wrap_sqlite3_exec(sqlite3 *db, const char *sql,
			int (*each)(void *, int, char **, char **), void *data,
			char **ret_why);

int __wrap_sqlite3_exec(sqlite3 *db, const char *sql,
			int (*each)(void *, int, char **, char **), void *data,
			char **ret_why)
{
	return broken ? SQLITE_IOERR :
			__real_sqlite3_exec(db, sql, each, data, ret_why);
}

void say(const char *fmt, ...)
{
	size_t len = strlen(said);
	va_list args;

	va_start(args, fmt);
	vsnprintf(said + len, sizeof(said) - len - 1, fmt, args);
	va_end(args);
	tap_diag("%s", said + len);
	strcat(said + len, "\n");
}

/* How often that was said. */
static int times(const char *words)
{
	const char *at = said;
	int n;

	for (n = 0; (at = strstr(at, words)); n++)
		at += strlen(words);
	return n;
}

static int ask(const char *sql)
{
	return alone_ask(sql, -1);
}

/* ------------------------------------------------------- one that is not there */

static void tries(int count)
{
	for (; count; count--, ahead++)
		CHECK_EQ(store_put(&alone, NULL, 0), STORE_LATER);
}

static void found_again(void)
{
	CHECK_EQ(store_put(&alone, NULL, 0), STORE_OK);
	CHECK_EQ(store_put(&alone, NULL, 0), STORE_OK);
}

/* It is tried each second, and said when there is something to be said. */
static void unopenable(void)
{
	static const char gone[] = "/store: there is no such folder. ",
			  other[] = "/store.lock: Not a directory\n",
			  again[] = "/store: it can be opened again\n";
	char away[64];
	int fd;

	alone_begin();
	snprintf(away, sizeof(away), "%s/away", alone_folder);
	CHECK_EQ(rename(alone_sub, away), 0);
	tries(50);
	CHECK_EQ(times(gone), 1);
	tries(50);
	CHECK_EQ(times(gone), 2);
	/* another reason, and the first once more */
	fd = open(alone_sub, O_WRONLY | O_CREAT | O_EXCL, 0600);
	CHECK(fd >= 0);
	tries(5);
	CHECK_EQ(times(other), 1);
	CHECK_EQ(unlink(alone_sub), 0);
	tries(5);
	CHECK_EQ(times(gone), 3);
	CHECK_EQ(times(again), 0);
	CHECK_EQ(rename(away, alone_sub), 0);
	found_again();
	CHECK_EQ(times(again), 1);
	/* that is over: another time is another one */
	CHECK_EQ(rename(alone_sub, away), 0);
	tries(5);
	CHECK_EQ(times(gone), 4);
	CHECK_EQ(rename(away, alone_sub), 0);
	found_again();
	CHECK_EQ(times(again), 2);
	/* twice that it was moved away, and nothing else at all */
	CHECK_EQ(times("HAS BEEN MOVED AWAY"), 2);
	CHECK_EQ(times("\n"), 4 + 1 + 2 + 2);
	close(fd);
	alone_end();
}

/* Nor can a new one be used: it is not begun again and again. */
static void useless(void)
{
	alone_begin();
	CHECK_EQ(unlink(alone_path), 0);
	broken = 1;
	tries(10);
	CHECK_EQ(times("CANNOT BE USED"), 1);
	broken = 0;
	found_again();
	CHECK_EQ(times("it can be opened again"), 1);
	/* another time, which has nothing to do with that one */
	CHECK_EQ(unlink(alone_path), 0);
	broken = 1;
	tries(10);
	CHECK_EQ(times("CANNOT BE USED"), 2);
	broken = 0;
	found_again();
	alone_end();
}

/* ----------------------------------------------------------------------- pages */

static int pages_of(uint64_t width)
{
	struct bez_record r;
	sqlite3_stmt *q = NULL;
	int n;

	memset(&r, 0, sizeof(r));
	r.width = width;
	CHECK_EQ(sqlite3_prepare_v2(alone.db, "SELECT bez_pages(?)", -1, &q,
				    NULL), SQLITE_OK);
	sqlite3_bind_blob(q, 1, &r, sizeof(r), SQLITE_STATIC);
	CHECK_EQ(sqlite3_step(q), SQLITE_ROW);
	n = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	return n;
}

/* How many a record is of, on a machine whose pages are larger. */
static void large_pages(void)
{
	alone_begin();
	page = 65536;
	CHECK_EQ(pages_of(1), 1);
	CHECK_EQ(pages_of(65536), 1);
	CHECK_EQ(pages_of(2 << 20), 32);
	page = 4096;
	CHECK_EQ(pages_of(65536), 16);
	page = 0;
	alone_end();
}

/* ------------------------------------------------------------------ kept apart */

#define APART "SELECT count(*) FROM apart"

/* So many of user @uid, of the digests from @from on: none of them is believed. */
static void forge(uint32_t uid, uint64_t from, size_t count)
{
	static struct item items[512];
	size_t i, n = 0;

	for (i = 0; i < count; i++) {
		struct item *item = &items[n++];
		uint64_t digest = from + i;

		*item = (struct item){
			.kind = ITEM_FORGED, .pid = 1, .uid = uid,
			.client = CLIENT_NONE, .bytes = BEZ_RECORD_BYTES,
		};
		memcpy(item->raw + item->bytes - ITEM_DIGEST, &digest,
		       ITEM_DIGEST);
		if (n < 512 && i < count - 1)
			continue;
		CHECK_EQ(store_put(&alone, items, n), STORE_OK);
		n = 0;
	}
}

/* Who sends any number of bad ones loses his own. */
static void by_user(void)
{
	alone_begin();
	forge(4711, 1, 10);
	forge(1000, 10000, STORE_APART_MOST + 600);
	CHECK_EQ(ask(APART), STORE_APART_MOST);
	CHECK_EQ(ask(APART " WHERE uid = 4711"), 10);
	CHECK_EQ(ask("SELECT min(digest) FROM apart WHERE uid = 1000"),
		 10000 + 600 + 10);
	CHECK_EQ(ask("SELECT n FROM counts WHERE name = 'apart retired'"), 610);
	alone_end();
}

/* Somebody is many users, who have two each: another one has as much as these. */
static void many_users(void)
{
	static const char two_each[] = "WITH RECURSIVE n(i) AS (SELECT 0 UNION "
		"ALL SELECT i + 1 FROM n WHERE i < 4095) INSERT INTO apart "
		"(digest, taken, pid, uid, origin, why, raw) SELECT i, 1, 1, "
		"10000 + i / 2, 0, 'forged', x'00' FROM n";

	alone_begin();
	alone_run(two_each);
	forge(4711, 10000, 300);
	CHECK_EQ(ask(APART), STORE_APART_MOST);
	CHECK_EQ(ask(APART " WHERE uid = 4711"), 2);
	CHECK_EQ(ask("SELECT count(DISTINCT uid) FROM apart"), 2049);
	alone_end();
}

/* A store that may take little is not all full of it. */
static void small(void)
{
	uint64_t next;

	alone_begin();
	forge(1000, 1, 1000);
	alone.max_bytes = 1 << 20;
	CHECK_EQ(store_keep(&alone, &next), STORE_OK);
	CHECK_EQ(ask(APART), 128);
	CHECK_EQ(ask("SELECT n FROM counts WHERE name = 'apart retired'"),
		 1000 - 128);
	alone_end();
}

/* Without descriptors for all of its files it is not opened, and nothing is wrong with it. */
static void no_descriptors(void)
{
	struct rlimit all, some;
	int r;

	alone_begin();
	forge(1000, 1, 3);
	store_close(&alone);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &all), 0);
	some = all;
	for (some.rlim_cur = 3; some.rlim_cur < 64; some.rlim_cur++) {
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &some), 0);
		r = store_open(&alone, alone_path);
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &all), 0);
		if (!r)
			break;
	}
	CHECK(some.rlim_cur > 5);
	CHECK_EQ(times("CANNOT BE USED"), 0);
	CHECK_EQ(ask(APART), 3);
	alone_end();
}

/* Too large, and somebody is many users, who have two records each: who has more than they
 * keeps as many. */
static void large(void)
{
	static const char rows[] = "WITH RECURSIVE n(i) AS (SELECT 0 UNION "
		"ALL SELECT i + 1 FROM n WHERE i < 5999) INSERT INTO records "
		"SELECT NULL, i, i, 1, 1, 1, 1, iif(i < 5700, 10000 + i / 2, "
		"4711), 0, x'00', x'00', 1, 1, 1, zeroblob(384), '' FROM n";
	uint64_t next;

	alone_begin();
	alone_run(rows);
	alone.max_bytes = 2 << 20;
	CHECK_EQ(store_keep(&alone, &next), STORE_OK);
	CHECK(ask("SELECT count(*) FROM records") < 5700);
	CHECK_EQ(ask("SELECT count(*) FROM records WHERE uid = 4711"),
		 ask("SELECT max(n) FROM (SELECT count(*) AS n FROM records "
		     "GROUP BY uid)"));
	alone_end();
}

/* ---------------------------------------------------------------------- deaths */

static void die(uint32_t uid, int count)
{
	static struct item items[512];
	int n = 0;

	while (count--) {
		items[n++] = (struct item){
			.kind = ITEM_DEATH, .pid = 1, .uid = uid,
			.client = CLIENT_NONE, .bytes = 1, .raw = "x",
		};
		if (n < 512 && count)
			continue;
		CHECK_EQ(store_put(&alone, items, (size_t)n), STORE_OK);
		n = 0;
	}
}

/* Whoever dies again and again takes no place of another's. */
static void deaths(void)
{
	alone_begin();
	die(4711, 3);
	die(1000, STORE_DEATHS_MOST + 100);
	CHECK_EQ(ask("SELECT count(*) FROM deaths"), STORE_DEATHS_MOST);
	CHECK_EQ(ask("SELECT count(*) FROM deaths WHERE uid = 4711"), 3);
	CHECK_EQ(ask("SELECT min(number) FROM deaths WHERE uid = 1000"),
		 3 + 100 + 3 + 1);
	alone_end();
}

/* ------------------------------------------------------------------ huge pages */

static void say_of(uint64_t seq, int64_t frame, const char *kind,
		   const char *dimm, const char *text)
{
	struct item item = {
		.kind = ITEM_KERNEL, .client = CLIENT_NONE,
		.bytes = (uint16_t)strlen(text),
		.more.kernel = { .seq = seq, .wall_ns = 1, .frame = frame,
				 .kind = kind },
	};

	strcpy(item.more.kernel.dimm, dimm);
	memcpy(item.raw, text, item.bytes);
	CHECK_EQ(store_put(&alone, &item, 1), STORE_OK);
}

/* A record of 2 MiB, from the frame 0x800 on. */
static void lose_huge(uint64_t id)
{
	struct item item = { .kind = ITEM_RECORD, .pid = 1,
			     .client = CLIENT_NONE };
	struct bez_record r = { .version = BEZ_RECORD_VERSION, .id = id,
				.digest = id, .frame = 0x800, .width = 2 << 20,
				.flags = BEZ_RECORD_HAS_FRAME };

	memcpy(r.boot_id, alone.boot, sizeof(r.boot_id));
	item.bytes = sizeof(r);
	memcpy(item.raw, &r, sizeof(r));
	CHECK_EQ(store_put(&alone, &item, 1), STORE_OK);
}

/* The kernel has lost it by a page in its middle, and has said so before; also where the
 * daemon was begun since. */
static void huge(void)
{
	static const char placed[] = "SELECT count(*) FROM places WHERE "
		"frame = 2559 AND dimm = 'C1'";

	alone_begin();
	say_of(1, 0x9ff, "uncorrected", "C1", "x");
	lose_huge(1);
	CHECK_EQ(ask(placed), 0);
	say_of(2, 0x9ff, "handled", "", "Memory failure: 0x9ff: recovery action "
	       "for huge page: Recovered");
	CHECK_EQ(ask(placed), 1);
	lose_huge(2);
	CHECK_EQ(ask(placed), 2);
	store_close(&alone);
	CHECK_EQ(store_open(&alone, alone_path), 0);
	lose_huge(3);
	CHECK_EQ(ask(placed), 3);
	alone_end();
}

/* ---------------------------------------------------------------------- damage */

/* An index has lost a row, which no look at the pages shows; SQLite meets it when that is
 * to go. Each second the same would come of it, and nothing would ever go. */
static void index_lost(void)
{
	static const char rows[] = "SELECT count(*) FROM records NOT INDEXED";
	uint64_t next;

	alone_begin();
	alone_run("INSERT INTO records SELECT NULL, 1, 1, 1, 1, 1, 1, 1, 0, "
		  "x'00', x'00', 1, 1, 1, zeroblob(384), ''");
	alone_run("DROP INDEX records_wall; CREATE INDEX records_wall ON "
		  "records (wall_ns) WHERE number > 1; "
		  "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = "
		  "'CREATE INDEX records_wall ON records (wall_ns)' "
		  "WHERE name = 'records_wall'");
	store_close(&alone);
	CHECK_EQ(store_open(&alone, alone_path), 0);
	CHECK_EQ(ask(rows), 1);
	CHECK_EQ(times("CANNOT BE USED"), 0);
	alone.max_age_ns = 1;
	store_keep(&alone, &next);
	CHECK_EQ(times("CANNOT BE USED"), 1);
	CHECK_EQ(store_keep(&alone, &next), STORE_OK);
	CHECK_EQ(ask(rows), 0);
	alone_end();
}

/* ------------------------------------------------------------------ what goes */

/* It is what one statement says, that would put all records in order. */
static void to_the_row(void)
{
	static const char rows[] = "DELETE FROM records; INSERT INTO records "
		"SELECT NULL, %d, i, 1, 1, 1, 1, abs(random() %% %d * %s), "
		"0, x'00', x'00', 1, 1, 1, x'00', '' "
		"FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
		"FROM n WHERE i < %d) SELECT i FROM n)",
		want[] = "DROP TABLE IF EXISTS want; CREATE TEMP TABLE want AS "
		"SELECT number FROM (SELECT number, row_number() OVER "
		"(PARTITION BY uid ORDER BY number DESC) AS nth FROM records) "
		"ORDER BY nth DESC, number LIMIT "
		"(SELECT count(*) / 8 + 1 FROM records)";
	uint64_t gone;
	char sql[512];
	int round;

	alone_begin();
	for (round = 1; round < 60; round++) {
		/* one has more than others; and all have about as many */
		snprintf(sql, sizeof(sql), rows, round, 1 + round, round & 1 ?
			 "(random() % 3)" : "1", round * round / 4 + 1);
		alone_run(sql);
		alone_run(want);
		gone = 0;
		CHECK_EQ(store_keep_size(&alone, &gone), 0);
		CHECK(gone > 0);
		CHECK_EQ(ask("SELECT count(*) FROM want"), gone);
		CHECK_EQ(ask("SELECT count(*) FROM want JOIN records USING "
			     "(number)"), 0);
	}
	alone_run("DELETE FROM records");
	gone = 0;
	CHECK_EQ(store_keep_size(&alone, &gone), 0);
	CHECK_EQ(gone, 0);
	alone_end();
}

/* And that takes no room for each record. */
static void in_little_room(void)
{
	static const char many[] = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
		"SELECT i + 1 FROM n WHERE i < 100000) INSERT INTO records "
		"SELECT NULL, i, i, 1, 1, 1, 1, i % 7, 0, x'00', x'00', 1, 1, "
		"1, x'00', '' FROM n";
	sqlite3_int64 before;
	uint64_t gone = 0;

	alone_begin();
	alone_run(many);
	before = sqlite3_memory_used();
	sqlite3_memory_highwater(1);
	CHECK_EQ(store_keep_size(&alone, &gone), 0);
	CHECK_EQ(gone, 12501);
	CHECKF(sqlite3_memory_highwater(0) - before < 1 << 20, "%lld bytes",
	       (long long)(sqlite3_memory_highwater(0) - before));
	alone_end();
}

static const struct tap_case cases[] = {
	{ .name = "no descriptors for it", .run = no_descriptors },
	{ .name = "one that is too large, of many users", .run = large },
	{ .name = "one that cannot be opened is said so once",
	  .run = unopenable },
	{ .name = "nor a new one in its place", .run = useless },
	{ .name = "pages that are larger", .run = large_pages },
	{ .name = "what is kept apart goes by who has most", .run = by_user },
	{ .name = "be it many users", .run = many_users },
	{ .name = "and is no more than a part of all", .run = small },
	{ .name = "what goes by size, to the row", .run = to_the_row },
	{ .name = "what goes by size, in little room", .run = in_little_room },
	{ .name = "deaths go by who has most", .run = deaths },
	{ .name = "an index that has lost a row", .run = index_lost },
	{ .name = "a huge page, by what was said before", .run = huge },
};
TAP_MAIN(cases)
