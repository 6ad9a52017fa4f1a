/* SPDX-License-Identifier: MIT */
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PREFIX		"bezoar-run-"
#define LETTERS		6		/* behind it, by mkdtemp(3) */
#define LOCK		"lock"
#define SECRET		16		/* bytes */
#define WAITING		4096		/* the kernel has a limit of its own */
#define TRIES		8
#define PLACES		2

/* The first that will do. NULL: there is none such. */
static const char *place_number(int i)
{
	const char *own = geteuid() ? secure_getenv("XDG_RUNTIME_DIR") : "/run";
	const char *where = i ? "/tmp" : own;

	return where && *where == '/' && strlen(where) <= 40 ? where : NULL;
}

/* ------------------------------------------------------------------ to make one */

/* Somebody who tidies may have been quicker: then it is gone, or going. */
static int take_lock(struct place *p)
{
	char path[sizeof(p->folder) + sizeof(LOCK)];
	struct stat st;

	snprintf(path, sizeof(path), "%s/" LOCK, p->folder);
	p->lock = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (p->lock < 0)
		return -errno;
	if (!flock(p->lock, LOCK_EX | LOCK_NB) && !fstat(p->lock, &st) &&
	    st.st_nlink)
		return 0;
	close(p->lock);
	p->lock = -1;
	return -ENOENT;
}

static int make_folder(struct place *p, const char *where)
{
	int tries, r = -ENOENT;

	for (tries = 0; tries < TRIES && r == -ENOENT; tries++) {
		snprintf(p->folder, sizeof(p->folder), "%s/" PREFIX "XXXXXX",
			 where);
		if (!mkdtemp(p->folder))
			return -errno;
		r = take_lock(p);
		if (r && r != -ENOENT)
			rmdir(p->folder);
	}
	return r;
}

/*
 * For others it has another name than the one that it was bound to, which everybody
 * sees in /proc/net/unix; and they may not list the folder. What fails leaves it ours
 * alone.
 */
static void open_to_others(struct place *p)
{
	unsigned char secret[SECRET];
	char path[PLACE_ROOM];
	int len, i;

	len = snprintf(path, sizeof(path), "%s/", p->folder);
	if (len + 2 * SECRET >= PLACE_ROOM ||
	    getentropy(secret, sizeof(secret)) || chmod(p->path, 0666))
		return;
	for (i = 0; i < SECRET; i++)
		len += sprintf(path + len, "%02x", secret[i]);
	if (rename(p->path, path))
		return;
	memcpy(p->path, path, sizeof(path));
	chmod(p->folder, 0711);
}

static int bind_there(struct place *p, int fd)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	snprintf(p->path, sizeof(p->path), "%s/socket", p->folder);
	memcpy(to.sun_path, p->path, sizeof(p->path));
	if (bind(fd, (struct sockaddr *)&to, sizeof(to)) || listen(fd, WAITING))
		return -errno;
	if (!geteuid())
		open_to_others(p);
	return 0;
}

int place_make(struct place *p, int fd)
{
	const char *where;
	int i, r = -ENOENT;

	p->lock = -1;
	for (i = 0; i < PLACES && r; i++) {
		where = place_number(i);
		if (!where)
			continue;
		r = make_folder(p, where);
		if (!r)
			r = bind_there(p, fd);
		if (r)
			place_leave(p);
	}
	return r;
}

/* ------------------------------------------------------------- to take one away */

static int is_socket(int folder, const char *name)
{
	struct stat st;

	return !fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) &&
	       S_ISSOCK(st.st_mode);
}

/* By who has the lock, which goes last: who is killed meanwhile has left that. What
 * nobody here has made stays, and the folder with it. */
static void empty(int folder)
{
	int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (is_socket(folder, e->d_name))
			unlinkat(folder, e->d_name, 0);
	if (d)
		closedir(d);
	else if (again >= 0)
		close(again);
	unlinkat(folder, LOCK, 0);
}

void place_leave(struct place *p)
{
	int folder;

	if (p->lock < 0)
		return;
	folder = open(p->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
		      O_CLOEXEC);
	if (folder >= 0) {
		empty(folder);
		close(folder);
	}
	rmdir(p->folder);
	close(p->lock);
	p->lock = -1;
}

static int is_folder_of_mine(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_uid == geteuid() &&
	       ((st.st_mode & 0777) == 0700 || (st.st_mode & 0777) == 0711);
}

/* The lock, if nobody has it; no other user can open it. */
static int lock_left(int folder)
{
	int fd = openat(folder, LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW |
			O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) &&
	    !flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/*
 * What is no folder of this user's, or looks like another's work, is not touched, nor
 * is what a link points to. One without a lock is gone if it is empty: who has just
 * made it makes another one.
 */
static void tidy(int where, const char *name)
{
	int folder = openat(where, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
			    O_CLOEXEC), lock;

	if (folder < 0)
		return;
	if (is_folder_of_mine(folder)) {
		lock = lock_left(folder);
		if (lock >= 0)
			empty(folder);
		unlinkat(where, name, AT_REMOVEDIR);
		if (lock >= 0)
			close(lock);
	}
	close(folder);
}

static int is_shaped(const char *name)
{
	size_t len = strlen(PREFIX);

	return !strncmp(name, PREFIX, len) && strlen(name) == len + LETTERS &&
	       strspn(name + len, "abcdefghijklmnopqrstuvwxyz"
		      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == LETTERS;
}

void place_tidy(void)
{
	const struct dirent *e;
	const char *where;
	DIR *d;
	int i;

	for (i = 0; i < PLACES; i++) {
		where = place_number(i);
		d = where ? opendir(where) : NULL;
		while (d && (e = readdir(d)))
			if (is_shaped(e->d_name))
				tidy(dirfd(d), e->d_name);
		if (d)
			closedir(d);
	}
}
