/* SPDX-License-Identifier: MIT */
/* The store by itself, without a daemon around it, and with what this test says of the
 * clock and the machine. */
#define _GNU_SOURCE
#include "store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"

const char *const count_names[COUNTS] = {
	[COUNT_FORGED] = "forged",
	[COUNT_APART_RETIRED] = "apart retired",
};
static struct store s = { .lock = -1 };
static char folder[] = "/tmp/bezoar-store-XXXXXX", sub[64], path[80];

void say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

static void begin(void)
{
	CHECK(mkdtemp(folder));
	snprintf(sub, sizeof(sub), "%s/sub", folder);
	snprintf(path, sizeof(path), "%s/store", sub);
	CHECK_EQ(mkdir(sub, 0755), 0);
	CHECK_EQ(store_open(&s, path), 0);
}

static void end(void)
{
	char line[64];

	store_close(&s);
	snprintf(line, sizeof(line), "rm -rf %s", folder);
	CHECK_EQ(system(line), 0);
}

static int ask(const char *sql)
{
	sqlite3_stmt *q = NULL;
	int n = -1;

	CHECKF(!sqlite3_prepare_v2(s.db, sql, -1, &q, NULL), "%s: %s", sql,
	       sqlite3_errmsg(s.db));
	if (sqlite3_step(q) == SQLITE_ROW)
		n = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	return n;
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
		CHECK_EQ(store_put(&s, items, n), STORE_OK);
		n = 0;
	}
}

/* Who sends any number of bad ones loses his own. */
static void by_user(void)
{
	begin();
	forge(4711, 1, 10);
	forge(1000, 10000, STORE_APART_MOST + 600);
	CHECK_EQ(ask(APART), STORE_APART_MOST);
	CHECK_EQ(ask(APART " WHERE uid = 4711"), 10);
	CHECK_EQ(ask("SELECT min(digest) FROM apart WHERE uid = 1000"),
		 10000 + 600 + 10);
	CHECK_EQ(ask("SELECT n FROM counts WHERE name = 'apart retired'"), 610);
	end();
}

/* Somebody is many users, who have two each: another one has as much as these. */
static void many_users(void)
{
	static const char two_each[] = "WITH RECURSIVE n(i) AS (SELECT 0 UNION "
		"ALL SELECT i + 1 FROM n WHERE i < 4095) INSERT INTO apart "
		"(digest, taken, pid, uid, origin, why, raw) SELECT i, 1, 1, "
		"10000 + i / 2, 0, 'forged', x'00' FROM n";

	begin();
	CHECK_EQ(sqlite3_exec(s.db, two_each, NULL, NULL, NULL), SQLITE_OK);
	forge(4711, 10000, 300);
	CHECK_EQ(ask(APART), STORE_APART_MOST);
	CHECK_EQ(ask(APART " WHERE uid = 4711"), 2);
	CHECK_EQ(ask("SELECT count(DISTINCT uid) FROM apart"), 2049);
	end();
}

/* A store that may take little is not all full of it. */
static void small(void)
{
	uint64_t next;

	begin();
	forge(1000, 1, 1000);
	s.max_bytes = 1 << 20;
	CHECK_EQ(store_keep(&s, &next), STORE_OK);
	CHECK_EQ(ask(APART), 128);
	CHECK_EQ(ask("SELECT n FROM counts WHERE name = 'apart retired'"),
		 1000 - 128);
	end();
}

static const struct tap_case cases[] = {
	{ .name = "what is kept apart goes by who has most", .run = by_user },
	{ .name = "be it many users", .run = many_users },
	{ .name = "and is no more than a part of all", .run = small },
};
TAP_MAIN(cases)
