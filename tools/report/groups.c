/* SPDX-License-Identifier: MIT */
/*
 * What there may be any number of: regions, page frames, memory modules, deaths.
 * SQLite puts them in groups, most first; the first few are kept, the others added
 * up. All names come from strangers.
 */
#include "report.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "../run/evidence.h"

/* Losses, in a group: how many of each fate, how many, when the last. */
#define SUMS \
	" sum(fate(outcome) = 0), sum(fate(outcome) = 1), " \
	"sum(fate(outcome) = 2), sum(fate(outcome) = 3), count(*), max(at) "
/* @more: columns besides, @join: tables */
#define LOSSES(more, join) \
	" FROM (SELECT comm, region, outcome" more ", " REPORT_AT " AS at " \
	"FROM records " join " WHERE " REPORT_AT " >= ?1 AND " \
	"fate(outcome) < 4) "

static const char regions_sql[] =
	"SELECT comm, region, NULL," SUMS LOSSES("", "")
	"GROUP BY comm, region ORDER BY count(*) DESC, comm, region";

#define FRAMES(frame, dimm, join) \
	"SELECT f, max(dimm), count(DISTINCT boot)," SUMS \
	LOSSES(", " frame " AS f, " dimm " AS dimm, boot(raw) AS boot", join) \
	"WHERE f IS NOT NULL GROUP BY f ORDER BY count(*) DESC, f"

static const char frames_sql[] = FRAMES("frame(raw)", "''", "");
/* what the kernel's log has said of it afterwards is as good */
static const char frames_placed_sql[] =
	FRAMES("coalesce(frame(raw), nullif(places.frame, -1))",
	       "ifnull(dimm, '')",
	       "LEFT JOIN places ON record = records.number");

static const char modules_sql[] =
	"SELECT dimm, NULL, count(DISTINCT f)," SUMS
	LOSSES(", dimm, places.frame AS f",
	       "JOIN places ON record = records.number")
	"GROUP BY dimm ORDER BY count(*) DESC, dimm";

static const char kernel_sql[] =
	"SELECT kind, NULL, count(DISTINCT nullif(frame, -1)), 0, 0, 0, 0, count(*), "
	"max(wall_ns) FROM kernel WHERE wall_ns >= ?1 GROUP BY kind "
	"ORDER BY count(*) DESC, kind";

static const char deaths_sql[] =
	"SELECT taken, pid, uid, comm, status, told, "
	"(SELECT raw FROM records WHERE number = told) FROM deaths "
	"WHERE taken >= ?1 ORDER BY number DESC";

/* ---------------------------------------------------------------- the labels */

static void add(char *label, const char *bytes, size_t len)
{
	char text[ESCAPED(32)];
	size_t used = strlen(label);

	escape(text, bytes, len < 32 ? len : 32);
	snprintf(label + used, REPORT_LABEL - used, "%s%s", text,
		 len > 32 ? "..." : "");
}

static void add_column(char *label, sqlite3_stmt *s, int i)
{
	const char *bytes = sqlite3_column_blob(s, i);

	if (bytes)
		add(label, bytes, (size_t)sqlite3_column_bytes(s, i));
}

static void label_region(struct row *row, sqlite3_stmt *s)
{
	int named = sqlite3_column_bytes(s, 1) > 0;

	add_column(row->label, s, 0);
	add(row->label, named ? ": " : " (no region)", named ? 2 : 12);
	add_column(row->label, s, 1);
}

static void label_frame(struct row *row, sqlite3_stmt *s)
{
	snprintf(row->label, sizeof(row->label), "0x%" PRIx64,
		 (uint64_t)sqlite3_column_int64(s, 0));
	add_column(row->note, s, 1);
}

static void label_name(struct row *row, sqlite3_stmt *s)
{
	add_column(row->label, s, 0);
	if (!row->label[0])
		strcpy(row->label, "(not known)");
}

/* ---------------------------------------------------------------- the groups */

static int group(sqlite3 *db, const struct report *r, const char *sql,
		 void (*label)(struct row *row, sqlite3_stmt *s),
		 struct rows *rows)
{
	sqlite3_stmt *s = NULL;
	int bad = sqlite3_prepare_v2(db, sql, -1, &s, NULL), i;

	rows->there = 1;
	if (!bad)
		sqlite3_bind_int64(s, 1, r->since);
	while (!bad && (bad = sqlite3_step(s)) == SQLITE_ROW) {
		struct row *row = &rows->row[rows->count];
		uint64_t total = (uint64_t)sqlite3_column_int64(s, 7);

		bad = SQLITE_OK;
		if (rows->count == REPORT_ROWS) {
			rows->more++;
			rows->more_total += total;
			continue;
		}
		label(row, s);
		row->extra = (uint64_t)sqlite3_column_int64(s, 2);
		for (i = 0; i < FATE_OTHER; i++)
			row->n[i] = (uint64_t)sqlite3_column_int64(s, 3 + i);
		row->total = total;
		row->last = sqlite3_column_int64(s, 8);
		rows->count++;
	}
	sqlite3_finalize(s);
	return bad == SQLITE_DONE ? SQLITE_OK : bad;
}

/* ---------------------------------------------------------------- the deaths */

enum { END_MEMORY, END_SILENT, END_OTHER, END_UNKNOWN, ENDS };

static const char *const end_names[ENDS] = {
	[END_MEMORY] = "of lost memory",
	[END_SILENT] = "of SIGBUS, without a record",
	[END_OTHER] = "of something else",
	[END_UNKNOWN] = "nobody could say of what",
};

static struct ending ending_of(int status)
{
	if (WIFEXITED(status))
		return (struct ending){ CLD_EXITED, WEXITSTATUS(status) };
	return (struct ending){ CLD_KILLED, WTERMSIG(status) };
}

/* As bezoar run would say: a file that was cut raises SIGBUS, too, so only a record can
 * tell. The store may be of another machine; what is in a region and none of a file's is
 * lost memory here as where poison is emulated, as it is a loss among the records. @r:
 * NULL: there is none, or not any more. */
static int end_of(int status, const struct bez_record *r)
{
	struct ending e = ending_of(status);

	if (status < 0)			/* but its last word may say it */
		e = (struct ending){ CLD_EXITED, 0 };
	if (evidence_says(&e, r, 0))
		return END_MEMORY;
	if (status < 0)
		return END_UNKNOWN;
	return !r && ended_like(&e, SIGBUS) ? END_SILENT : END_OTHER;
}

static void how(int status, char *ret, size_t room)
{
	if (status < 0)
		snprintf(ret, room, "nobody could say");
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
		snprintf(ret, room, "signal %d, SIGBUS", WTERMSIG(status));
	else if (WIFSIGNALED(status))
		snprintf(ret, room, "signal %d", WTERMSIG(status));
	else
		snprintf(ret, room, "status %d", WEXITSTATUS(status));
}

static void death(struct report *r, sqlite3_stmt *s)
{
	int status = sqlite3_column_int(s, 4), end;
	struct piece p;
	int64_t taken = sqlite3_column_int64(s, 0);
	int64_t told = sqlite3_column_int64(s, 5);
	const char *comm = sqlite3_column_blob(s, 3);
	size_t len = (size_t)sqlite3_column_bytes(s, 3);
	struct death *d = &r->death[r->deaths];

	end = end_of(status, report_whole(sqlite3_column_value(s, 6), &p) ?
			     &p.record : NULL);
	r->ends.row[end].total++;
	if (taken > r->ends.row[end].last)
		r->ends.row[end].last = taken;
	if (r->deaths == REPORT_DEATHS)
		return;
	*d = (struct death){
		.taken = taken, .told = told, .pid = sqlite3_column_int(s, 1),
		.uid = (uint32_t)sqlite3_column_int64(s, 2),
	};
	escape(d->comm, comm ? comm : "", len < 64 ? len : 64);
	how(status, d->how, sizeof(d->how));
	r->deaths++;
}

static int all_deaths(sqlite3 *db, struct report *r)
{
	sqlite3_stmt *s = NULL;
	int bad = sqlite3_prepare_v2(db, deaths_sql, -1, &s, NULL), i;

	r->ends.there = 1;
	r->ends.count = ENDS;
	for (i = 0; i < ENDS; i++)
		strcpy(r->ends.row[i].label, end_names[i]);
	if (!bad)
		sqlite3_bind_int64(s, 1, r->since);
	while (!bad && (bad = sqlite3_step(s)) == SQLITE_ROW) {
		bad = SQLITE_OK;
		death(r, s);
	}
	sqlite3_finalize(s);
	return bad == SQLITE_DONE ? SQLITE_OK : bad;
}

int report_groups(sqlite3 *db, struct report *r)
{
	int places = report_has(db, "places"), bad;

	report_doing("regions");
	bad = group(db, r, regions_sql, label_region, &r->regions);
	if (bad)
		return bad;
	report_doing("page frames");
	bad = group(db, r, places ? frames_placed_sql : frames_sql,
		    label_frame, &r->frames);
	if (!bad && places) {
		report_doing("memory modules");
		bad = group(db, r, modules_sql, label_name, &r->modules);
	}
	if (!bad && report_has(db, "kernel"))
		bad = group(db, r, kernel_sql, label_name, &r->kernel);
	if (!bad && report_has(db, "deaths"))
		bad = all_deaths(db, r);
	return bad;
}
