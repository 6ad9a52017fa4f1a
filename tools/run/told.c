/* SPDX-License-Identifier: MIT */
#include "told.h"

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../escape.h"

#ifdef HAVE_SQLITE
#include "../bezoard/schema.h"
#include "told_in.h"

#define PATIENCE_MS	500	/* until the daemon has taken it */
#define FIRST_NS	4026531836u	/* inode of the first pid namespace */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void told_close(struct told *t)
{
	sqlite3_close(t->db);
	if (t->notify >= 0)
		close(t->notify);
}

int told_open(struct told *t, const char *store)
{
	char *copy = strdup(store);

	t->db = NULL;
	t->end_ms = now_ms() + PATIENCE_MS;
	t->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (t->notify >= 0 && copy)
		inotify_add_watch(t->notify, dirname(copy), IN_ATTRIB);
	free(copy);
	if (access(store, R_OK) ||
	    sqlite3_open_v2(store, &t->db, SQLITE_OPEN_READONLY, NULL) ||
	    sqlite3_busy_timeout(t->db, PATIENCE_MS) || schema_of(t->db) < 1) {
		told_close(t);
		return -1;
	}
	return 0;
}

/* The daemon touches a file beside the store after each commit. */
int told_waits(struct told *t)
{
	struct pollfd poll_it = { t->notify, POLLIN, 0 };
	uint64_t now = now_ms();
	char events[4096];

	if (now >= t->end_ms || t->notify < 0)
		return 0;
	if (poll(&poll_it, 1, (int)(t->end_ms - now)) <= 0)
		return 0;
	while (read(t->notify, events, sizeof(events)) > 0)
		continue;
	return 1;
}

sqlite3_stmt *told_ask(struct told *t, const char *sql)
{
	sqlite3_stmt *s = NULL;

	return sqlite3_prepare_v2(t->db, sql, -1, &s, NULL) ? NULL : s;
}

/* Labels come from the firmware: as plain text, cut if it is too long. */
static void module(sqlite3_stmt *s, int column, struct death *d)
{
	const char *name = (const char *)sqlite3_column_text(s, column);
	size_t len = name ? strlen(name) : 0;

	if (len)
		escape(d->dimm, name, len < DIMM_ROOM / 4 - 1 ?
		       len : DIMM_ROOM / 4 - 1);
}

static void frame(sqlite3_stmt *s, int column, struct death *d)
{
	int64_t n = sqlite3_column_int64(s, column);

	if (n < 0 || sqlite3_column_type(s, column) != SQLITE_INTEGER)
		return;
	d->has_frame = 1;
	d->frame = (uint64_t)n;
}

/* Asks until there is a row, or nothing more is to be waited for. @s is then at that
 * row; NULL: there is none. */
static sqlite3_stmt *row(struct told *t, sqlite3_stmt *s)
{
	while (s && sqlite3_step(s) != SQLITE_ROW) {
		sqlite3_reset(s);
		if (told_waits(t))
			continue;
		sqlite3_finalize(s);
		s = NULL;
	}
	return s;
}

/* ------------------------------------------------------------------ the kernel */

static int is_first_namespace(void)
{
	struct stat st;

	return !stat("/proc/self/ns/pid", &st) && st.st_ino == FIRST_NS;
}

int told_killed(const char *store, uint64_t since_ns, int sig, struct death *d)
{
	static const char sql[] =
		"SELECT frame, dimm FROM kernel WHERE boot_id = ?1 AND pid = ?2 "
		"AND wall_ns >= ?3 AND kind = 'killed' AND (?4 OR "
		"text NOT GLOB '*0x*: Sending SIGBUS to *') "
		"ORDER BY number DESC LIMIT 1";
	sqlite3_stmt *s;
	struct told t;
	int found;

	if (!is_first_namespace() || told_open(&t, store))
		return 0;
	s = told_ask(&t, sql);
	if (s) {
		sqlite3_bind_blob(s, 1, d->boot_id, 16, SQLITE_STATIC);
		sqlite3_bind_int(s, 2, d->pid);
		sqlite3_bind_int64(s, 3, (int64_t)since_ns);
		/* who was sent SIGBUS early may have lived on, and be killed by
		 * somebody else; no name of a process is as long as these words */
		sqlite3_bind_int(s, 4, sig == SIGBUS);
	}
	s = row(&t, s);
	found = s != NULL;
	if (found) {
		frame(s, 0, d);
		module(s, 1, d);
	}
	sqlite3_finalize(s);
	told_close(&t);
	return found;
}

/* ------------------------------------------------------------------ the module */

static void place_of_record(struct told *t, int patient, struct death *d)
{
	sqlite3_stmt *s = told_ask(t, "SELECT places.frame, places.dimm FROM "
				   "records JOIN places ON places.record = "
				   "records.number WHERE digest = ?1");

	if (!s)
		return;
	sqlite3_bind_int64(s, 1, (int64_t)d->digest);
	if (patient)
		s = row(t, s);
	else if (sqlite3_step(s) != SQLITE_ROW)
		sqlite3_reset(s);
	if (s && sqlite3_data_count(s)) {
		frame(s, 0, d);
		module(s, 1, d);
	}
	sqlite3_finalize(s);
}

static void place_of_frame(struct told *t, struct death *d)
{
	sqlite3_stmt *s = told_ask(t, "SELECT dimm FROM kernel WHERE frame = ?1 "
				   "AND dimm != '' ORDER BY number DESC "
				   "LIMIT 1");

	if (!s)
		return;
	sqlite3_bind_int64(s, 1, (int64_t)d->frame);
	if (sqlite3_step(s) == SQLITE_ROW)
		module(s, 0, d);
	sqlite3_finalize(s);
}

static void other_boots(struct told *t, struct death *d)
{
	sqlite3_stmt *s = told_ask(t, "SELECT wall_ns FROM kernel WHERE frame = "
				   "?1 AND boot_id != ?2 AND kind IN ('poison', "
				   "'handled', 'killed', 'uncorrected') "
				   "ORDER BY number DESC LIMIT 1");

	if (!s)
		return;
	sqlite3_bind_int64(s, 1, (int64_t)d->frame);
	sqlite3_bind_blob(s, 2, d->boot_id, 16, SQLITE_STATIC);
	if (sqlite3_step(s) == SQLITE_ROW) {
		d->frame_was_lost = 1;
		d->frame_lost_ns = (uint64_t)sqlite3_column_int64(s, 0);
	}
	sqlite3_finalize(s);
}

void told_place(const char *store, struct death *d)
{
	struct told t;

	if (told_open(&t, store))
		return;
	if (d->digest)
		place_of_record(&t, 1, d);
	if (d->has_frame && !*d->dimm)
		place_of_frame(&t, d);
	if (d->has_frame)
		other_boots(&t, d);
	told_close(&t);
}

/* What the kernel says of a module may come long after the signal. */
void told_later(const char *store, struct deaths *deaths)
{
	struct told t;
	size_t i;

	if (told_open(&t, store))
		return;
	for (i = 0; i < deaths->n; i++) {
		struct death *d = &deaths->death[i];

		if (!*d->dimm && d->digest)
			place_of_record(&t, 0, d);
		if (!*d->dimm && d->has_frame)
			place_of_frame(&t, d);
	}
	told_close(&t);
}

#else /* no SQLite: nothing is known */

int told_killed(const char *store, uint64_t since_ns, int sig, struct death *d)
{
	(void)store;
	(void)since_ns;
	(void)sig;
	(void)d;
	return 0;
}

void told_place(const char *store, struct death *d)
{
	(void)store;
	(void)d;
}

void told_later(const char *store, struct deaths *deaths)
{
	(void)store;
	(void)deaths;
}
#endif
