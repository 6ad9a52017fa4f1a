/* SPDX-License-Identifier: MIT */
/* Which files a page must not take the place of. */
#include "spared.h"

#include <bezoar/record.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../stored.h"

#define LINKS	40		/* as many as the kernel follows */
#define ROOM	(PATH_MAX + 16)	/* and an ending */

int spared_links(const char *name, char ret[PATH_MAX])
{
	char target[PATH_MAX], *slash;
	int links = 0;
	ssize_t n;

	if (snprintf(ret, PATH_MAX, "%s", name) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	while ((n = readlink(ret, target, sizeof(target))) > 0) {
		slash = strrchr(ret, '/');
		if (*target == '/' || !slash)
			slash = ret;
		else
			slash++;
		if (n >= PATH_MAX - (slash - ret) || links++ == LINKS) {
			errno = links > LINKS ? ELOOP : ENAMETOOLONG;
			return -1;
		}
		memcpy(slash, target, (size_t)n);
		slash[n] = '\0';
	}
	return 0;
}

/* @path is cut: the folder, which is looked at, and the name in there. NULL: there is
 * no such folder. */
static const char *split(char *path, struct stat *ret_folder)
{
	char *slash = strrchr(path, '/');
	const char *folder = path;

	if (!slash)
		return stat(".", ret_folder) ? NULL : path;
	if (slash == path)
		folder = "/";
	else
		*slash = '\0';
	return stat(folder, ret_folder) ? NULL : slash + 1;
}

/* Two names of one file that need not be there yet. */
static int is_one_name(const char *a, const char *b)
{
	char path_a[PATH_MAX], path_b[PATH_MAX];
	struct stat folder_a, folder_b;
	const char *name_a, *name_b;

	if (spared_links(a, path_a) || spared_links(b, path_b))
		return 0;
	name_a = split(path_a, &folder_a);
	name_b = split(path_b, &folder_b);
	return name_a && name_b && !strcmp(name_a, name_b) &&
	       folder_a.st_dev == folder_b.st_dev &&
	       folder_a.st_ino == folder_b.st_ino;
}

struct asked {
	const char *name;	/* NULL: standard output */
	int is_there;
	struct stat st;
};

static int is_file(const struct asked *o, const char *path)
{
	struct stat st;

	if (!stat(path, &st))
		return o->is_there && st.st_dev == o->st.st_dev &&
		       st.st_ino == o->st.st_ino;
	return !o->is_there && o->name && is_one_name(o->name, path);
}

/* SQLite's files are beside the file itself, the daemon's lock beside its name. */
static const char *of_store(const struct asked *o, const char *store)
{
	static const char *const ends[] = { "-wal", "-shm", "-journal", ".lock" };
	char itself[PATH_MAX], path[ROOM];
	const char *names[] = { store, realpath(store, itself) };
	size_t i, n;

	if (is_file(o, store))
		return "it is the store itself";
	for (n = 0; n < 2; n++) {
		for (i = 0; names[n] && i < sizeof(ends) / sizeof(ends[0]); i++) {
			if (snprintf(path, sizeof(path), "%s%s", names[n],
				     ends[i]) < (int)sizeof(path) &&
			    is_file(o, path))
				return "it is a file of the store's";
		}
	}
	return NULL;
}

static int holds_records(const char *name)
{
	char head[sizeof(BEZ_RECORD_MAGIC) - 1];
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), is;

	if (fd < 0)
		return 0;
	is = pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	     !memcmp(head, BEZ_RECORD_MAGIC, sizeof(head));
	close(fd);
	return is;
}

const char *spared(const char *store, const char *output)
{
	struct asked o = { .name = strcmp(output, "-") ? output : NULL };
	const char *why;

	o.is_there = o.name ? !stat(o.name, &o.st) :
			      !fstat(STDOUT_FILENO, &o.st);
	why = of_store(&o, store);
	if (why || !o.name || !o.is_there || !S_ISREG(o.st.st_mode))
		return why;
	if (stored_is(o.name))
		return "it is a database of SQLite";
	return holds_records(o.name) ? "it is a file of records" : NULL;
}
