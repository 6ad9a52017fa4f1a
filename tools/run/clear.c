/* SPDX-License-Identifier: MIT */
/* bezoar clear: what is remembered, whether it may be started, and that it may
 * again. */
#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tool.h"
#include "run.h"

enum { KEY_STATE = 256, KEY_CHECK };

struct words {
	const char *name, *state;
	int check;
};

static const struct argp_option options[] = {
	{ "check", KEY_CHECK, NULL, 0, "change nothing: may it be started?",
	  0 },
	{ "state", KEY_STATE, "DIR", 0, "where bezoar run remembers deaths",
	  0 },
	{ 0 }
};

static error_t on_word(int key, char *arg, struct argp_state *state)
{
	struct words *w = state->input;

	switch (key) {
	case KEY_CHECK:
		w->check = 1;
		return 0;
	case KEY_STATE:
		w->state = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (w->name)
			argp_error(state, "one name at a time");
		w->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (w->check && !w->name)
			argp_error(state, "which name?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int unreadable(const char *shown, int e)
{
	if (e != -EBADMSG)
		tool_say("%s: %s", shown, e == -EPROTO ? "what is remembered of "
			 "it is of a newer version" : strerror(-e));
	return TOOL_FAILED;
}

/* -------------------------------------------------------------------- the list */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_state(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return e->d_name[0] != '.' && len > 5 &&
	       !strcmp(e->d_name + len - 5, ".json");
}

static int list_one(int folder, const char *file, int *count)
{
	char shown[ESCAPED(NAME_FILE)], when[32];
	struct state s;
	int e = state_look(folder, file, &s);

	if (e == -ENOENT)
		return TOOL_OK;
	if (e)
		return unreadable(escape(shown, file, strlen(file)), e);
	*count += s.latch || s.deaths.n;
	if (s.latch)
		printf("%s\tlatched since %s: %s\n", s.shown,
		       latch_when(s.latched_ns, when), s.why);
	else if (s.deaths.n)
		printf("%s\tmay be started; it has died of lost memory %zu "
		       "time%s, last on %s\n", s.shown, s.deaths.n,
		       s.deaths.n == 1 ? "" : "s",
		       latch_when(s.deaths.death[s.deaths.n - 1].wall_ns,
				  when));
	return TOOL_OK;
}

/* @path: its, for people. */
static int list(int folder, const char *path)
{
	struct dirent **files = NULL;
	int i, n = scandirat(folder, ".", &files, is_state, by_name);
	int status = n < 0 ? TOOL_FAILED : TOOL_OK, shown = 0;

	for (i = 0; i < n; i++) {
		if (strlen(files[i]->d_name) < NAME_FILE &&
		    list_one(folder, files[i]->d_name, &shown))
			status = TOOL_FAILED;
		free(files[i]);
	}
	free(files);
	if (!status && !shown)
		tool_say("no death is remembered in %s", path);
	return status;
}

/* --------------------------------------------------------------------- one name */

static int check(int folder, const struct words *w)
{
	struct keep k = { .folder = folder, .name = w->name,
			  .where = w->state };
	char shown[ESCAPED(NAME_MOST)], text[TEXT_ROOM], file[NAME_FILE];
	int e = state_file(file, w->name, ".json") ? -ENAMETOOLONG :
		state_look(folder, file, &k.state);

	/* what cannot be read stops nobody */
	if (e)
		unreadable(escape(shown, w->name, NAME_MOST), e);
	if (e || !k.state.latch)
		return TOOL_OK;
	keep_say_latched(&k, text, sizeof(text));
	tool_say("%s", text);
	return RUN_LATCHED;
}

static int clear(int folder, const char *name)
{
	char shown[ESCAPED(NAME_MOST)];
	int e, held = state_lock(folder);

	escape(shown, name, NAME_MOST);
	e = held < 0 ? held : state_forget(folder, name);
	state_unlock(held);
	if (e == -ENOENT) {
		tool_say("nothing is remembered of %s", shown);
		return TOOL_FOUND;
	}
	return e ? unreadable(shown, e) : TOOL_OK;
}

/* Nobody has made the folder: nothing has happened, or it is another one. */
static int no_folder(const struct words *w, const char *path)
{
	char shown[ESCAPED(NAME_MOST)];

	if (!w->name || (w->check && w->state)) {
		if (path)
			tool_say("there is no folder %s: nothing is remembered "
				 "there", path);
		else
			tool_say("no folder of one's own (HOME): nothing is "
				 "remembered; --state names one");
		return TOOL_OK;
	}
	if (w->check)
		return TOOL_OK;
	escape(shown, w->name, NAME_MOST);
	if (path)
		tool_say("nothing is remembered of %s: there is no folder %s. "
			 "Each user who runs it has another one; --state names "
			 "the one that bezoar run was told", shown, path);
	else
		tool_say("nothing is remembered of %s: no folder of one's own "
			 "(HOME); --state names one", shown);
	return TOOL_FOUND;
}

/* What a unit is not to be skipped for is a failure of ours. */
static int is_check(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--check"))
			return 1;
	return 0;
}

int clear_main(int argc, char **argv)
{
	static const struct argp argp = {
		options, on_word, "[NAME]",
		"Let what bezoar run, or a unit, has latched be started again: "
		"forget its deaths. Without NAME: list what is remembered.\v"
		"Exit status: 0; 1 if nothing is remembered of NAME; 2 if it "
		"could not be done; --check: 195 if NAME is latched, else 0.",
		NULL, NULL, NULL
	};
	struct words w = { 0 };
	char file[NAME_FILE], room[4096];
	int folder, status, failed;
	const char *path;

	argv[0] = (char *)"bezoar clear";
	failed = is_check(argc, argv) ? TOOL_OK : TOOL_FAILED;
	argp_err_exit_status = failed;
	if (argp_parse(&argp, argc, argv, 0, NULL, &w))
		return failed;
	if (w.name && state_file(file, w.name, "")) {
		tool_say("a name has 1 to %d bytes", NAME_MOST);
		return failed;
	}
	path = w.state ? w.state : state_folder(room);
	folder = run_folder(w.state, 0);
	if (folder == -ENOENT)
		return no_folder(&w, path);
	if (folder < 0) {
		if (!w.state)
			tool_say("%s: %s", path ? path : "", strerror(-folder));
		return failed;
	}
	status = !w.name ? list(folder, path) :
		 w.check ? check(folder, &w) : clear(folder, w.name);
	tool_flush();
	close(folder);
	return status;
}
