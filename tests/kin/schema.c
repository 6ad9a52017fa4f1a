/* SPDX-License-Identifier: MIT */
/* A store of any older version becomes one of the newest, whole or not at all. */
#include "schema.h"

#include <stdio.h>
#include <string.h>

#include "tap.h"

static const char *const steps[] = {
	("CREATE TABLE meta (key TEXT PRIMARY KEY, value);"
	 "CREATE TABLE a (n); INSERT INTO a VALUES (1)"),
	"ALTER TABLE a ADD COLUMN m; UPDATE a SET m = n + 1",
	"CREATE TABLE b AS SELECT m FROM a; INSERT INTO b VALUES (9)",
	"CREATE TABLE c (n); INSERT INTO nowhere VALUES (1)",
};

static sqlite3 *open_one(void)
{
	sqlite3 *db = NULL;

	CHECK_EQ(sqlite3_open(":memory:", &db), SQLITE_OK);
	return db;
}

static int ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s = NULL;
	int n = -1;

	if (!sqlite3_prepare_v2(db, sql, -1, &s, NULL) &&
	    sqlite3_step(s) == SQLITE_ROW)
		n = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	return n;
}

/* From each version to each newer one: as if it had been so from the beginning. */
static void forward(void)
{
	int from, to, was;

	for (from = 0; from <= 3; from++) {
		for (to = from ? from : 1; to <= 3; to++) {
			sqlite3 *db = open_one();

			if (from)
				CHECK_EQ(schema_bring(db, steps, from, &was),
					 SCHEMA_OK);
			CHECK_EQ(schema_bring(db, steps, to, &was), SCHEMA_OK);
			CHECK_EQ(was, from);
			CHECK_EQ(schema_of(db), to);
			CHECK_EQ(ask(db, "SELECT n FROM a"), 1);
			CHECK_EQ(ask(db, "SELECT m FROM a"), to > 1 ? 2 : -1);
			CHECK_EQ(ask(db, "SELECT sum(m) FROM b"),
				 to > 2 ? 11 : -1);
			sqlite3_close(db);
		}
	}
}

static void newer(void)
{
	sqlite3 *db = open_one();
	int was;

	CHECK_EQ(schema_bring(db, steps, 3, &was), SCHEMA_OK);
	CHECK_EQ(schema_bring(db, steps, 2, &was), SCHEMA_NEWER);
	CHECK_EQ(was, 3);
	CHECK_EQ(schema_of(db), 3);
	sqlite3_close(db);
}

/* The fourth step fails in its middle: not even the third is left. */
static void fails(void)
{
	sqlite3 *db = open_one();
	int was;

	CHECK_EQ(schema_bring(db, steps, 2, &was), SCHEMA_OK);
	CHECK_EQ(schema_bring(db, steps, 4, &was), SCHEMA_FAILED);
	CHECK_EQ(sqlite3_errcode(db), SQLITE_ERROR);
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	CHECK_EQ(schema_of(db), 2);
	CHECK_EQ(ask(db, "SELECT count(*) FROM b"), -1);
	CHECK_EQ(ask(db, "SELECT count(*) FROM c"), -1);
	CHECK_EQ(schema_bring(db, steps, 3, &was), SCHEMA_OK);
	sqlite3_close(db);
}

static void foreign(void)
{
	sqlite3 *db = open_one();
	int was;

	CHECK_EQ(sqlite3_exec(db, "CREATE TABLE x (n)", NULL, NULL, NULL), 0);
	CHECK_EQ(schema_bring(db, steps, 3, &was), SCHEMA_FOREIGN);
	CHECK_EQ(ask(db, "SELECT count(*) FROM sqlite_schema"), 1);
	sqlite3_close(db);
}

/* The real ones, as far as there are some. */
static void real(void)
{
	sqlite3 *db = open_one();
	int was;

	CHECK_EQ(schema_bring(db, schema_steps, schema_version, &was),
		 SCHEMA_OK);
	CHECK_EQ(schema_of(db), schema_version);
	CHECK_EQ(ask(db, "SELECT count(*) FROM records, apart, files, kernel, "
			 "deaths, places"), 0);
	sqlite3_close(db);
}

/* Of each real version with something in it: all of that is still there. */
static void kept(void)
{
	int from, was;

	CHECK(schema_version >= 2);
	for (from = 1; from < schema_version; from++) {
		sqlite3 *db = open_one();

		CHECK_EQ(schema_bring(db, schema_steps, from, &was), SCHEMA_OK);
		CHECK_EQ(sqlite3_exec(db, "INSERT INTO records VALUES "
			 "(7,1,2,3,4,5,6,7,0,'a','b',1,2,3,'raw');"
			 "INSERT INTO counts VALUES ('taken', 9);"
			 "INSERT INTO files VALUES ('f', 1, 2, 3, 4)", NULL,
			 NULL, NULL), SQLITE_OK);
		CHECK_EQ(schema_bring(db, schema_steps, schema_version, &was),
			 SCHEMA_OK);
		CHECK_EQ(was, from);
		CHECK_EQ(ask(db, "SELECT number FROM records WHERE raw = 'raw'"),
			 7);
		CHECK_EQ(ask(db, "SELECT n FROM counts"), 9);
		CHECK_EQ(ask(db, "SELECT at FROM files"), 3);
		CHECK_EQ(ask(db, "SELECT count(*) FROM kernel"), 0);
		CHECK_EQ(ask(db, "SELECT length(cgroup) FROM records"), 0);
		sqlite3_close(db);
	}
}

/* What the schema itself keeps from happening twice. */
static void once(void)
{
	static const char line[] = "INSERT INTO kernel (taken, boot_id, seq, "
		"wall_ns, kind, frame, dimm, pid, text) VALUES "
		"(1, x'01', 5, 1, 'poison', 1, '', 0, x'00')";
	sqlite3 *db = open_one();
	int was;

	CHECK_EQ(schema_bring(db, schema_steps, schema_version, &was),
		 SCHEMA_OK);
	CHECK_EQ(sqlite3_exec(db, line, NULL, NULL, NULL), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(db, line, NULL, NULL, NULL), SQLITE_CONSTRAINT);
	sqlite3_close(db);
}

static const struct tap_case cases[] = {
	{ .name = "from each version to each newer one", .run = forward },
	{ .name = "a newer one is left alone", .run = newer },
	{ .name = "a step that fails leaves nothing", .run = fails },
	{ .name = "a database of something else is left alone",
	  .run = foreign },
	{ .name = "the steps of this version", .run = real },
	{ .name = "what a store of an older version holds is kept",
	  .run = kept },
	{ .name = "a line of the kernel is there once", .run = once },
};
TAP_MAIN(cases)
