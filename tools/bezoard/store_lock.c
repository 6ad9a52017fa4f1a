/* SPDX-License-Identifier: MIT */
/*
 * Who writes to the store: the one that holds the lock beside it. The name counts, not the
 * file. The lock may have been moved away together with the store (mv records.db* old/), and
 * who holds only that one keeps nobody from the name any more.
 */
#include "store_in.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_ROOM	4096
#define TRIES		8		/* somebody moves it all the time */

int store_has_lock(const struct store *s)
{
	struct stat held, named;
	char name[NAME_ROOM];

	snprintf(name, sizeof(name), "%s.lock", s->path);
	return s->lock >= 0 && !fstat(s->lock, &held) && !stat(name, &named) &&
	       held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

void store_unlock(struct store *s)
{
	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
}

static int cannot_open(struct store *s, const char *name)
{
	const char *end = strrchr(name, '/');
	int folder = end && end > name ? (int)(end - name) : 1;

	if (errno != ENOENT)
		store_refuse(s, "%s: %s", name, strerror(errno));
	else if (!end)
		store_refuse(s, "%s: the working folder has been removed",
			     s->path);
	else
		store_refuse(s, "%s: there is no such folder. Make it: mkdir -m "
			     "751 %.*s", s->path, folder, name);
	return -1;
}

int store_lock(struct store *s)
{
	char name[NAME_ROOM];
	int i;

	snprintf(name, sizeof(name), "%s.lock", s->path);
	for (i = 0; i < TRIES && !store_has_lock(s); i++) {
		store_unlock(s);
		s->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
			       0640);
		if (s->lock < 0)
			return cannot_open(s, name);
		if (flock(s->lock, LOCK_EX | LOCK_NB)) {
			store_refuse(s, "%s: another bezoard writes to it",
				     s->path);
			store_unlock(s);
			return -1;
		}
	}
	if (i < TRIES)
		return 0;
	store_refuse(s, "%s: it is another file each time", name);
	store_unlock(s);
	return -1;
}
