/* SPDX-License-Identifier: MIT */
/* bezoar report: its words, and the file that comes of it. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"
#include "spared.h"
#include "../stored.h"
#include "../tool.h"

struct wishes {
	const char *store, *output;
	struct filter filter;
};

static const struct argp_option options[] = {
	{ "output", 'o', "FILE", 0, "write the page there; - is standard output",
	  0 },
	{ "since", 'S', "TIME", 0, "from then on: 2026-11-27T18:30, or 90s, 15m, "
	  "2h, 7d ago", 0 },
	{ "store", 'd', "FILE", 0, "of this store (" TOOL_STORE ")", 0 },
	{ 0 }
};

static error_t on_word(int key, char *arg, struct argp_state *state)
{
	struct wishes *w = state->input;

	switch (key) {
	case 'o':
		w->output = arg;
		return 0;
	case 'd':
		w->store = arg;
		return 0;
	case 'S':
		if (filter_since(&w->filter, arg))
			argp_error(state, "%s is no time; see --help", arg);
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "too many arguments");
		return 0;
	case ARGP_KEY_END:
		if (!w->output)
			argp_error(state, "where to? Name a file by --output");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* NULL: no memory. */
static char *escaped(const char *name)
{
	char *text = malloc(ESCAPED(strlen(name)));

	if (text)
		escape(text, name, strlen(name));
	return text;
}

/* ------------------------------------------------------------------ the file */

struct output {
	FILE *to;
	char path[PATH_MAX];		/* what it is to be */
	char temp[PATH_MAX];		/* what it is until then; "": it is not a file
					 * of ours */
};

/* Under whatever name: what was written to it before would be lost. */
static int is_standard(const struct stat *st)
{
	struct stat out;

	return !fstat(STDOUT_FILENO, &out) && out.st_dev == st->st_dev &&
	       out.st_ino == st->st_ino;
}

/* What is in it is only for who may read the store, so a new file is for its owner
 * alone; one that is there keeps its mode. What is no file, or has other names, is
 * written to. */
static int begin(struct output *o, const char *name)
{
	struct stat was;
	mode_t mode = 0600;
	int fd;

	o->temp[0] = '\0';
	if (!strcmp(name, "-")) {
		o->to = stdout;
		return 0;
	}
	if (!stat(name, &was)) {
		if (is_standard(&was)) {
			o->to = stdout;
			return 0;
		}
		if (!S_ISREG(was.st_mode) || was.st_nlink > 1) {
			o->to = fopen(name, "we");
			return o->to ? 0 : -1;
		}
		mode = was.st_mode & 0777;
		/* through a symbolic link */
		if (!realpath(name, o->path))
			return -1;
	} else if (spared_links(name, o->path)) {
		return -1;
	}
	if (snprintf(o->temp, sizeof(o->temp), "%s.XXXXXX", o->path) >=
	    (int)sizeof(o->temp)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(o->temp, O_CLOEXEC);
	if (fd < 0) {
		o->temp[0] = '\0';
		return -1;
	}
	o->to = fdopen(fd, "w");
	if (o->to && !fchmod(fd, mode))
		return 0;
	unlink(o->temp);
	return -1;
}

/* Under its name when all of it is on the disk: whoever looks sees the former
 * page, or this one. */
static int finish(struct output *o)
{
	int bad, why;

	/* the reason why it cannot be written is said with the end of the program */
	if (o->to == stdout)
		return tool_flush() ? -1 : 0;
	bad = fflush(o->to) || ferror(o->to);
	if (!bad && o->temp[0])
		bad = fsync(fileno(o->to)) || rename(o->temp, o->path);
	why = errno;
	if (bad && o->temp[0])
		unlink(o->temp);
	if (fclose(o->to) && !bad) {
		bad = 1;
		why = errno;
	}
	errno = why;
	return bad ? -1 : 0;
}

static int write_it(const char *name, const struct report *r)
{
	struct output o;
	char *text;

	if (!begin(&o, name)) {
		report_page(o.to, r);
		if (!finish(&o))
			return 0;
		if (o.to == stdout)
			return -1;
	}
	text = escaped(name);
	tool_say("%s: %s", text ? text : "", strerror(errno));
	free(text);
	return -1;
}

static int missing(const char *path, const char *name)
{
	if (access(path, R_OK))
		tool_say("%s: %s%s", name, strerror(errno), stored_hint(errno));
	else
		tool_say("%s: it is no store of bezoard", name);
	return TOOL_FAILED;
}

/* Not even for a moment: what is in there is nowhere else. */
static int is_spared(const struct wishes *w)
{
	const char *why = spared(w->store, w->output);
	char *text;

	if (!why)
		return 0;
	text = escaped(w->output);
	tool_say("%s: %s. Nothing was written; --output names another file",
		 text ? text : "", why);
	free(text);
	return 1;
}

static int report_of(const struct wishes *w, const char *name)
{
	struct report *r;
	sqlite3 *db = NULL;
	int status = TOOL_FAILED;

	if (!stored_is(w->store))
		return missing(w->store, name);
	if (is_spared(w) || stored_open(w->store, name, &db))
		return TOOL_FAILED;
	r = calloc(1, sizeof(*r));
	if (!r) {
		tool_say("%s", strerror(ENOMEM));
	} else {
		r->store = name;
		r->since = w->filter.since_ns > INT64_MAX ?
			   INT64_MAX : (int64_t)w->filter.since_ns;
		if (report_gather(db, r))
			tool_say("%s: %s", name, sqlite3_errmsg(db));
		else if (!write_it(w->output, r))
			status = r->unread ? TOOL_FOUND : TOOL_OK;
		if (r->unread)
			tool_say("%s: %" PRIu64 " rows are no whole record",
				 name, r->unread);
	}
	free(r);
	sqlite3_close(db);
	return status;
}

int report_main(int argc, char **argv)
{
	static char name[] = "bezoar report";
	static const struct argp argp = {
		options, on_word, NULL,
		"Draw what became of lost pages, as one page of HTML that needs "
		"nothing else.\v"
		"Exit status: 0; 1 if there were rows that are no whole record; "
		"2 if it could not be done.",
		NULL, NULL, NULL
	};
	struct wishes w = { .store = TOOL_STORE };
	int status = TOOL_FAILED;
	char *text;

	argv[0] = name;
	if (argp_parse(&argp, argc, argv, 0, NULL, &w))
		return TOOL_FAILED;
	text = escaped(w.store);
	if (text)
		status = report_of(&w, text);
	else
		tool_say("%s", strerror(ENOMEM));
	free(text);
	return status;
}
