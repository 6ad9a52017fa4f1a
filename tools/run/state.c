/* SPDX-License-Identifier: MIT */
/* The folder, and the files in it; what is in a file is in state_json.c. */
#include "state.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../tool.h"
#include "state_json.h"

#define OF_ALL	"/var/lib/bezoar"	/* the daemon's store, too */
#define MOST	(1 << 20)	/* bytes of a file */
#define FILE_MOST	200	/* characters, and an end: files have 255 */
#define HASHED		18
#define LOCK_TRIES	200	/* of 10 ms */

const char *state_folder(char ret[4096])
{
	const char *xdg = secure_getenv("XDG_STATE_HOME");
	const char *home = secure_getenv("HOME");

	if (!geteuid())
		return strcpy(ret, OF_ALL "/run");
	if (xdg && *xdg == '/')
		snprintf(ret, 4096, "%s/bezoar", xdg);
	else if (home && *home == '/')
		snprintf(ret, 4096, "%s/.local/state/bezoar", home);
	else
		return NULL;
	return ret;
}

/* All that leads there; who may look into it is for who has made it before. */
static void make_folders(const char *folder)
{
	char path[4096], *slash;

	snprintf(path, sizeof(path), "%s", folder);
	for (slash = strchr(path + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, strcmp(path, OF_ALL) ? 0755 : 0751);
		*slash = '/';
	}
	mkdir(path, 0750);
}

/* Whoever can write there can latch what is another's, or let it start. */
static int is_ours(int fd, mode_t type)
{
	struct stat st;

	return !fstat(fd, &st) && (st.st_mode & S_IFMT) == type &&
	       (!st.st_uid || st.st_uid == geteuid()) &&
	       !(st.st_mode & S_IWOTH) &&
	       (!(st.st_mode & S_IWGRP) || !st.st_gid ||
		st.st_gid == getegid());
}

int state_open(const char *folder, int make)
{
	int fd, r;

	if (make)
		make_folders(folder);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = is_ours(fd, S_IFDIR) ? fd : -EPERM;
	if (r < 0)
		close(fd);
	return r;
}

static int is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' ||
	       c == '@' || c == ':';
}

int state_file(char ret[NAME_FILE], const char *name, const char *end)
{
	size_t i, len = strlen(name);
	char *to = ret, *cut = ret;

	if (!len || len > NAME_MOST)
		return -1;
	for (i = 0; i < len && to - ret <= FILE_MOST; i++) {
		if (is_plain(name[i]) && (i || name[i] != '.'))
			*to++ = name[i];
		else
			to += sprintf(to, "%%%02X", (unsigned char)name[i]);
		if (to - ret <= FILE_MOST - HASHED)
			cut = to;
	}
	/* no name is written with "%+" */
	if (to - ret > FILE_MOST)
		to = cut + sprintf(cut, "%%+%016" PRIx64, bez_digest(name, len));
	snprintf(to, 16, "%s", end);
	return 0;
}

int state_open_lock(int folder, const char *file)
{
	int fd = openat(folder, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW |
			O_NONBLOCK | O_NOCTTY, 0600);

	if (fd < 0)
		return -errno;
	if (is_ours(fd, S_IFREG))
		return fd;
	close(fd);
	return -EPERM;
}

int state_lock(int folder)
{
	const struct timespec a_while = { 0, 10000000 };
	int fd = state_open_lock(folder, ".lock"), tries, r = -EWOULDBLOCK;

	/* flock(2) has no limit of its own */
	for (tries = 0; fd >= 0 && tries < LOCK_TRIES; tries++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return fd;
		r = -errno;
		if (r != -EWOULDBLOCK)
			break;
		nanosleep(&a_while, NULL);
	}
	if (fd < 0)
		return fd;
	close(fd);
	return r;
}

void state_unlock(int lock)
{
	if (lock >= 0)
		close(lock);
}

static void aside(int folder, const char *file, const char *why)
{
	char to[NAME_FILE + 64], when[40], shown[ESCAPED(NAME_FILE)];
	time_t now = time(NULL);
	struct tm tm;

	memset(&tm, 0, sizeof(tm));
	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), ".aside-%Y%m%dT%H%M%SZ", &tm);
	snprintf(to, sizeof(to), "%s%s", file, when);
	escape(shown, file, strlen(file));
	if (renameat(folder, file, folder, to))
		tool_say("%s CANNOT BE USED (%s), nor be kept aside: %s", shown,
			 why, strerror(errno));
	else
		tool_say("%s CANNOT BE USED: %s. It is kept as %s%s, and what "
			 "was known of that name is forgotten", shown, why,
			 shown, when);
}

/* All of it, with a NUL. NULL: errno. */
static char *read_all(int folder, const char *file)
{
	int fd = openat(folder, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW |
			O_NONBLOCK | O_NOCTTY);
	char *text = NULL;
	size_t len = 0;
	struct stat st;
	ssize_t n = 0;
	int err;

	if (fd < 0)
		return NULL;
	if (!is_ours(fd, S_IFREG) || fstat(fd, &st) || st.st_size > MOST) {
		errno = EFBIG;
	} else if ((text = malloc(MOST + 2))) {
		while (len <= MOST &&
		       (n = read(fd, text + len, MOST + 1 - len)) > 0)
			len += (size_t)n;
		text[len] = '\0';
	}
	err = n < 0 ? EIO : errno;
	close(fd);
	if (n < 0) {
		free(text);
		text = NULL;
	}
	errno = err;
	return text;
}

/* -EBADMSG: it cannot be understood; *@ret_why. */
static int read_state(int folder, const char *file, struct state *ret_state,
		      const char **ret_why)
{
	char *text;
	int r;

	memset(ret_state, 0, sizeof(*ret_state));
	text = read_all(folder, file);
	*ret_why = "it is no file of ours, or far too long";
	if (!text)
		return errno == EFBIG ? -EBADMSG : errno == ENOENT ? 0 : -errno;
	r = state_parse(text, ret_state, ret_why);
	free(text);
	if (!r)
		return 0;
	memset(ret_state, 0, sizeof(*ret_state));
	return r == -EPROTO ? r : -EBADMSG;
}

int state_load(int folder, const char *name, struct state *ret_state)
{
	char file[NAME_FILE];
	const char *why;
	int r;

	if (state_file(file, name, ".json"))
		return -ENAMETOOLONG;
	r = read_state(folder, file, ret_state, &why);
	if (r == -EBADMSG)
		aside(folder, file, why);
	return r == -EBADMSG ? 0 : r;
}

int state_look(int folder, const char *file, struct state *ret_state)
{
	char shown[ESCAPED(NAME_FILE)];
	const char *why;
	int r = read_state(folder, file, ret_state, &why);

	if (r == -EBADMSG)
		tool_say("%s cannot be used: %s",
			 escape(shown, file, strnlen(file, NAME_FILE)), why);
	return r;
}

static int put(int folder, const char *file, const char *text)
{
	size_t len = strlen(text), at = 0;
	int fd, r = 0;
	ssize_t n;

	/* of one who was killed; a link, or whatever it is, is not followed */
	unlinkat(folder, file, 0);
	fd = openat(folder, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	while (at < len && !r) {
		n = write(fd, text + at, len - at);
		if (n > 0)
			at += (size_t)n;
		else if (!n || errno != EINTR)
			r = n ? -errno : -EIO;
	}
	if (!r && fsync(fd))
		r = -errno;
	if (close(fd) && !r)
		r = -errno;
	return r;
}

int state_save(int folder, const char *name, const struct state *s)
{
	char file[NAME_FILE], fresh[NAME_FILE], *text;
	struct state again = { .latch = LATCH_NONE };
	const char *why;
	int r;

	if (state_file(file, name, ".json") || state_file(fresh, name, ".new"))
		return -ENAMETOOLONG;
	text = state_print(name, s);
	if (!text)
		return -ENOMEM;
	/* what could not be read would be lost later, and all with it */
	if (state_parse(text, &again, &why)) {
		free(text);
		return -EINVAL;
	}
	r = put(folder, fresh, text);
	free(text);
	if (!r && renameat(folder, fresh, folder, file))
		r = -errno;
	if (r)
		unlinkat(folder, fresh, 0);
	else if (fsync(folder))
		r = -errno;
	return r;
}

/* What was looked at is no death, and is not to be looked at again. */
int state_forget(int folder, const char *name)
{
	struct state s, none = { .latch = LATCH_NONE };
	char file[NAME_FILE];
	const char *why;
	int r;

	if (state_file(file, name, ".json"))
		return -ENAMETOOLONG;
	r = read_state(folder, file, &s, &why);
	none.looked = s.looked;
	if (r || !s.looked)
		return unlinkat(folder, file, 0) ? -errno : 0;
	if (!s.latch && !s.deaths.n)
		return -ENOENT;
	return state_save(folder, name, &none);
}
