/* SPDX-License-Identifier: MIT */
#include "sums.h"

#include <bezoar/bezoar.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_in.h"

const struct sums_limit sums_limits[SUMS_LIMITS] = {
	{ 2000, "2e-06" },	{ 5000, "5e-06" },	{ 10000, "1e-05" },
	{ 20000, "2e-05" },	{ 50000, "5e-05" },	{ 100000, "0.0001" },
	{ 200000, "0.0002" },	{ 500000, "0.0005" },	{ 1000000, "0.001" },
	{ 10000000, "0.01" },	{ 100000000, "0.1" },	{ 1000000000, "1" },
};

static const char *const contents[SUMS_CONTENTS] = {
	[SUMS_RESTORED] = "restored", [SUMS_GONE] = "gone",
};

static unsigned int known(unsigned int number, unsigned int most,
			  const char *name)
{
	return number < most - 1 && strcmp(name, "unknown") ? number : most - 1;
}

/* -1: no memory was lost, or another record is about it. */
static int content(const struct bez_record *r)
{
	switch (r->cause) {
	case BEZ_CAUSE_SENT:
	case BEZ_CAUSE_SEGV:
	case BEZ_CAUSE_CUT:
	case BEZ_CAUSE_UNREADABLE:
		return -1;
	default:
		break;
	}
	switch (r->outcome) {
	case BEZ_OUTCOME_REPLACED:
		return SUMS_RESTORED;
	case BEZ_OUTCOME_COPY_SHORT:
	case BEZ_OUTCOME_UNWOUND:
	case BEZ_OUTCOME_RELAYED:
	case BEZ_OUTCOME_SHUTDOWN_BEGUN:
	case BEZ_OUTCOME_DEFAULT:
	case BEZ_OUTCOME_DEGRADED:
		return SUMS_GONE;
	case BEZ_OUTCOME_LEFT:
		/* what could not be closed is as it was */
		return r->cause == BEZ_CAUSE_SAID ? -1 : SUMS_GONE;
	default:
		return -1;
	}
}

/* A fault after which the thread went on; a notice has interrupted nobody. */
static int has_resumed(const struct bez_record *r)
{
	if (r->cause == BEZ_CAUSE_POISON_AO || r->cause == BEZ_CAUSE_SAID)
		return 0;
	return r->outcome == BEZ_OUTCOME_REPLACED ||
	       r->outcome == BEZ_OUTCOME_ALREADY_GOOD ||
	       r->outcome == BEZ_OUTCOME_WAITED ||
	       r->outcome == BEZ_OUTCOME_UNWOUND ||
	       r->outcome == BEZ_OUTCOME_RELAYED ||
	       r->outcome == BEZ_OUTCOME_COPY_SHORT;
}

static uint64_t at_most(uint64_t n, uint64_t most)
{
	return n < most ? n : most;
}

void sums_add(struct sums *sums, const struct bez_record *r, int64_t taken)
{
	unsigned int outcome, cause, i;
	int what = content(r);

	outcome = known(r->outcome, SUMS_OUTCOMES, bez_outcome_name(r->outcome));
	cause = known(r->cause, SUMS_CAUSES, bez_cause_name(r->cause));
	sums->records[outcome][cause]++;
	if (what >= 0) {
		sums->lost_ns = taken;
		sums->losses[what]++;
		sums->bytes[what] += at_most(r->width, SUMS_MOST_BYTES);
	}
	if (!has_resumed(r))
		return;
	for (i = 0; i < SUMS_LIMITS && r->took_ns > sums_limits[i].ns; i++)
		;
	sums->took[i]++;
	sums->took_ns += at_most(r->took_ns, SUMS_MOST_NS);
}

static int put(struct store *s, const char *key, uint64_t n)
{
	if (!n)
		return SQLITE_OK;
	sqlite3_bind_text(s->sql[SQL_SUM], 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s->sql[SQL_SUM], 2, (int64_t)n);
	return store_run(s, SQL_SUM);
}

static int put_last(struct store *s, int64_t lost_ns)
{
	if (!lost_ns)
		return SQLITE_OK;
	sqlite3_bind_text(s->sql[SQL_META], 1, "last loss", -1, SQLITE_STATIC);
	sqlite3_bind_int64(s->sql[SQL_META], 2, lost_ns);
	return store_run(s, SQL_META);
}

static int put_records(struct store *s, const struct sums *sums)
{
	unsigned int o, c;
	char key[64], outcome[16], cause[16];
	int bad = SQLITE_OK;

	for (o = 0; o < SUMS_OUTCOMES; o++)
		for (c = 0; c < SUMS_CAUSES && !bad; c++) {
			if (!sums->records[o][c])
				continue;
			snprintf(outcome, sizeof(outcome), "O%u", o);
			snprintf(cause, sizeof(cause), "C%u", c);
			snprintf(key, sizeof(key), "sum records %s %s",
				 o < SUMS_OUTCOMES - 1 ? outcome : "other",
				 c < SUMS_CAUSES - 1 ? cause : "other");
			bad = put(s, key, sums->records[o][c]);
		}
	return bad;
}

int sums_put(struct store *s, const struct sums *sums)
{
	int bad = put_records(s, sums), i;
	char key[64];

	for (i = 0; i < SUMS_CONTENTS && !bad; i++) {
		snprintf(key, sizeof(key), "sum losses %s", contents[i]);
		bad = put(s, key, sums->losses[i]);
		snprintf(key, sizeof(key), "sum bytes %s", contents[i]);
		if (!bad)
			bad = put(s, key, sums->bytes[i]);
	}
	for (i = 0; i < SUMS_LIMITS && !bad; i++) {
		snprintf(key, sizeof(key), "sum took %llu",
			 (unsigned long long)sums_limits[i].ns);
		bad = put(s, key, sums->took[i]);
	}
	if (!bad)
		bad = put_last(s, sums->lost_ns);
	if (!bad)
		bad = put(s, "sum took more", sums->took[SUMS_LIMITS]);
	return bad ? bad : put(s, "sum took ns", sums->took_ns);
}

/* ------------------------------------------------- what others put there */

#define ONE_MORE(key)							\
	"INSERT INTO meta SELECT " key ", 0 WHERE NOT EXISTS "		\
	"(SELECT 1 FROM meta WHERE meta.key = " key "); "		\
	"UPDATE meta SET value = value + 1 WHERE meta.key = " key "; "
#define BOOT(number) "substr((SELECT raw FROM records AS r WHERE "	\
	"r.number = " number "), 49, 16)"
/* A page that stays lost is met again and again, but was lost once in a boot. There are
 * few: each is of the kernel's word. */
#define KNOWN_AS BOOT("new.record") ", new.frame, new.dimm"
#define PLACED								\
	"new.dimm <> '' AND NOT EXISTS (SELECT 1 FROM temp.sum_known AS p "	\
	"WHERE p.boot = " BOOT("new.record") " AND p.frame = new.frame "	\
	"AND p.dimm = new.dimm) "
#define NOTED								\
	"INSERT OR IGNORE INTO sum_known VALUES (" KNOWN_AS "); "

/*
 * They are written in several ways and orders, and seldom: so SQLite itself counts
 * along. The triggers are this connection's own, and there is no other that writes.
 */
static const struct watched {
	const char *table, *triggers, *rows;
} watched[] = {
	{ "places",
	  "CREATE TEMP TABLE IF NOT EXISTS sum_known (boot, frame, dimm, "
	  "PRIMARY KEY (boot, frame, dimm)) WITHOUT ROWID;"
	  "INSERT OR IGNORE INTO sum_known SELECT substr(raw, 49, 16), frame, "
	  "dimm FROM places JOIN records ON number = record WHERE dimm <> '';"
	  "CREATE TEMP TRIGGER IF NOT EXISTS sum_placed AFTER INSERT ON places "
	  "WHEN " PLACED "BEGIN " ONE_MORE("'sum dimm ' || new.dimm") NOTED
	  "END;"
	  "CREATE TEMP TRIGGER IF NOT EXISTS sum_moved AFTER UPDATE OF dimm ON "
	  "places WHEN new.dimm <> old.dimm AND " PLACED "BEGIN "
	  ONE_MORE("'sum dimm ' || new.dimm") NOTED "END",
	  "INSERT INTO meta SELECT 'sum dimm ' || dimm, count(DISTINCT frame) "
	  "FROM places WHERE dimm <> '' GROUP BY dimm" },
	{ "deaths",
	  "CREATE TEMP TRIGGER IF NOT EXISTS sum_died AFTER INSERT ON deaths "
	  "BEGIN " ONE_MORE("iif(new.told, 'sum deaths yes', 'sum deaths no')")
	  "END",
	  "INSERT INTO meta SELECT iif(told, 'sum deaths yes', "
	  "'sum deaths no'), count(*) FROM deaths GROUP BY told <> 0" },
};

static int ask(struct store *s, const char *sql, const char *word,
	       int64_t *ret_n)
{
	sqlite3_stmt *q = NULL;
	int r = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

	if (r)
		return r;
	sqlite3_bind_text(q, 1, word, -1, SQLITE_STATIC);
	r = sqlite3_step(q);
	if (r == SQLITE_ROW)
		*ret_n = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return r == SQLITE_ROW || r == SQLITE_DONE ? SQLITE_OK : r;
}

static int count_rows(struct store *s)
{
	struct sums *sums = calloc(1, sizeof(*sums));
	sqlite3_stmt *q = NULL;
	struct bez_record r;
	int bad;

	if (!sums)
		return SQLITE_NOMEM;
	bad = sqlite3_prepare_v2(s->db, "SELECT raw, taken FROM records "
				 "ORDER BY number", -1, &q, NULL);
	while (!bad && (bad = sqlite3_step(q)) == SQLITE_ROW) {
		bad = SQLITE_OK;
		if (sqlite3_column_bytes(q, 0) != sizeof(r))
			continue;
		memcpy(&r, sqlite3_column_blob(q, 0), sizeof(r));
		sums_add(sums, &r, sqlite3_column_int64(q, 1));
	}
	sqlite3_finalize(q);
	bad = bad == SQLITE_DONE ? sums_put(s, sums) : bad;
	free(sums);
	return bad;
}

static int begin(struct store *s, int is_new)
{
	static const char has[] = "SELECT 1 FROM sqlite_schema WHERE "
				  "type = 'table' AND name = ?";
	int bad = is_new ? count_rows(s) : SQLITE_OK;
	size_t i;

	for (i = 0; i < sizeof(watched) / sizeof(watched[0]) && !bad; i++) {
		int64_t there = 0;

		bad = ask(s, has, watched[i].table, &there);
		if (!bad && there)
			bad = sqlite3_exec(s->db, watched[i].triggers, NULL,
					   NULL, NULL);
		if (!bad && there && is_new)
			bad = sqlite3_exec(s->db, watched[i].rows, NULL, NULL,
					   NULL);
	}
	if (!bad && is_new)
		bad = put(s, "sums", 1);
	return bad;
}

int sums_open(struct store *s)
{
	int64_t there = 0;
	int bad = store_run(s, SQL_BEGIN);

	if (!bad)
		bad = ask(s, "SELECT value FROM meta WHERE key = ?", "sums",
			  &there);
	if (!bad)
		bad = begin(s, !there);
	/* else it is closed, which rolls back and leaves the reason to be read */
	return bad ? bad : store_run(s, SQL_COMMIT);
}
