/* SPDX-License-Identifier: MIT */
/*
 * What is in the file. No name of a program, region, user or path: numbers, codes,
 * places of memory modules, and what supervisors call what they watch.
 */
#include <bezoar/bezoar.h>
#include <bezoar/record.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../escape.h"
#include "metrics.h"
#include "sums.h"

#define LABEL_MOST	255		/* bytes of a name that is shown */
#define DIMMS_MOST	"256"
#define FRAMES_MOST	"65536"

struct text {
	FILE *to;
	sqlite3 *db;
	int bad;			/* the store does not answer */
};

static void head(const struct text *t, const char *name, const char *type,
		 const char *help)
{
	fprintf(t->to, "# HELP bezoar_%s %s\n# TYPE bezoar_%s %s\n", name, help,
		name, type);
}

/* Escaped twice: any byte becomes what a line can hold, and all of them stay
 * different; then as the format wants it. */
static void label(FILE *to, const char *name, size_t len)
{
	char plain[ESCAPED(LABEL_MOST)];
	const char *c;

	for (c = escape(plain, name, len); *c; c++) {
		if (*c == '"' || *c == '\\')
			putc('\\', to);
		putc(*c, to);
	}
}

static sqlite3_stmt *ask(struct text *t, const char *sql)
{
	sqlite3_stmt *q = NULL;

	if (sqlite3_prepare_v2(t->db, sql, -1, &q, NULL))
		t->bad = 1;
	return q;
}

static int next(struct text *t, sqlite3_stmt *q)
{
	int r = q ? sqlite3_step(q) : SQLITE_DONE;

	if (r != SQLITE_ROW && r != SQLITE_DONE)
		t->bad = 1;
	return r == SQLITE_ROW;
}

/* The one number that is the answer to @sql with @word; @none: there is none. */
static int64_t number(struct text *t, const char *sql, const char *word,
		      int64_t none)
{
	sqlite3_stmt *q = ask(t, sql);
	int64_t n = none;

	if (q && word)
		sqlite3_bind_text(q, 1, word, -1, SQLITE_STATIC);
	if (next(t, q) && sqlite3_column_type(q, 0) != SQLITE_NULL)
		n = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return n;
}

static int64_t sum(struct text *t, const char *key)
{
	return number(t, "SELECT value FROM meta WHERE key = ?", key, 0);
}

static int has(struct text *t, const char *table)
{
	return number(t, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND "
		      "name = ?", table, 0) == 1;
}

static void records(struct text *t)
{
	sqlite3_stmt *q = ask(t, "SELECT key, value FROM meta WHERE key GLOB "
			      "'sum records *' ORDER BY key");
	char outcome[8], cause[8];

	head(t, "records_total", "counter", "Records taken, by the codes of "
	     "\"bezoar explain\".");
	while (next(t, q)) {
		const char *key = (const char *)sqlite3_column_text(q, 0);

		if (key && sscanf(key, "sum records %7s %7s", outcome,
				  cause) == 2)
			fprintf(t->to, "bezoar_records_total{outcome=\"%s\","
				"cause=\"%s\"} %" PRId64 "\n", outcome, cause,
				(int64_t)sqlite3_column_int64(q, 1));
	}
	sqlite3_finalize(q);
}

/* The sums "sum @what restored" and "gone". */
static void by_content(struct text *t, const char *name, const char *help,
		       const char *what)
{
	static const char *const contents[] = { "restored", "gone" };
	char key[32];
	int i;

	head(t, name, "counter", help);
	for (i = 0; i < 2; i++) {
		snprintf(key, sizeof(key), "sum %s %s", what, contents[i]);
		fprintf(t->to, "bezoar_%s{content=\"%s\"} %" PRId64 "\n", name,
			contents[i], sum(t, key));
	}
}

static void took(struct text *t)
{
	int64_t n = 0;
	char key[40];
	int i;

	head(t, "fault_to_resume_seconds", "histogram", "From the fault until the "
	     "thread could go on.");
	for (i = 0; i < SUMS_LIMITS; i++) {
		snprintf(key, sizeof(key), "sum took %" PRIu64,
			 sums_limits[i].ns);
		n += sum(t, key);
		fprintf(t->to, "bezoar_fault_to_resume_seconds_bucket{le=\"%s\"}"
			" %" PRId64 "\n", sums_limits[i].seconds, n);
	}
	n += sum(t, "sum took more");
	fprintf(t->to, "bezoar_fault_to_resume_seconds_bucket{le=\"+Inf\"} %"
		PRId64 "\nbezoar_fault_to_resume_seconds_sum %.15g\n"
		"bezoar_fault_to_resume_seconds_count %" PRId64 "\n", n,
		(double)sum(t, "sum took ns") / 1e9, n);
}

/* SQL's bez_frame(raw): NULL where the record does not know its page frame. */
static void frame_of(sqlite3_context *ret, int n, sqlite3_value **values)
{
	struct bez_record r;

	(void)n;
	if (sqlite3_value_bytes(values[0]) != sizeof(r))
		return;
	memcpy(&r, sqlite3_value_blob(values[0]), sizeof(r));
	if (r.flags & BEZ_RECORD_HAS_FRAME)
		sqlite3_result_int64(ret, (sqlite3_int64)r.frame);
}

#define COUNTED "SELECT n FROM counts WHERE name = ?"

/* All rows are looked at, so it is done only where some have come or gone; and no farther
 * than is of use: who sends nonsense is not to fill the memory. */
static void frames(struct text *t, struct metrics *m)
{
	static const char of_records[] =
		"SELECT count(*) FROM (SELECT DISTINCT bez_frame(raw) AS f "
		"FROM records WHERE f IS NOT NULL LIMIT " FRAMES_MOST ")";
	static const char of_both[] =
		"SELECT count(*) FROM (SELECT DISTINCT f FROM (SELECT "
		"bez_frame(raw) AS f FROM records UNION ALL SELECT frame FROM "
		"places) WHERE f IS NOT NULL LIMIT " FRAMES_MOST ")";
	int placed = has(t, "places");
	uint64_t framed = m->batch->store->framed;
	int64_t retired = number(t, COUNTED, count_names[COUNT_RETIRED], 0),
		places = placed ? number(t, "SELECT count(*) FROM places", NULL,
					 0) : 0;

	if (framed != m->of_framed || places != m->of_places ||
	    (m->frames && retired != m->of_retired)) {
		sqlite3_create_function(t->db, "bez_frame", 1, SQLITE_UTF8 |
					SQLITE_DETERMINISTIC, NULL, frame_of,
					NULL, NULL);
		m->frames = number(t, placed ? of_both : of_records, NULL, 0);
		m->of_framed = framed;
		m->of_retired = retired;
		m->of_places = places;
	}
	head(t, "frames", "gauge", "Different page frames that the records in "
	     "the store name.");
	fprintf(t->to, "bezoar_frames %" PRId64 "\n", m->frames);
}

static void dimms(struct text *t)
{
	static const char sql[] = "SELECT substr(key, 10), value FROM meta WHERE "
		"key GLOB 'sum dimm *' AND length(key) < 200 ORDER BY key "
		"LIMIT " DIMMS_MOST;
	sqlite3_stmt *q;

	if (!has(t, "places"))
		return;
	head(t, "dimm_losses_total", "counter", "Page frames lost, by memory "
	     "module.");
	q = ask(t, sql);
	while (next(t, q)) {
		const char *dimm = (const char *)sqlite3_column_text(q, 0);
		int len = sqlite3_column_bytes(q, 0);

		if (!dimm || len > LABEL_MOST)
			continue;
		fputs("bezoar_dimm_losses_total{dimm=\"", t->to);
		label(t->to, dimm, (size_t)len);
		fprintf(t->to, "\"} %" PRId64 "\n",
			(int64_t)sqlite3_column_int64(q, 1));
	}
	sqlite3_finalize(q);
}

static void deaths(struct text *t)
{
	if (!has(t, "deaths"))
		return;
	head(t, "deaths_total", "counter", "Connected processes that died of "
	     "SIGBUS, or whose last record said that they end, by whether a "
	     "record of theirs had told of it.");
	fprintf(t->to, "bezoar_deaths_total{told=\"yes\"} %" PRId64 "\n"
		"bezoar_deaths_total{told=\"no\"} %" PRId64 "\n",
		sum(t, "sum deaths yes"), sum(t, "sum deaths no"));
}

static void counts(struct text *t)
{
	int i;

	head(t, "daemon_events_total", "counter", "What \"bezoar log --counts\" "
	     "shows.");
	for (i = 0; i < COUNTS; i++)
		fprintf(t->to, "bezoar_daemon_events_total{what=\"%s\"} %" PRId64
			"\n", count_names[i],
			number(t, COUNTED, count_names[i], 0));
}

static void latched(void *data, const char *name, int is)
{
	const struct text *t = data;
	size_t len = strlen(name);

	if (len > LABEL_MOST)
		return;
	fputs("bezoar_latched{name=\"", t->to);
	label(t->to, name, len);
	fprintf(t->to, "\"} %d\n", is);
}

/* Of @ns; there is none if nothing has happened yet. */
static void time_of(struct text *t, const char *name, const char *help,
		    int64_t ns)
{
	if (ns < 0)
		return;
	head(t, name, "gauge", help);
	fprintf(t->to, "bezoar_%s %" PRId64 ".%03d\n", name, ns / 1000000000,
		(int)(ns / 1000000 % 1000));
}

static void failing(struct text *t, int fails)
{
	head(t, "store_failing", "gauge", "Whether records wait because the store "
	     "cannot be written.");
	fprintf(t->to, "bezoar_store_failing %d\n", fails);
}

static void store(struct text *t, int fails)
{
	time_of(t, "last_record_timestamp_seconds", "When the newest record in the "
		"store was taken.",
		number(t, "SELECT taken FROM records ORDER BY number DESC LIMIT 1",
		       NULL, -1));
	time_of(t, "last_loss_timestamp_seconds", "When the newest record of a lost "
		"page was taken.",
		number(t, "SELECT value FROM meta WHERE key = ?", "last loss",
		       -1));
	head(t, "store_bytes", "gauge", "What the store holds.");
	fprintf(t->to, "bezoar_store_bytes %" PRId64 "\n",
		number(t, "SELECT (page_count - freelist_count) * page_size FROM "
		       "pragma_page_count, pragma_freelist_count, "
		       "pragma_page_size", NULL, 0));
	failing(t, fails);
}

int metrics_text(struct metrics *m, FILE *to, int up)
{
	struct text t = { .to = to, .db = m->batch->store->db };

	head(&t, "build_info", "gauge", "The version of the daemon.");
	fprintf(to, "bezoar_build_info{version=\"%s\"} 1\n", bez_version());
	head(&t, "up", "gauge", "Whether the daemon runs, or has been ended.");
	fprintf(to, "bezoar_up %d\n", up);
	/* nothing is known of the rest */
	if (!t.db) {
		failing(&t, 1);
		return 0;
	}
	records(&t);
	by_content(&t, "losses_total", "Pages that were met and are lost, by what "
		   "became of their content.", "losses");
	by_content(&t, "lost_bytes_total", "How wide these pages were, as far as it "
		   "is known.", "bytes");
	took(&t);
	frames(&t, m);
	dimms(&t);
	deaths(&t);
	counts(&t);
	if (m->latches.path) {
		head(&t, "latched", "gauge", "Whether a supervisor has latched "
		     "what is called so: it is not started again.");
		latches_each(&m->latches, latched, &t);
	}
	store(&t, m->batch->fails);
	return t.bad ? -1 : 0;
}
