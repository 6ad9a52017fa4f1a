/* SPDX-License-Identifier: MIT */
/*
 * bezoar log --follow: what is stored later, too. The daemon may begin another store under
 * the name, as its own was moved away or kept aside; then all of the old one is shown first.
 */
#include "stored_in.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bezoard/schema.h"
#include "follow.h"

/* Is there a store that has been made ready? One that has not is none yet. */
static int is_made(const char *path)
{
	sqlite3 *db = NULL;
	int made = stored_is(path) &&
		   !sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) &&
		   !sqlite3_busy_timeout(db, STORED_PATIENCE_MS) &&
		   schema_of(db) > 0;

	sqlite3_close(db);
	return made;
}

/* Nothing more comes to this one then, and another is under its name. */
static int is_replaced(const struct stored *s)
{
	int moved = 0;

	sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
	return moved && is_made(s->path);
}

/* SQLite's log, as it lies under its name. -1: there is none. */
static int log_of(const struct stored *s, struct stat *ret_st)
{
	/* SQLite has it beside the file, if this is a link */
	char *real = realpath(s->path, NULL), *name;
	int r;

	if (asprintf(&name, "%s-wal", real ? real : s->path) < 0)
		name = NULL;
	r = name ? stat(name, ret_st) : -1;
	free(name);
	free(real);
	return r;
}

static void note_log(struct stored *s)
{
	struct stat st = { 0 };

	if (log_of(s, &st))
		memset(&st, 0, sizeof(st));
	s->log_dev = st.st_dev;
	s->log_ino = st.st_ino;
}

/* Did the log of the old one stay, and has become the new one's? Then the connection would
 * read the one by the other's; but then the daemon has put all of it into the old file. */
static int log_has_stayed(const struct stored *s)
{
	struct stat st;

	return !log_of(s, &st) && st.st_dev == s->log_dev &&
	       st.st_ino == s->log_ino;
}

/* The old file itself, by whatever name it has now, and without a log. */
static int open_alone(struct stored *s)
{
	char uri[64];

	stored_close_db(s);
	snprintf(uri, sizeof(uri), "file:/proc/self/fd/%d?immutable=1", s->fd);
	return sqlite3_open_v2(uri, &s->db, SQLITE_OPEN_READONLY |
			       SQLITE_OPEN_URI, NULL) || stored_prepare(s);
}

/* What came to the old one before that. */
static void rest(struct stored *s)
{
	if ((log_has_stayed(s) && open_alone(s)) ||
	    stored_step(s) != SQLITE_DONE)
		tool_say("%s: it was moved away, and what it took last is not "
			 "shown: %s", s->name, sqlite3_errmsg(s->db));
	else
		tool_say("%s: it was moved away; what follows is of the new one",
			 s->name);
}

static void begin(struct stored *s)
{
	s->last = 0;
	if (!stored_begin(s))
		note_log(s);
}

static void go_along(struct stored *s)
{
	rest(s);
	stored_end(s);
	begin(s);
}

/* While it was read it may have become one that cannot be any more. */
static void rows_now(struct stored *s)
{
	if (is_replaced(s))
		go_along(s);
	while (s->status != TOOL_FAILED && stored_step(s) != SQLITE_DONE) {
		if (!is_replaced(s))
			stored_failed(s);
		else
			go_along(s);
	}
}

/* It was to become a store, and something else is there: a program has begun to write. */
static int is_another(const struct stored *s)
{
	return !stored_is(s->path) && !stored_is_not_yet(s->path);
}

void stored_follow(struct stored *s)
{
	int fd = inotify_init1(IN_CLOEXEC);

	if (fd < 0) {
		tool_say("%s: it cannot be followed: %s", s->name,
			 strerror(errno));
		s->status = TOOL_FAILED;
		return;
	}
	if (s->db)
		note_log(s);
	do {
		/* after each commit the daemon touches a file beside the store */
		follow_watch(fd, s->path, IN_ATTRIB | IN_CREATE |
			     (s->db ? 0 : IN_MODIFY));
		if (!s->db && is_made(s->path))
			begin(s);
		if (s->db)
			rows_now(s);
		else if (is_another(s))
			s->status = LOG_NO_STORE;
	} while (s->status != TOOL_FAILED && s->status != LOG_NO_STORE &&
		 !ferror(stdout) && follow_wait(fd));
	close(fd);
}
