/* SPDX-License-Identifier: MIT */
/* bezoar log of a store of bezoard(8): by what SQLite lets everybody see who may read
 * the file, while the daemon writes to it. */
#include "stored.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "bezoard/schema.h"
#include "read.h"
#include "show.h"

#define PATIENCE_MS 10000

struct stored {
	const char *name, *path;
	const struct log_wishes *wishes;
	int fd;				/* the same file, by whatever name; -1 */
	sqlite3 *db;
	sqlite3_stmt *rows;
	int64_t last;			/* number of the last that was read */
	int status;
};

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

static void failed(struct stored *s)
{
	tool_say("%s: %s", s->name, sqlite3_errmsg(s->db));
	s->status = TOOL_FAILED;
}

int stored_open(const char *path, const char *name, sqlite3 **ret_db)
{
	int version = -1;

	if (!sqlite3_open_v2(path, ret_db, SQLITE_OPEN_READONLY, NULL)) {
		sqlite3_busy_timeout(*ret_db, PATIENCE_MS);
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

static int prepare(struct stored *s)
{
	/* the number puts in order what was taken at different times */
	static const char all[] =
		"SELECT number, raw, taken, pid, uid, origin FROM records "
		"WHERE number > ?1 AND wall_ns >= ?2 AND number <= ?3 "
		"ORDER BY number";
	/* there is an index for it */
	static const char one[] =
		"SELECT number, raw, taken, pid, uid, origin FROM records "
		"WHERE digest = ?4 AND number > ?1 AND wall_ns >= ?2 AND "
		"number <= ?3 ORDER BY number";
	const struct filter *f = &s->wishes->filter;

	if (sqlite3_prepare_v2(s->db, f->digest ? one : all, -1, &s->rows,
			       NULL))
		return -1;
	if (f->number && s->last < f->number)
		s->last = f->number - 1;
	sqlite3_bind_int64(s->rows, 3, f->number ? f->number : INT64_MAX);
	if (f->digest)
		sqlite3_bind_int64(s->rows, 4, (int64_t)f->digest);
	return 0;
}

static int open_it(struct stored *s)
{
	/* closed after the database: that would lose SQLite its locks */
	s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (stored_open(s->path, s->name, &s->db)) {
		s->status = TOOL_FAILED;
		return -1;
	}
	if (prepare(s)) {
		failed(s);
		return -1;
	}
	return 0;
}

static void close_db(struct stored *s)
{
	sqlite3_finalize(s->rows);
	sqlite3_close(s->db);
	s->rows = NULL;
	s->db = NULL;
}

static void close_it(struct stored *s)
{
	close_db(s);
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

/* All from s->last on. What SQLite says. */
static int step_all(struct stored *s)
{
	uint64_t since = s->wishes->filter.since_ns;
	int r;

	sqlite3_bind_int64(s->rows, 1, s->last);
	sqlite3_bind_int64(s->rows, 2, since > INT64_MAX ? INT64_MAX :
						       (int64_t)since);
	while ((r = sqlite3_step(s->rows)) == SQLITE_ROW)
		row(s);
	sqlite3_reset(s->rows);
	fflush(stdout);
	return r;
}

static void rows(struct stored *s)
{
	if (step_all(s) != SQLITE_DONE)
		failed(s);
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
	sqlite3_finalize(all);
	if (r != SQLITE_DONE)
		failed(s);
}

/* Is there a store that has been made ready? One that has not is none yet. */
static int is_made(const char *path)
{
	sqlite3 *db = NULL;
	int made = stored_is(path) &&
		   !sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) &&
		   !sqlite3_busy_timeout(db, PATIENCE_MS) && schema_of(db) > 0;

	sqlite3_close(db);
	return made;
}

/* Has the daemon begun a new store, as its own was moved away or kept aside? Then
 * nothing more comes to this one, and its log is the new one's. */
static int is_replaced(const struct stored *s)
{
	int moved = 0;

	sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
	return moved && is_made(s->path);
}

/* What came to the old one before that. All of it is in the file itself, by whatever
 * name that has now. */
static void rest(struct stored *s)
{
	char uri[64];

	close_db(s);
	snprintf(uri, sizeof(uri), "file:/proc/self/fd/%d?immutable=1", s->fd);
	if (sqlite3_open_v2(uri, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
			    NULL) || prepare(s) || step_all(s) != SQLITE_DONE)
		tool_say("%s: it was moved away, and what it took last is not "
			 "shown: %s", s->name, sqlite3_errmsg(s->db));
	else
		tool_say("%s: it was moved away; what follows is of the new one",
			 s->name);
}

static void go_along(struct stored *s)
{
	rest(s);
	close_it(s);
	s->last = 0;
	open_it(s);
}

/* While it was read it may have become one that cannot be any more. */
static void rows_now(struct stored *s)
{
	if (is_replaced(s))
		go_along(s);
	while (s->status != TOOL_FAILED && step_all(s) != SQLITE_DONE) {
		if (!is_replaced(s))
			failed(s);
		else
			go_along(s);
	}
}

/* After each commit the daemon touches a file beside the store. */
static void follow(struct stored *s)
{
	char events[4096], *copy = strdup(s->path);
	int fd = inotify_init1(IN_CLOEXEC);
	/* of a pipe that nobody reads any more there is word without asking */
	struct pollfd wait[] = { { fd, POLLIN, 0 }, { STDOUT_FILENO, 0, 0 } };

	if (fd < 0 || !copy ||
	    inotify_add_watch(fd, dirname(copy), IN_ATTRIB) < 0) {
		tool_say("%s: it cannot be followed: %s", s->name,
			 strerror(errno));
		s->status = TOOL_FAILED;
	}
	while (s->status != TOOL_FAILED && !ferror(stdout)) {
		rows_now(s);
		if (s->status == TOOL_FAILED)
			break;
		if (poll(wait, 2, -1) < 0 && errno != EINTR)
			break;
		if (wait[1].revents)
			break;
		if (read(fd, events, sizeof(events)) < 0 && errno != EINTR)
			break;
	}
	free(copy);
	if (fd >= 0)
		close(fd);
}

int stored_log(const char *path, const char *name,
	       const struct log_wishes *wishes)
{
	struct stored s = { .name = name, .path = path, .wishes = wishes };

	if (!open_it(&s)) {
		if (wishes->counts)
			counts(&s);
		else if (wishes->apart)
			s.status = stored_apart(s.db, name, wishes);
		else if (wishes->follow)
			follow(&s);
		else
			rows(&s);
	}
	close_it(&s);
	return s.status;
}
