/* SPDX-License-Identifier: MIT */
/* The words of "bezoar run", and what it says. */
#include "run.h"

#include <argp.h>
#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tool.h"
#include "told.h"

#define SECOND		1000000000ull
#define DAEMON		"/run/bezoar/socket"
#define TERMINATION	"/dev/termination-log"

enum { KEY_STATE = 256, KEY_STORE, KEY_SOCKET, KEY_RECORD, KEY_TERMINATION,
       KEY_LIVES_ON, KEY_NOTE };

static const struct argp_option options[] = {
	{ "name", 'n', "NAME", 0, "what it is remembered by (the command's "
	  "own)", 0 },
	{ "restarts", 'r', "N", 0, "as many at most, 0 to 50 (3) ...", 0 },
	{ "within", 'w', "T", 0, "... in so long: 90s, 10m, 2h, 7d (10m)", 0 },
	{ "record", KEY_RECORD, "FILE", 0, "where the command writes its "
	  "records", 0 },
	{ "live-on", KEY_LIVES_ON, NULL, 0, "the command lives on if this "
	  "program is killed", 0 },
	{ "termination-log", KEY_TERMINATION, "FILE", 0, "the reason of the "
	  "end goes there (" TERMINATION ", if it is there)", 0 },
	{ "state", KEY_STATE, "DIR", 0, "deaths are remembered there", 0 },
	{ "store", KEY_STORE, "FILE", 0, "of bezoard (" TOLD_STORE ")", 0 },
	{ "socket", KEY_SOCKET, "PATH", 0, "of bezoard (" DAEMON ")", 0 },
	{ "note", KEY_NOTE, "UNIT", 0, "run nothing: note how this service of "
	  "systemd has ended", 0 },
	{ 0 }
};

void run_say(char *ret_text, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(ret_text, TEXT_ROOM, fmt, args);
	va_end(args);
	tool_say("%s", ret_text);
}

void run_last_words(const char *path, const char *text)
{
	int flags = O_WRONLY | O_TRUNC | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
	int fd = open(path ? path : TERMINATION, path ? flags | O_CREAT : flags,
		      0644);
	size_t len = strlen(text);
	char line[TEXT_ROOM];

	if (fd < 0) {
		if (path)
			tool_say("%s: %s", path, strerror(errno));
		return;
	}
	if (len > sizeof(line) - 1)
		len = sizeof(line) - 1;
	memcpy(line, text, len);
	line[len] = '\n';
	if (write(fd, line, len + 1) != (ssize_t)(len + 1) && path)
		tool_say("%s: %s", path, strerror(errno));
	close(fd);
}

int run_folder(const char *wish, int make)
{
	char room[4096];
	const char *path = wish ? wish : state_folder(room);
	int fd = path ? state_open(path, make) : -ENOENT;
	const char *why;

	if (fd >= 0)
		return fd;
	why = fd == -EPERM ? "it is another user's, or others may write there" :
			     strerror(-fd);
	if (wish && (make || fd != -ENOENT))
		tool_say("%s: %s", path, why);
	else if (make)
		tool_say("%s: %s. Deaths are remembered only as long as this "
			 "program runs; --state names another folder",
			 path ? path : "no folder of one's own (HOME)", why);
	return fd;
}

int run_limit(int key, const char *arg, struct argp_state *state,
	      struct limits *ret_limits)
{
	char *end;

	switch (key) {
	case 'r':
		ret_limits->restarts = (unsigned int)strtoul(arg, &end, 10);
		if (*arg < '0' || *arg > '9' || *end || strlen(arg) > 2 ||
		    ret_limits->restarts > RESTARTS_MOST)
			argp_error(state, "--restarts: %s is no number from 0 "
				   "to %d", arg, RESTARTS_MOST);
		return 0;
	case 'w':
		if (keep_span(arg, &ret_limits->within_ns))
			argp_error(state, "--within: %s is no time: 90s, 10m, "
				   "2h, 7d", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t on_word(int key, char *arg, struct argp_state *state)
{
	struct run_wishes *w = state->input;

	switch (key) {
	case 'n':
		w->name = arg;
		return 0;
	case KEY_RECORD:
		w->record = arg;
		return 0;
	case KEY_LIVES_ON:
		w->lives_on = 1;
		return 0;
	case KEY_TERMINATION:
		w->termination = arg;
		return 0;
	case KEY_STATE:
		w->state = arg;
		return 0;
	case KEY_STORE:
		w->store = arg;
		return 0;
	case KEY_SOCKET:
		w->socket = arg;
		return 0;
	case KEY_NOTE:
		w->name = arg;
		w->note = 1;
		return 0;
	case ARGP_KEY_ARG:
		/* all that follows is the command's */
		w->words = &state->argv[state->next - 1];
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (!w->words == !w->note)
			argp_error(state, "which command?");
		return 0;
	default:
		return run_limit(key, arg, state, &w->limits);
	}
}

int run_main(int argc, char **argv)
{
	static const struct argp argp = {
		options, on_word, "-- COMMAND [WORD...]\n--note UNIT",
		"Run COMMAND, and start it again if it has died of lost memory: "
		"at once, a few times, and not on memory that has failed "
		"before.\v"
		"Exit status: the command's, or 128 and the signal that it died "
		"of; 195 if it is not to be started again (bezoar clear); 125 "
		"if it could not be run, 126 if it is no program, 127 if it was "
		"not found.",
		NULL, NULL, NULL
	};
	struct run_wishes w = {
		.limits = { 3, 600 * SECOND }, .store = TOLD_STORE,
		.socket = getenv("BEZOAR_SOCKET"),
	};
	char file[NAME_FILE];

	argv[0] = (char *)"bezoar run";
	argp_err_exit_status = RUN_FAILED;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &w))
		return RUN_FAILED;
	if (!w.socket || !*w.socket)
		w.socket = DAEMON;
	if (!w.name) {
		w.name = strrchr(w.words[0], '/');
		w.name = w.name ? w.name + 1 : w.words[0];
	}
	if (state_file(file, w.name, "")) {
		tool_say("a name has 1 to %d bytes; --name gives another",
			 NAME_MOST);
		return RUN_FAILED;
	}
	return w.note ? run_note(&w) : run_program(&w);
}
