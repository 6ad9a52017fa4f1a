/* SPDX-License-Identifier: MIT */
/*
 * Is what lies under the store's name a store of bezoard's? Asked when the daemon begins,
 * of a name that somebody may have mistaken: what is none is neither written to nor moved
 * away. The lock that stays beside a store is the proof for one that is damaged, and has
 * nothing else to show; without it the schema is, read by a way that makes no files.
 */
#include "store_in.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "item.h"
#include "schema.h"

#define NAME_ROOM	4096

/* A folder, a device. */
int store_is_no_file(const char *path)
{
	struct stat st;

	return !stat(path, &st) && !S_ISREG(st.st_mode);
}

const char *store_where(const char *path)
{
	struct stat st;
	char *real = NULL;

	if (!lstat(path, &st) && S_ISLNK(st.st_mode))
		real = realpath(path, NULL);
	return real ? real : path;
}

/* Like one that is at version 1 or later. */
static int has_schema(int fd)
{
	sqlite3_stmt *sql = NULL;
	sqlite3 *db = NULL;
	char uri[64];
	int ours;

	snprintf(uri, sizeof(uri), "file:/proc/self/fd/%d?immutable=1", fd);
	ours = !sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY |
				SQLITE_OPEN_URI, NULL) && schema_of(db) > 0 &&
	       !sqlite3_prepare_v2(db, "SELECT digest FROM records", -1, &sql,
				   NULL);
	sqlite3_finalize(sql);
	sqlite3_close(db);
	return ours;
}

/* NULL: it is one, or is to become one. Else what it is. */
static const char *what(const char *path)
{
	struct stat st;
	const char *is = NULL;
	int fd;

	/* none; or who takes the lock will meet the same */
	if (lstat(path, &st))
		return NULL;
	if (stat(path, &st))
		return "a link that leads nowhere";
	if (!S_ISREG(st.st_mode))
		return "no file";
	if (!st.st_size)
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return "a file that cannot be read";
	if (!has_schema(fd))
		is = "a database of something else, or none";
	close(fd);
	return is;
}

const char *store_is_another(const char *path)
{
	char name[NAME_ROOM];

	snprintf(name, sizeof(name), "%s.lock", path);
	if (!access(name, F_OK) && !store_is_no_file(path))
		return NULL;
	return what(path);
}
