/* SPDX-License-Identifier: MIT */
/*
 * What is kept under another name: a store that cannot be used, and the log of one that has
 * gone without it. What was in them may still be read by who has the tools.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "store_in.h"

#define NAME_ROOM	4096

static void beside(char ret[NAME_ROOM], const char *path, const char *end)
{
	snprintf(ret, NAME_ROOM, "%s%s", path, end);
}

/* An end for a name that nothing has: it says when. */
static void when_is(char ret[64], const char *path)
{
	char to[NAME_ROOM], log[NAME_ROOM + 8];
	time_t now = time(NULL);
	unsigned int n = 0;
	struct tm tm;

	memset(&tm, 0, sizeof(tm));
	gmtime_r(&now, &tm);
	strftime(ret, 32, ".aside-%Y%m%dT%H%M%SZ", &tm);
	do {
		if (n)
			snprintf(ret + strcspn(ret, "Z"), 16, "Z-%u", n);
		beside(to, path, ret);
		snprintf(log, sizeof(log), "%s-wal", to);
	} while ((!access(to, F_OK) || !access(log, F_OK)) && ++n < 1000);
}

/* Out of the way, with a name that says when. -1: it was said why not. The log first: if
 * this ends in between, what is left is a store that has to go aside once more. */
int store_aside(struct store *s, const char *why)
{
	static const char *const ends[] = { "-wal", "" };
	struct journal j = { .id = JOURNAL_ASIDE, .priority = LOG_ERR };
	const char *path = s->path;
	char from[NAME_ROOM], to[NAME_ROOM], when[64];
	unsigned int i;

	if (store_is_no_file(path)) {
		store_refuse(s, "%s is no file: %s", path, why);
		return -1;
	}
	when_is(when, path);
	beside(from, path, "-shm");
	unlink(from);
	for (i = 0; i < 2; i++) {
		beside(from, path, ends[i]);
		snprintf(to, sizeof(to), "%s%s%s", path, when, ends[i]);
		if (rename(from, to) && (i || errno != ENOENT)) {
			store_refuse(s, "%s cannot be used (%s), and cannot be "
				     "kept aside either: %s. Make its folder "
				     "writable, or name another by --store",
				     path, why, strerror(errno));
			return -1;
		}
	}
	journal_field(&j, "BEZOAR_STORE=%s", path);
	journal_field(&j, "BEZOAR_ASIDE=%s%s", path, when);
	journal_say(&j, "%s CANNOT BE USED: %s. It is kept as %s%s, and a new, "
		    "empty store was begun", path, why, path, when);
	return 0;
}

/* The log of one that was moved away without it, and nobody has put into that: it is of use
 * beside it only. */
void store_log_aside(const char *path)
{
	char from[NAME_ROOM], to[NAME_ROOM], when[64];
	struct stat st;

	beside(from, path, "-wal");
	if (stat(from, &st))
		return;
	if (!st.st_size) {
		unlink(from);
		return;
	}
	when_is(when, path);
	snprintf(to, sizeof(to), "%s%s-wal", path, when);
	if (rename(from, to))
		say("%s CANNOT BE KEPT ASIDE: %s", from, strerror(errno));
	else
		say("%s IS THE LOG OF A STORE that was moved away without it: it "
		    "is kept as %s. What is in it can be read where it is beside "
		    "that store, by its name and -wal", from, to);
}
