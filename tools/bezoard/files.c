/* SPDX-License-Identifier: MIT */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../escape.h"
#include "../read.h"

#define SECOND 1000000000u

static int is_folder_of(const char *path, const struct stat *folder)
{
	char *copy = strdup(path);
	struct stat st;
	int is = copy && !stat(dirname(copy), &st) &&
		 st.st_dev == folder->st_dev && st.st_ino == folder->st_ino;

	free(copy);
	return is;
}

int files_check(const char *path, const char *store)
{
	struct stat folder;
	char *real;
	int is;

	if (!path || stat(path, &folder))
		return 0;
	/* SQLite has its log where links lead to, and the lock is where they begin */
	real = realpath(store, NULL);
	is = is_folder_of(store, &folder) ||
	     (real && is_folder_of(real, &folder));
	free(real);
	if (!is)
		return 0;
	say("%s holds the store (%s), which is no file of records: name another "
	    "folder by --files, or have the store elsewhere by --store", path,
	    store);
	return -1;
}

int files_open(struct files *f, const char *path)
{
	f->path = path;
	f->folder = f->notify = -1;
	f->due_ns = 0;
	if (!path)
		return 0;
	f->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->folder < 0) {
		say("%s: %s", path, strerror(errno));
		return -1;
	}
	f->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (f->notify < 0 ||
	    inotify_add_watch(f->notify, path, IN_MODIFY | IN_MOVED_TO |
			      IN_CREATE | IN_ONLYDIR) < 0) {
		say("%s: what comes there later will not be noticed: %s", path,
		    strerror(errno));
	}
	f->due_ns = clock_now();
	return 0;
}

void files_close(struct files *f)
{
	if (f->folder >= 0)
		close(f->folder);
	if (f->notify >= 0)
		close(f->notify);
}

void files_changed(struct files *f)
{
	char events[4096];

	while (read(f->notify, events, sizeof(events)) > 0)
		;
	/* who writes one now may write more in this second */
	if (!f->due_ns)
		f->due_ns = clock_now() + SECOND;
}

static void take(struct batch *b, const struct piece *piece,
		 const unsigned char *raw, size_t len, uid_t uid)
{
	struct item *item;

	if (piece->kind != PIECE_RECORD && piece->kind != PIECE_STRANGE) {
		batch_count(b, COUNT_SKIPPED, 1);
		return;
	}
	item = batch_room(b);
	if (!item)
		return;
	*item = (struct item){
		.kind = piece->kind == PIECE_RECORD ? ITEM_RECORD :
						      ITEM_STRANGE,
		.origin = ORIGIN_FILE, .uid = uid, .client = CLIENT_NONE,
		.bytes = (uint16_t)len,
		.pid = piece->kind == PIECE_RECORD ? piece->record.pid : 0,
	};
	memcpy(item->raw, raw, len);
	batch_add(b);
}

static void torn(struct batch *b, const char *folder,
		 const struct store_file *file, uint64_t bytes)
{
	char *name = malloc(ESCAPED(strlen(file->name)));

	batch_count(b, COUNT_TORN, 1);
	say("%s/%s: at byte %" PRIu64 ": the last %" PRIu64 " bytes are no "
	    "whole record. If nobody writes the rest they are lost", folder,
	    name ? escape(name, file->name, strlen(file->name)) : "?", file->at,
	    bytes - file->at);
	free(name);
}

/* 1: a part of it was taken, there may be more. 0: there is nothing to take. -1: it
 * can not be taken now. */
static int read_file(struct files *f, struct batch *b, int fd,
		     struct store_file *file, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;
	size_t done = 0, len;
	struct piece piece;
	ssize_t n;

	if (size < file->at)
		file->at = file->torn = 0;	/* cut, and begun anew */
	if (size == file->at || size == file->torn)
		return 0;
	/* a whole batch, and no half of it: it is put before it is noted */
	if (b->n && batch_put(b))
		return -1;
	n = pread(fd, f->bytes, sizeof(f->bytes), (off_t)file->at);
	if (n <= 0)
		return 0;
	while ((len = piece_first(f->bytes + done, (size_t)n - done, 0,
				  &piece))) {
		take(b, &piece, f->bytes + done, len, st->st_uid);
		done += len;
	}
	if (!done) {
		torn(b, f->path, file, size);
		file->torn = size;
	}
	file->at += done;
	if (batch_put(b) || store_file_note(b->store, file) != STORE_OK)
		return -1;
	return done > 0;
}

/* A stranger may have put anything there. */
static int one(struct files *f, struct batch *b, const char *name)
{
	struct store_file file = { .name = name };
	struct stat st;
	int r, fd = openat(f->folder, name, O_RDONLY | O_NOFOLLOW |
			   O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	r = fstat(fd, &st);
	if (r || !S_ISREG(st.st_mode)) {
		close(fd);
		return 0;
	}
	file.dev = st.st_dev;
	file.ino = st.st_ino;
	store_file_at(b->store, &file);
	r = read_file(f, b, fd, &file, &st);
	close(fd);
	return r;
}

/* What bezoar run keeps beside its records, and writes anew at each death. */
static int is_beside(const char *name)
{
	static const char *const ends[] = { ".json", ".lock", ".new" };
	const char *end = strrchr(name, '.');
	size_t i;

	for (i = 0; end && i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!strcmp(end, ends[i]))
			return 1;
	return 0;
}

/* A piece of each. */
void files_turn(struct files *f, struct batch *b)
{
	int fd = openat(f->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	int r = 0, more = 0;
	struct dirent *e;

	f->due_ns = 0;
	while (folder && r >= 0 && (e = readdir(folder))) {
		if (e->d_name[0] == '.' || is_beside(e->d_name))
			continue;
		r = one(f, b, e->d_name);
		more |= r;
	}
	if (folder)
		closedir(folder);
	else if (fd >= 0)
		close(fd);
	if (more)
		f->due_ns = clock_now() + (r < 0 ? SECOND : 0);
}
