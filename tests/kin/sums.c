/* SPDX-License-Identifier: MIT */
/* What is counted of memory modules and deaths, which others write: in whatever way
 * and order they do. */
#include "sums.h"

#include <stdarg.h>
#include <stdio.h>

#include "alone.h"

#define TABLES								\
	"CREATE TABLE IF NOT EXISTS deaths (number INTEGER PRIMARY KEY "	\
	"AUTOINCREMENT, taken INTEGER NOT NULL, boot_id BLOB NOT NULL, "	\
	"pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, "			\
	"uid INTEGER NOT NULL, comm BLOB NOT NULL, status INTEGER NOT NULL, "	\
	"told INTEGER NOT NULL);"						\
	"CREATE TABLE IF NOT EXISTS places (record INTEGER PRIMARY KEY, "	\
	"frame INTEGER NOT NULL, dimm TEXT NOT NULL)"

const char *const count_names[COUNTS];

void say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

static void run(const char *sql)
{
	alone_run(sql);
}

static int sum(const char *key)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT value FROM meta WHERE key = '%s'",
		 key);
	return alone_ask(sql, 0);
}

/* Row @number of the table records: of boot @boot. */
static void record(int number, int boot)
{
	char sql[1024];

	snprintf(sql, sizeof(sql), "INSERT INTO records (number, digest, id, "
		 "taken, wall_ns, pid, own_pid, uid, origin, comm, region, "
		 "outcome, action, cause, raw) VALUES (%d, %d, 1, 0, 0, 1, 1, 0, "
		 "0, '', '', 1, 1, 1, x'%096d%032d%0640d')",
		 number, number, 0, boot, 0);
	run(sql);
}

static void again(void)
{
	store_close(&alone);
	CHECK_EQ(store_open(&alone, alone_path), 0);
}

static void begin(void)
{
	alone_begin();
	run(TABLES);
	again();
}

static void modules(void)
{
	int i;

	begin();
	for (i = 1; i <= 6; i++)
		record(i, i == 6);
	run("INSERT INTO places VALUES (1, 100, 'A')");
	CHECK_EQ(sum("sum dimm A"), 1);
	/* the same page is met again, and another, and one that nobody knows */
	run("INSERT OR IGNORE INTO places VALUES (2, 100, 'A')");
	CHECK_EQ(sum("sum dimm A"), 1);
	run("INSERT OR REPLACE INTO places VALUES (3, 101, 'A')");
	CHECK_EQ(sum("sum dimm A"), 2);
	run("INSERT INTO places VALUES (4, 102, '')");
	CHECK_EQ(sum("sum dimm "), 0);
	/* which becomes known, in each of the two ways; and again */
	run("INSERT INTO places VALUES (4, 102, 'B') ON CONFLICT (record) DO "
	    "UPDATE SET dimm = excluded.dimm");
	CHECK_EQ(sum("sum dimm B"), 1);
	run("UPDATE places SET dimm = 'B' WHERE record = 4");
	CHECK_EQ(sum("sum dimm B"), 1);
	run("INSERT INTO places VALUES (5, 103, '')");
	run("UPDATE places SET dimm = 'B' WHERE record = 5");
	CHECK_EQ(sum("sum dimm B"), 2);
	/* the same page, after another boot: lost again */
	run("INSERT INTO places VALUES (6, 100, 'A')");
	CHECK_EQ(sum("sum dimm A"), 3);
	/* rows go */
	run("DELETE FROM places; DELETE FROM records");
	CHECK_EQ(sum("sum dimm A"), 3);
	/* what is rolled back was not counted */
	run("BEGIN; INSERT INTO places VALUES (9, 300, 'A'); ROLLBACK");
	CHECK_EQ(sum("sum dimm A"), 3);
	again();
	CHECK_EQ(sum("sum dimm A"), 3);
	CHECK_EQ(sum("sum dimm B"), 2);
	alone_end();
}

static void deaths(void)
{
	begin();
	run("INSERT INTO deaths (taken, boot_id, pid, start_ticks, uid, comm, "
	    "status, told) VALUES (1, x'', 1, 1, 0, 'x', 135, 0), "
	    "(1, x'', 2, 1, 0, 'x', 135, 5)");
	run("INSERT OR IGNORE INTO deaths (taken, boot_id, pid, start_ticks, "
	    "uid, comm, status, told) VALUES (1, x'', 3, 1, 0, 'x', 7, 12)");
	CHECK_EQ(sum("sum deaths no"), 1);
	CHECK_EQ(sum("sum deaths yes"), 2);
	run("DELETE FROM deaths");
	CHECK_EQ(sum("sum deaths yes"), 2);
	alone_end();
}

/* Both were written when nobody counted. */
static void before(void)
{
	begin();
	run("INSERT INTO places VALUES (1, 100, 'A'), (2, 100, 'A'), "
	    "(3, 101, 'A'), (4, 102, '');"
	    "INSERT INTO deaths (taken, boot_id, pid, start_ticks, uid, comm, "
	    "status, told) VALUES (1, x'', 1, 1, 0, 'x', 135, 0)");
	run("DELETE FROM meta WHERE key GLOB 'sum*'");
	again();
	CHECK_EQ(sum("sum dimm A"), 2);
	CHECK_EQ(sum("sum deaths no"), 1);
	CHECK_EQ(sum("sum deaths yes"), 0);
	alone_end();
}

static const struct tap_case cases[] = {
	{ .name = "a page of a module is lost once in a boot", .run = modules },
	{ .name = "deaths, told and not", .run = deaths },
	{ .name = "what was there before is counted", .run = before },
};
TAP_MAIN(cases)
