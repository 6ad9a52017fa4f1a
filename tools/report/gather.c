/* SPDX-License-Identifier: MIT */
/* One walk over the records: the timeline, the times, the counts. */
#include "report.h"

#include <bezoar/bezoar.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BILLION	1000000000ll
#define PATIENT	1			/* seconds; then it is said how far it is */
#define LOOK	4096			/* rows between two looks at the clock */

/* ------------------------------------------------------------------ progress */

static struct {
	int on, said;
	struct timespec begin;
} progress;

static void begin_progress(void)
{
	progress.on = isatty(STDERR_FILENO);
	progress.said = 0;
	clock_gettime(CLOCK_MONOTONIC, &progress.begin);
}

static int takes_long(void)
{
	struct timespec now;

	if (!progress.on)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - progress.begin.tv_sec > PATIENT;
}

/* One line, written over again, and wiped at the end. */
void report_doing(const char *what)
{
	if (!takes_long())
		return;
	progress.said = 1;
	fprintf(stderr, "\r%-40s", what);
	fflush(stderr);
}

static void end_progress(void)
{
	if (progress.said)
		fprintf(stderr, "\r%-40s\r", "");
}

static void far(uint64_t done, uint64_t all)
{
	char line[64];

	if (done % LOOK || !all)
		return;
	snprintf(line, sizeof(line), "records: %u %%",
		 (unsigned int)(done * 100 / all));
	report_doing(line);
}

/* -------------------------------------------------------- what SQL asks of us */

int report_whole(sqlite3_value *value, struct piece *ret)
{
	const unsigned char *raw = sqlite3_value_blob(value);
	size_t len = (size_t)sqlite3_value_bytes(value);

	return len && piece_first(raw, len, 1, ret) == len &&
	       ret->kind == PIECE_RECORD;
}

/* frame(raw): NULL if the record has none. */
static void frame(sqlite3_context *context, int n, sqlite3_value **values)
{
	struct piece p;

	(void)n;
	if (report_whole(values[0], &p) && p.record.flags & BEZ_RECORD_HAS_FRAME)
		sqlite3_result_int64(context, (int64_t)p.record.frame);
}

static void boot(sqlite3_context *context, int n, sqlite3_value **values)
{
	struct piece p;

	(void)n;
	if (report_whole(values[0], &p))
		sqlite3_result_blob(context, p.record.boot_id,
				    sizeof(p.record.boot_id),
				    SQLITE_TRANSIENT);
}

static void fate(sqlite3_context *context, int n, sqlite3_value **values)
{
	(void)n;
	sqlite3_result_int(context, (int)fate_of((unsigned int)
				    sqlite3_value_int(values[0])));
}

static int functions(sqlite3 *db)
{
	const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
	int bad = sqlite3_create_function(db, "frame", 1, flags, NULL, frame,
					  NULL, NULL);

	if (!bad)
		bad = sqlite3_create_function(db, "boot", 1, flags, NULL, boot,
					      NULL, NULL);
	if (!bad)
		bad = sqlite3_create_function(db, "fate", 1, flags, NULL, fate,
					      NULL, NULL);
	return bad;
}

int report_has(sqlite3 *db, const char *table)
{
	sqlite3_stmt *s = NULL;
	int has = 0;

	if (!sqlite3_prepare_v2(db, "SELECT 1 FROM sqlite_schema WHERE "
				"type = 'table' AND name = ?", -1, &s, NULL)) {
		sqlite3_bind_text(s, 1, table, -1, SQLITE_STATIC);
		has = sqlite3_step(s) == SQLITE_ROW;
	}
	sqlite3_finalize(s);
	return has;
}

/* ------------------------------------------------------------------ the walk */

/* The narrowest bins that are enough; all begin at a multiple of their width. */
static void choose_bins(struct report *r)
{
	static const int64_t widths[] = {
		1, 5, 15, 60, 300, 900, 3600, 10800, 21600, 86400, 604800,
	};
	const size_t count = sizeof(widths) / sizeof(widths[0]);
	int64_t first = r->first / BILLION, last = r->last / BILLION;
	size_t i = 0;

	for (;;) {
		r->width_s = i < count ? widths[i] : r->width_s * 2;
		r->start_s = first / r->width_s * r->width_s;
		r->bins = (size_t)((last - r->start_s) / r->width_s) + 1;
		if (r->bins <= REPORT_BINS)
			return;
		i++;
	}
}

/* 1 us, 2 us, 5 us, 10 us ... 10 s */
uint64_t report_time_end(size_t bucket)
{
	static const unsigned int steps[] = { 1, 2, 5 };
	uint64_t decade = 1000;
	size_t i;

	if (bucket >= REPORT_TIMES - 1)
		return UINT64_MAX;
	for (i = 0; i < bucket / 3; i++)
		decade *= 10;
	return decade * steps[bucket % 3];
}

static void count_time(struct report *r, uint64_t took_ns)
{
	size_t i = 0;

	while (took_ns >= report_time_end(i) && i < REPORT_TIMES - 1)
		i++;
	r->time[i]++;
	r->times++;
	if (took_ns > r->longest_ns)
		r->longest_ns = took_ns;
}

static void count_code(uint64_t *counts, unsigned int n, uint64_t *later)
{
	if (n < REPORT_CODES)
		counts[n]++;
	else if (later)
		++*later;
}

static void count(struct report *r, const struct bez_record *record,
		  int64_t at)
{
	enum fate became = fate_of(record->outcome);
	int64_t bin = (at / BILLION - r->start_s) / r->width_s;

	r->records++;
	r->fate[became]++;
	count_code(r->outcome, record->outcome, &r->later);
	count_code(r->cause, record->cause, NULL);
	if (record->why)
		count_code(r->why, record->why, NULL);
	if (bin >= 0 && (uint64_t)bin < r->bins)
		r->bin[bin][became]++;
	if (became == FATE_WHOLE || became == FATE_WITHOUT)
		count_time(r, record->took_ns);
}

static int ends(sqlite3 *db, struct report *r, uint64_t *ret_rows)
{
	sqlite3_stmt *s = NULL;
	int bad = sqlite3_prepare_v2(db, "SELECT min(" REPORT_AT "), max("
				     REPORT_AT "), count(*) FROM records WHERE "
				     REPORT_AT " >= ?1", -1, &s, NULL);

	if (!bad) {
		sqlite3_bind_int64(s, 1, r->since);
		bad = sqlite3_step(s);
		if (bad == SQLITE_ROW) {
			r->first = sqlite3_column_int64(s, 0);
			r->last = sqlite3_column_int64(s, 1);
			*ret_rows = (uint64_t)sqlite3_column_int64(s, 2);
			bad = SQLITE_OK;
		}
	}
	sqlite3_finalize(s);
	return bad;
}

static int walk(sqlite3 *db, struct report *r, uint64_t rows)
{
	sqlite3_stmt *s = NULL;
	struct piece p;
	int bad = sqlite3_prepare_v2(db, "SELECT raw, " REPORT_AT " FROM "
				     "records WHERE " REPORT_AT " >= ?1", -1,
				     &s, NULL);

	if (!bad)
		sqlite3_bind_int64(s, 1, r->since);
	while (!bad && (bad = sqlite3_step(s)) == SQLITE_ROW) {
		bad = SQLITE_OK;
		if (report_whole(sqlite3_column_value(s, 0), &p))
			count(r, &p.record, sqlite3_column_int64(s, 1));
		else
			r->unread++;
		far(r->records + r->unread, rows);
	}
	sqlite3_finalize(s);
	return bad == SQLITE_DONE ? SQLITE_OK : bad;
}

static int gather(sqlite3 *db, struct report *r)
{
	uint64_t rows = 0;
	int bad = ends(db, r, &rows);

	if (bad)
		return bad;
	choose_bins(r);
	if (!rows)
		r->bins = 0;
	bad = walk(db, r, rows);
	return bad ? bad : report_groups(db, r);
}

int report_gather(sqlite3 *db, struct report *r)
{
	int bad = functions(db);

	begin_progress();
	/* groups of any number are sorted in files */
	if (!bad)
		bad = sqlite3_exec(db, "PRAGMA temp_store = FILE; BEGIN", NULL,
				   NULL, NULL);
	if (!bad) {
		bad = gather(db, r);
		if (!bad)
			bad = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	}
	end_progress();
	return bad;
}
