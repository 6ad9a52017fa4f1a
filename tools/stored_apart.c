/* SPDX-License-Identifier: MIT */
/*
 * bezoar log --apart: what the daemon did not believe, or does not know, and
 * so shows as nobody's record. Whatever is in there may be a lie.
 */
#include "stored.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "escape.h"
#include "read.h"
#include "show.h"
#include "when.h"

#define WHY_ROOM 32

struct apart {
	struct show_from from;
	char why[ESCAPED(WHY_ROOM)];
	size_t bytes;
	uint64_t digest;
	struct piece piece;		/* RECORD: its fields can be read */
};

static void read_row(sqlite3_stmt *row, struct apart *ret)
{
	const unsigned char *raw = sqlite3_column_blob(row, 6);
	const char *why = (const char *)sqlite3_column_text(row, 5);

	*ret = (struct apart){
		.from = {
			.number = sqlite3_column_int64(row, 0),
			.taken_ns = (uint64_t)sqlite3_column_int64(row, 1),
			.pid = sqlite3_column_int(row, 2),
			.uid = (uint32_t)sqlite3_column_int64(row, 3),
			.is_file = sqlite3_column_int(row, 4),
		},
		.bytes = (size_t)sqlite3_column_bytes(row, 6),
		.digest = (uint64_t)sqlite3_column_int64(row, 7),
		.piece = { .kind = PIECE_OTHER },
	};
	escape(ret->why, why ? why : "", why ? strnlen(why, WHY_ROOM) : 0);
	if (ret->bytes)
		piece_first(raw, ret->bytes, 1, &ret->piece);
	if (ret->piece.kind == PIECE_RECORD)
		return;
	/* for the filters: nothing is known but these */
	memset(&ret->piece.record, 0, sizeof(ret->piece.record));
	ret->piece.record.wall_ns = ret->from.taken_ns;
	ret->piece.record.digest = ret->digest;
}

static void as_text(const struct apart *a)
{
	char text[WHEN_ROOM];

	printf("%s  kept apart as %" PRId64 ": %s, %s %" PRIu32
	       ", process %" PRId32 "\n", when_ns(a->from.taken_ns, text),
	       a->from.number, *a->why ? a->why : "nobody knows why",
	       a->from.is_file ? "from a file of user" : "sent by user",
	       a->from.uid, a->from.pid);
	printf("  digest    %016" PRIx64 ", %zu bytes\n", a->digest, a->bytes);
	if (a->piece.kind == PIECE_STRANGE)
		printf("  version   %u, which this program cannot read\n",
		       a->piece.version);
	else if (a->piece.kind != PIECE_RECORD)
		puts("  it is no whole record");
	else
		puts("  it says:");
	if (a->piece.kind == PIECE_RECORD)
		show_text(&a->piece.record, NULL);
}

static json_t *as_object(const struct apart *a)
{
	char text[WHEN_ROOM];
	json_t *record = a->piece.kind == PIECE_RECORD ?
			 show_object(&a->piece.record, NULL) : json_null();
	json_t *version = a->piece.kind == PIECE_STRANGE ||
			  a->piece.kind == PIECE_RECORD ?
			  json_integer(a->piece.kind == PIECE_STRANGE ?
				       a->piece.version : BEZ_RECORD_VERSION) :
			  json_null();

	return json_pack("{s:{s:I, s:s, s:s, s:i, s:I, s:s, s:I, s:o, s:o}, s:o}",
			 "apart", "number", (json_int_t)a->from.number,
			 "why", a->why,
			 "taken", when_ns(a->from.taken_ns, text),
			 "pid", (int)a->from.pid, "uid", (json_int_t)a->from.uid,
			 "from", a->from.is_file ? "file" : "socket",
			 "bytes", (json_int_t)a->bytes, "version", version,
			 "digest", json_sprintf("%016" PRIx64, a->digest),
			 "record", record);
}

int stored_apart(sqlite3 *db, const char *name,
		 const struct log_wishes *wishes)
{
	static const char sql[] =
		"SELECT number, taken, pid, uid, origin, why, raw, digest "
		"FROM apart WHERE ?1 IN (0, number) ORDER BY number";
	sqlite3_stmt *rows = NULL;
	struct apart a;
	int r = sqlite3_prepare_v2(db, sql, -1, &rows, NULL), bad = 0;

	if (!r)
		sqlite3_bind_int64(rows, 1, wishes->filter.number);
	while (!r && (r = sqlite3_step(rows)) == SQLITE_ROW) {
		r = SQLITE_OK;
		read_row(rows, &a);
		if (!filter_takes(&wishes->filter, &a.piece.record,
				  a.from.pid))
			continue;
		if (wishes->json)
			bad |= show_line(as_object(&a));
		else
			as_text(&a);
	}
	tool_flush();
	if (r != SQLITE_DONE)
		tool_say("%s: %s", name, sqlite3_errmsg(db));
	sqlite3_finalize(rows);
	return r != SQLITE_DONE || bad ? TOOL_FAILED : TOOL_OK;
}
