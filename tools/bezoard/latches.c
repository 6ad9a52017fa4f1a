/* SPDX-License-Identifier: MIT */
#include "latches.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "item.h"

#define END		".json"
#define MOST_BYTES	(1 << 20)	/* of one file */
#define MOST_FILES	256

void latches_open(struct latches *l, const char *path)
{
	*l = (struct latches){ .path = NULL, .notify = -1 };
	if (!path)
		return;
	if (mkdir(path, 0750) && errno != EEXIST) {
		say("%s: %s: nothing will be known of what is latched", path,
		    strerror(errno));
		return;
	}
	l->path = path;
	l->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (l->notify < 0 ||
	    inotify_add_watch(l->notify, path, IN_CLOSE_WRITE | IN_MOVED_TO |
			      IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR) < 0) {
		say("%s: %s: what is latched there later will not be noticed",
		    path, strerror(errno));
		latches_close(l);
	}
}

void latches_close(struct latches *l)
{
	if (l->notify >= 0)
		close(l->notify);
	l->notify = -1;
}

void latches_changed(struct latches *l)
{
	char events[4096];

	while (read(l->notify, events, sizeof(events)) > 0)
		;
}

/* 0, 1; -1: it does not say. */
static int is_latched(int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
			O_NOCTTY | O_CLOEXEC), r = -1;
	const json_t *latched;
	json_t *all = NULL;
	struct stat st;

	if (fd < 0)
		return -1;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= MOST_BYTES)
		all = json_loadfd(fd, 0, NULL);
	close(fd);
	latched = json_object_get(all, "latched");
	if (json_is_object(latched) || json_is_true(latched))
		r = 1;
	else if (json_is_null(latched) || json_is_false(latched))
		r = 0;
	json_decref(all);
	return r;
}

void latches_each(const struct latches *l,
		  void (*each)(void *data, const char *name, int latched),
		  void *data)
{
	DIR *folder = l->path ? opendir(l->path) : NULL;
	struct dirent *e;
	int n = 0, latched;
	size_t len;

	while (folder && n < MOST_FILES && (e = readdir(folder))) {
		len = strlen(e->d_name);
		if (e->d_name[0] == '.' || len <= strlen(END) ||
		    strcmp(e->d_name + len - strlen(END), END))
			continue;
		latched = is_latched(dirfd(folder), e->d_name);
		if (latched < 0)
			continue;
		n++;
		e->d_name[len - strlen(END)] = '\0';
		each(data, e->d_name, latched);
	}
	if (folder)
		closedir(folder);
}
