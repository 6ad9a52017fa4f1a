/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "escape.h"
#include "follow.h"
#include "read.h"
#include "show.h"
#ifdef HAVE_SQLITE
#include "stored.h"
#endif

#define ROOM 65536

struct log {
	const char *name;	/* escaped */
	const struct log_wishes *wishes;
	int fd, status, follows;
	uint64_t at;		/* in the file, of bytes[0] */
	uint64_t skipped, skipped_at; /* not said yet */
	size_t len;
	unsigned char bytes[ROOM];
};

int log_record(const struct log_wishes *wishes, const struct bez_record *r,
	       const struct show_from *from)
{
	int bad = 0;

	if (wishes->shown)
		++*wishes->shown;
	if (!wishes->json)
		show_text(r, from);
	else
		bad = show_line(show_object(r, from));
	if (wishes->explain) {
		bad |= explain_code('O', r->outcome, wishes->json);
		if (r->why)
			bad |= explain_code('O', r->why, wishes->json);
		bad |= explain_code('C', r->cause, wishes->json);
	}
	return bad | tool_unwritten();
}

/* What is no record may come in parts; it is said once. */
static void say_skipped(struct log *l)
{
	if (l->skipped)
		tool_say("%s: at byte %" PRIu64 ": %" PRIu64
			 " bytes that are no record, skipped", l->name,
			 l->skipped_at, l->skipped);
	l->skipped = 0;
}

static void say(struct log *l, const char *what, size_t len)
{
	tool_say("%s: at byte %" PRIu64 ": %s, %zu bytes skipped", l->name,
		 l->at, what, len);
}

static void show(struct log *l, const struct piece *p, size_t len)
{
	char what[64];

	if (p->kind != PIECE_OTHER)
		say_skipped(l);
	if (p->kind != PIECE_RECORD && !l->status)
		l->status = TOOL_FOUND;
	switch (p->kind) {
	case PIECE_RECORD:
		if (!filter_takes(&l->wishes->filter, &p->record,
				  p->record.pid))
			return;
		if (log_record(l->wishes, &p->record, NULL))
			l->status = TOOL_FAILED;
		return;
	case PIECE_STRANGE:
		snprintf(what, sizeof(what), "a record of version %u",
			 p->version);
		say(l, what, len);
		return;
	case PIECE_DAMAGED:
		say(l, "a damaged record", len);
		return;
	case PIECE_TORN:
		say(l, "a torn record at the end", len);
		return;
	case PIECE_OTHER:
	default:
		if (!l->skipped)
			l->skipped_at = l->at;
		l->skipped += len;
		return;
	}
}

/* Everything in l->bytes that can be told. */
static void pieces(struct log *l, int end)
{
	struct piece piece;
	size_t done = 0, len;

	while ((len = piece_first(l->bytes + done, l->len - done, end,
				  &piece))) {
		show(l, &piece, len);
		done += len;
		l->at += len;
	}
	memmove(l->bytes, l->bytes + done, l->len - done);
	l->len -= done;
}

static void all(struct log *l)
{
	ssize_t r;

	do {
		r = read(l->fd, l->bytes + l->len, ROOM - l->len);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0) {
			tool_say("%s: %s", l->name, strerror(errno));
			l->status = TOOL_FAILED;
		}
		if (r > 0)
			l->len += (size_t)r;
		/* where it is followed, what is torn waits for the rest of it */
		pieces(l, r <= 0 && !l->follows);
		/* who follows a pipe sees each as it comes */
		tool_flush();
	} while (r > 0 || (r < 0 && errno == EINTR));
	say_skipped(l);
}

/* ------------------------------------------------------------- what comes later */

/* From its beginning, be it the same file or another one. */
static void anew(struct log *l, const char *why)
{
	pieces(l, 1);
	say_skipped(l);
	tool_say("%s: %s", l->name, why);
	l->at = l->len = 0;
}

/* 1: the name is another file's by now, as who has written too much begins a new one,
 * or the file was cut. */
static int goes_along(struct log *l, const char *path)
{
	struct stat is, named;
	int fd;

	if (fstat(l->fd, &is) || stat(path, &named))
		return 0;
	if (is.st_dev == named.st_dev && is.st_ino == named.st_ino) {
		if ((uint64_t)is.st_size >= l->at + l->len ||
		    lseek(l->fd, 0, SEEK_SET))
			return 0;
		anew(l, "it was cut; what follows is what is there now");
		return 1;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return 0;
	close(l->fd);
	l->fd = fd;
	anew(l, "it was moved away; what follows is of the new one");
	return 1;
}

static void follow(struct log *l, const char *path)
{
	int notify = inotify_init1(IN_CLOEXEC);

	if (notify < 0) {
		tool_say("%s: it cannot be followed: %s", l->name,
			 strerror(errno));
		l->status = TOOL_FAILED;
		return;
	}
	do {
		follow_watch(notify, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO);
		all(l);
		while (l->status != TOOL_FAILED && goes_along(l, path))
			all(l);
	} while (l->status != TOOL_FAILED && !tool_unwritten() &&
		 follow_wait(notify));
	close(notify);
}

/* Nobody appends to what is no file: it ends when it ends. */
static int is_followed(const struct log *l, const char *path)
{
	struct stat st;

	return l->wishes->follow && strcmp(path, "-") != 0 &&
	       !fstat(l->fd, &st) && S_ISREG(st.st_mode);
}

/* @is_store: or was to be one. */
static void cannot_read(const char *name, int is_store)
{
	const char *hint = "";
	int error = errno;

#ifdef HAVE_SQLITE
	if (is_store)
		hint = stored_hint(error);
#else
	(void)is_store;
#endif
	tool_say("%s: %s%s", name, strerror(error), hint);
}

static int log_file(const char *path, const char *name,
		    const struct log_wishes *wishes)
{
	struct log *l = calloc(1, sizeof(*l));
	int status = TOOL_FAILED;

	if (!l) {
		tool_say("%s", strerror(ENOMEM));
		return TOOL_FAILED;
	}
	l->name = name;
	l->wishes = wishes;
	l->fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : 0;
	if (l->fd < 0) {
		cannot_read(l->name, !strcmp(path, TOOL_STORE));
	} else {
		l->follows = is_followed(l, path);
		if (l->follows)
			follow(l, path);
		else
			all(l);
		status = l->status;
		if (l->fd)
			close(l->fd);
	}
	free(l);
	return status;
}

/* What may be asked of one only. */
static int no_store(const char *path, const char *name)
{
	if (access(path, R_OK))
		cannot_read(name, 1);
	else
		tool_say("%s: it is no store of bezoard: --counts, --apart and "
			 "numbers of rows are about one", name);
	return TOOL_FAILED;
}

int tool_log(const char *path, const struct log_wishes *wishes)
{
	int status = LOG_NO_STORE;
	char *name;

	if (!path)
		path = TOOL_STORE;
	name = malloc(ESCAPED(strlen(path)));
	if (!name) {
		tool_say("%s", strerror(ENOMEM));
		return TOOL_FAILED;
	}
	escape(name, path, strlen(path));
#ifdef HAVE_SQLITE
	if (stored_is(path) || (wishes->follow && stored_is_not_yet(path)))
		status = stored_log(path, name, wishes);
#endif
	if (status == LOG_NO_STORE &&
	    (wishes->counts || wishes->apart || wishes->filter.number))
		status = no_store(path, name);
	else if (status == LOG_NO_STORE)
		status = log_file(path, name, wishes);
	free(name);
	return status;
}
