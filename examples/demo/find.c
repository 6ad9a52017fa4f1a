/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "find.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../random.h"

struct list {
	struct found *at;
	size_t count, room;
};

static int add(struct list *l, const char *path, size_t size)
{
	struct found *more;

	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 1024;
		more = realloc(l->at, l->room * sizeof(*l->at));
		if (!more)
			return -1;
		l->at = more;
	}
	l->at[l->count].path = strdup(path);
	l->at[l->count].size = size;
	return l->at[l->count].path ? (l->count++, 0) : -1;
}

/* The order of a directory differs from machine to machine, and with it would
 * what a seed means. */
static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* 0; -1: said why. What cannot be read below a root is passed over. */
static int take(struct list *l, const FTSENT *e)
{
	if (e->fts_level == FTS_ROOTLEVEL &&
	    (e->fts_info == FTS_NS || e->fts_info == FTS_DNR)) {
		fprintf(stderr, "demo: cannot read %s: %s\n", e->fts_path,
			strerror(e->fts_errno));
		return -1;
	}
	if (e->fts_info != FTS_F || !S_ISREG(e->fts_statp->st_mode) ||
	    !e->fts_statp->st_size || access(e->fts_accpath, R_OK))
		return 0;
	if (!add(l, e->fts_path, (size_t)e->fts_statp->st_size))
		return 0;
	fputs("demo: no memory for the list of files\n", stderr);
	return -1;
}

static int walk(const struct options *o, struct list *l)
{
	char **roots = calloc(o->dir_count + 1, sizeof(*roots));
	FTSENT *e;
	FTS *fts;
	size_t i;
	int r = 0;

	for (i = 0; roots && i < o->dir_count; i++)
		roots[i] = (char *)o->dirs[i];
	fts = roots ? fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW |
			       FTS_NOCHDIR | FTS_XDEV, by_name) : NULL;
	if (!fts) {
		fprintf(stderr, "demo: fts_open: %s\n", strerror(errno));
		free(roots);
		return -1;
	}
	while (!r && (e = fts_read(fts)))
		r = take(l, e);
	fts_close(fts);
	free(roots);
	return r;
}

static void shuffle(struct list *l, uint64_t seed)
{
	size_t i;

	for (i = l->count; i > 1; i--) {
		size_t j = (size_t)random_below(&seed, i);
		struct found f = l->at[i - 1];

		l->at[i - 1] = l->at[j];
		l->at[j] = f;
	}
}

/* Take from the front what still fits and has at least @min bytes; only mark it
 * in @chosen. Returns how many. */
static size_t fit(const struct list *l, size_t page, size_t pages, size_t min,
		  unsigned char *chosen)
{
	size_t i, count = 0;

	memset(chosen, 0, l->count);
	for (i = 0; i < l->count && pages; i++) {
		size_t need = (l->at[i].size - 1) / page + 1;

		if (need > pages || l->at[i].size < min)
			continue;
		chosen[i] = 1;
		pages -= need;
		count++;
	}
	return count;
}

int find_files(const struct options *o, size_t page, size_t pages,
	       size_t limit, struct found **ret_list, size_t *ret_count,
	       size_t *ret_min)
{
	struct list l = { 0 };
	unsigned char *chosen;
	size_t i, count, min = 1;

	if (walk(o, &l))
		return -1;
	chosen = malloc(l.count + 1);
	if (!chosen) {
		fputs("demo: no memory for the list of files\n", stderr);
		return -1;
	}
	shuffle(&l, o->seed);
	while (fit(&l, page, pages, min, chosen) > limit)
		min *= 2;
	for (i = 0, count = 0; i < l.count; i++) {
		if (chosen[i])
			l.at[count++] = l.at[i];
		else
			free(l.at[i].path);
	}
	free(chosen);
	*ret_list = l.at;
	*ret_count = count;
	*ret_min = min;
	return 0;
}
