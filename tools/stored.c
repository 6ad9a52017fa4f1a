/* SPDX-License-Identifier: MIT */
/* bezoar log of a store of bezoard(8): by what SQLite lets everybody see who may read
 * the file, while the daemon writes to it. */
#include "stored_in.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bezoard/schema.h"
#include "read.h"
#include "show.h"

int stored_is(const char *path)
{
	static const char magic[] = "SQLite format 3";
	char head[sizeof(magic)];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), is;

	if (fd < 0)
		return 0;
	is = pread(fd, head, sizeof(head), 0) == sizeof(head) &&
	     !memcmp(head, magic, sizeof(head));
	close(fd);
	return is;
}

void stored_failed(struct stored *s)
{
	tool_say("%s: %s", s->name, sqlite3_errmsg(s->db));
	s->status = TOOL_FAILED;
}

int stored_open(const char *path, const char *name, sqlite3 **ret_db)
{
	int version = -1;

	if (!sqlite3_open_v2(path, ret_db, SQLITE_OPEN_READONLY, NULL)) {
		sqlite3_busy_timeout(*ret_db, STORED_PATIENCE_MS);
		version = schema_of(*ret_db);
	}
	if (version < 0)
		tool_say("%s: %s", name, sqlite3_errmsg(*ret_db));
	else if (!version || version > schema_version)
		tool_say("%s: a database that is no store of bezoard, or one of "
			 "a newer version", name);
	else
		return 0;
	sqlite3_close(*ret_db);
	*ret_db = NULL;
	return -1;
}

int stored_prepare(struct stored *s)
{
	const struct filter *f = &s->wishes->filter;
	char sql[512];

	/* the number puts in order what was taken at different times; of the digest there
	 * is an index. Version 1 had no places */
	snprintf(sql, sizeof(sql), "SELECT number, raw, taken, pid, uid, origin, "
		 "%s FROM records %s WHERE %s number > ?1 AND wall_ns >= ?2 AND "
		 "number <= ?3 ORDER BY number", schema_of(s->db) > 1 ?
		 "p.frame, p.dimm" : "NULL, NULL", schema_of(s->db) > 1 ?
		 "LEFT JOIN places p ON p.record = number" : "",
		 f->digest ? "digest = ?4 AND" : "");
	if (sqlite3_prepare_v2(s->db, sql, -1, &s->rows, NULL))
		return -1;
	if (f->number && s->last < f->number)
		s->last = f->number - 1;
	sqlite3_bind_int64(s->rows, 3, f->number ? f->number : INT64_MAX);
	if (f->digest)
		sqlite3_bind_int64(s->rows, 4, (int64_t)f->digest);
	return 0;
}

int stored_begin(struct stored *s)
{
	/* closed after the database: that would lose SQLite its locks */
	s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (stored_open(s->path, s->name, &s->db)) {
		s->status = TOOL_FAILED;
		return -1;
	}
	if (stored_prepare(s)) {
		stored_failed(s);
		return -1;
	}
	return 0;
}

void stored_close_db(struct stored *s)
{
	sqlite3_finalize(s->rows);
	sqlite3_close(s->db);
	s->rows = NULL;
	s->db = NULL;
}

void stored_end(struct stored *s)
{
	stored_close_db(s);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static void row(struct stored *s)
{
	struct show_from from = {
		.number = sqlite3_column_int64(s->rows, 0),
		.taken_ns = (uint64_t)sqlite3_column_int64(s->rows, 2),
		.pid = sqlite3_column_int(s->rows, 3),
		.uid = (uint32_t)sqlite3_column_int64(s->rows, 4),
		.is_file = sqlite3_column_int(s->rows, 5),
		.is_placed = sqlite3_column_type(s->rows, 6) != SQLITE_NULL,
		.frame = sqlite3_column_int64(s->rows, 6),
		.dimm = (const char *)sqlite3_column_text(s->rows, 7),
	};
	const unsigned char *raw = sqlite3_column_blob(s->rows, 1);
	size_t len = (size_t)sqlite3_column_bytes(s->rows, 1);
	struct piece p = { .kind = PIECE_OTHER };

	s->last = from.number;
	if (piece_first(raw, len, 1, &p) != len || p.kind != PIECE_RECORD) {
		tool_say("%s: row %" PRId64 " is no whole record", s->name,
			 s->last);
		if (!s->status)
			s->status = TOOL_FOUND;
		return;
	}
	if (!filter_takes(&s->wishes->filter, &p.record, from.pid))
		return;
	if (log_record(s->wishes, &p.record, &from))
		s->status = TOOL_FAILED;
}

int stored_step(struct stored *s)
{
	uint64_t since = s->wishes->filter.since_ns;
	int r;

	sqlite3_bind_int64(s->rows, 1, s->last);
	sqlite3_bind_int64(s->rows, 2, since > INT64_MAX ? INT64_MAX :
						       (int64_t)since);
	while ((r = sqlite3_step(s->rows)) == SQLITE_ROW)
		row(s);
	sqlite3_reset(s->rows);
	tool_flush();
	return r;
}

static void rows(struct stored *s)
{
	if (stored_step(s) != SQLITE_DONE)
		stored_failed(s);
}

static void counts(struct stored *s)
{
	sqlite3_stmt *all = NULL;
	int r = sqlite3_prepare_v2(s->db, "SELECT name, n FROM counts ORDER BY "
				   "name", -1, &all, NULL);

	while (!r && (r = sqlite3_step(all)) == SQLITE_ROW) {
		printf(s->wishes->json ? "{\"count\":\"%s\",\"n\":%" PRId64 "}\n" :
		       "%-26s %" PRId64 "\n",
		       (const char *)sqlite3_column_text(all, 0),
		       (int64_t)sqlite3_column_int64(all, 1));
		r = SQLITE_OK;
	}
	tool_flush();
	sqlite3_finalize(all);
	if (r != SQLITE_DONE)
		stored_failed(s);
}

/* It may come yet. */
int stored_is_not_yet(const char *path)
{
	struct stat st;

	return stat(path, &st) ? errno == ENOENT :
	       S_ISREG(st.st_mode) && !st.st_size;
}

const char *stored_hint(int error)
{
	return error == ENOENT ?
	       ". Name the store of a bezoard, or have one run" :
	       error == EACCES ?
	       ". A store may be read by its owner and the group bezoar" : "";
}

int stored_log(const char *path, const char *name,
	       const struct log_wishes *wishes)
{
	struct stored s = {
		.name = name, .path = path, .wishes = wishes, .fd = -1
	};

	if (wishes->follow && stored_is_not_yet(path)) {
		tool_say("%s: there is no store yet: a bezoard is waited for",
			 name);
		stored_follow(&s);
	} else if (!stored_begin(&s)) {
		if (wishes->counts)
			counts(&s);
		else if (wishes->apart)
			s.status = stored_apart(s.db, name, wishes);
		else if (wishes->follow)
			stored_follow(&s);
		else
			rows(&s);
	}
	stored_end(&s);
	return s.status;
}
