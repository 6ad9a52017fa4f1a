/* SPDX-License-Identifier: MIT */
/* bezoar: read records, say what their codes mean, check this machine. */
#include "tool.h"

#include <argp.h>
#include <bezoar/bezoar.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/check.h"
#include "color.h"
#include "run/run.h"

#define SECONDS		20		/* for each probe of check */
#define MOST_SECONDS	3600

struct words {
	const char *word[3];
	unsigned int count;
	int only_check, only_log;	/* an option of its was given */
	struct check_options check;
	struct log_wishes log;
};

/* Without a letter. */
enum { KEY_COLOR = 0x100 };

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "JSON, one object a line", 0 },
	{ "color", KEY_COLOR, "WHEN", OPTION_ARG_OPTIONAL, "of outcomes: auto, "
	  "always, never", 0 },
	{ NULL, 0, NULL, 0, "Of log:", 2 },
	{ "since", 'S', "TIME", 0, "from then on: 2026-11-27T18:30, or 90s, 15m, "
	  "2h, 7d ago", 2 },
	{ "id", 'i', "N", 0, "of this number in its process", 2 },
	{ "digest", 'D', "HEX", 0, "the one with this digest", 2 },
	{ "number", 'N', "N", 0, "of a store: the one in this row", 2 },
	{ "pid", 'p', "N", 0, "of this process", 2 },
	{ "comm", 'c', "NAME", 0, "of processes of this name", 2 },
	{ "region", 'R', "NAME", 0, "of regions of this name", 2 },
	{ "outcome", 'o', "CODE", 0, "with this outcome, as explain has it", 2 },
	{ "cause", 'C', "CODE", 0, "with this cause", 2 },
	{ "follow", 'f', NULL, 0, "wait for more", 2 },
	{ "counts", 'n', NULL, 0, "of a store: what was counted", 2 },
	{ "apart", 'a', NULL, 0, "of a store: what was not believed, or is of "
	  "another version", 2 },
	{ NULL, 0, NULL, 0, "Of check:", 1 },
	{ "quiet", 'q', NULL, 0, "only what does not hold, and the sum", 1 },
	{ "real", 'r', NULL, 0, "lose real pages; root", 1 },
	{ "yes", 'y', NULL, 0, "yes, lose real pages: do not ask", 1 },
	{ "strict", 's', NULL, 0, "what cannot be tested is as if broken", 1 },
	{ "deadline", 'd', "SECONDS", 0, "for each experiment (20)", 1 },
	{ 0 }
};

static int seconds_of(const char *word, unsigned int *ret_seconds)
{
	char *end;
	unsigned long n = strtoul(word, &end, 10);

	if (*word < '0' || *word > '9' || *end || !n || n > MOST_SECONDS)
		return -1;
	*ret_seconds = (unsigned int)n;
	return 0;
}

static void number_of(struct argp_state *state, const char *word, uint64_t most,
		      uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(word, &end, 10);
	if (*word == '-' || !*word || *end || errno || *ret > most || !*ret)
		argp_error(state, "%s is no such number", word);
}

static error_t on_log_word(int key, char *arg, struct argp_state *state)
{
	struct log_wishes *l = &((struct words *)state->input)->log;
	uint64_t n = 0;

	switch (key) {
	case 'S':
		if (filter_since(&l->filter, arg))
			argp_error(state, "%s is no time; see --help", arg);
		break;
	case 'i':
		number_of(state, arg, UINT64_MAX, &l->filter.id);
		break;
	case 'D':
		if (filter_digest(&l->filter, arg))
			argp_error(state, "%s is no digest: it has sixteen "
				   "digits, as log shows it", arg);
		break;
	case 'N':
		number_of(state, arg, INT64_MAX, &n);
		l->filter.number = (int64_t)n;
		break;
	case 'p':
		number_of(state, arg, INT32_MAX, &n);
		l->filter.pid = (int32_t)n;
		break;
	case 'c':
		l->filter.comm = arg;
		break;
	case 'R':
		l->filter.region = arg;
		break;
	case 'o':
		if (filter_code(&l->filter.outcome, 'O', arg))
			argp_error(state, "%s is no outcome; see bezoar "
				   "explain", arg);
		break;
	case 'C':
		if (filter_code(&l->filter.cause, 'C', arg))
			argp_error(state, "%s is no cause; see bezoar explain",
				   arg);
		break;
	case 'f':
		l->follow = 1;
		break;
	case 'n':
		l->counts = 1;
		break;
	case 'a':
		l->apart = 1;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	((struct words *)state->input)->only_log = 1;
	return 0;
}

static error_t on_word(int key, char *arg, struct argp_state *state)
{
	struct words *w = state->input;

	w->only_check |= key == 'q' || key == 'r' || key == 'y' || key == 's' ||
			 key == 'd';
	switch (key) {
	case 'j':
		w->check.json = w->log.json = 1;
		return 0;
	case KEY_COLOR:
		if (color_wish(arg))
			argp_error(state, "%s: it is auto, always or never",
				   arg);
		return 0;
	case 'q':
		w->check.quiet = 1;
		return 0;
	case 'r':
		w->check.real = 1;
		return 0;
	case 'y':
		w->check.yes = 1;
		return 0;
	case 's':
		w->check.strict = 1;
		return 0;
	case 'd':
		if (seconds_of(arg, &w->check.seconds))
			argp_error(state, "the deadline is 1 to 3600 seconds");
		return 0;
	case ARGP_KEY_ARG:
		if (w->count == 3 || (w->count == 2 &&
				      strcmp(w->word[0], "explain")))
			argp_error(state, "too many arguments");
		else
			w->word[w->count++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (!w->count)
			argp_error(state, "which command?");
		return 0;
	default:
		return on_log_word(key, arg, state);
	}
}

static void print_version(FILE *to, struct argp_state *state)
{
	(void)state;
	fprintf(to, "bezoar %s\n", bez_version());
}

int tool_hurries;

/* As much fits into a pipe that can be written to at all. */
static void say_now(const char *fmt, va_list args)
{
	struct pollfd to = { STDERR_FILENO, POLLOUT, 0 };
	char text[PIPE_BUF] = "bezoar: ";
	size_t len = strlen(text), room = sizeof(text) - len - 1;
	int n = vsnprintf(text + len, room, fmt, args);

	if (n > 0)
		len += (size_t)n < room ? (size_t)n : room - 1;
	text[len++] = '\n';
	if (poll(&to, 1, 0) > 0 && write(STDERR_FILENO, text, len) < 0)
		return;
}

void tool_say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (tool_hurries) {
		say_now(fmt, args);
	} else {
		fputs("bezoar: ", stderr);
		vfprintf(stderr, fmt, args);
		fputc('\n', stderr);
	}
	va_end(args);
}

/* Of standard output; 0: it could be written. */
static int why_unwritten;

int tool_unwritten(void)
{
	if (!why_unwritten && ferror(stdout))
		why_unwritten = errno ? errno : EIO;
	return why_unwritten != 0;
}

int tool_flush(void)
{
	/* what has failed before has a reason of its own */
	if (!tool_unwritten() && fflush(stdout))
		why_unwritten = errno;
	return why_unwritten != 0;
}

/* Each wants another output, and one of them would go unsaid. */
static int exclude_each_other(const struct words *w)
{
	if (w->log.follow + w->log.counts + w->log.apart > 1)
		tool_say("one of --follow, --counts and --apart at a time");
	else if (!strcmp(w->word[0], "check") && w->check.json && w->check.quiet)
		tool_say("one of --json and --quiet at a time");
	else
		return 0;
	return 1;
}

static int run(const struct words *w)
{
	if (w->only_log && strcmp(w->word[0], "log")) {
		tool_say("filters, --follow, --counts and --apart are for log");
		return TOOL_FAILED;
	}
	if (!strcmp(w->word[0], "check") && w->check.yes && !w->check.real) {
		tool_say("--yes is about --real");
		return TOOL_FAILED;
	}
	if (exclude_each_other(w))
		return TOOL_FAILED;
	if (!strcmp(w->word[0], "check") && w->count == 1)
		return tool_check(&w->check);
	if (!strcmp(w->word[0], "check")) {
		tool_say("check takes no argument");
		return TOOL_FAILED;
	}
	if (w->only_check) {
		tool_say("--quiet, --real, --yes, --strict and --deadline are "
			 "for check");
		return TOOL_FAILED;
	}
	if (!strcmp(w->word[0], "log"))
		return tool_log(w->word[1], &w->log);
	if (!strcmp(w->word[0], "explain"))
		return tool_explain(w->word[1], w->word[2], w->check.json);
	tool_say("there is no such command; see --help");
	return TOOL_FAILED;
}

#ifndef HAVE_SQLITE
int report_main(int argc, char **argv)
{
	(void)argc;
	tool_say("%s: this program was built without SQLite, and can read no "
		 "store", argv[0]);
	return TOOL_FAILED;
}
#endif

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);	/* argv[0]: the name */
} own_words[] = {
	{ "clear", clear_main },
	{ "report", report_main },
	{ "run", run_main },
	{ "unit", unit_main },
};

static int by_words(int argc, char **argv)
{
	static const struct argp argp = {
		options, on_word, "log [FILE]\nexplain [CODE | ID [FILE]]\n"
		"report -o FILE.html\ncheck\nrun -- COMMAND [WORD...]\n"
		"clear [NAME]\nunit SERVICE",
		"Read the records of lost pages, say what an outcome or a "
		"cause means, draw what became of them (report --help), or "
		"check what this machine can survive.\v"
		"Exit status: 0; 1 if not all of FILE was a record, there is "
		"no such CODE or ID, or this machine breaks a clause "
		"(--strict: or one cannot be tested); 2 if it could not be "
		"done; 77 if nothing could be tested.",
		NULL, NULL, NULL
	};
	struct words w = { .check = { .seconds = SECONDS } };

	if (argp_parse(&argp, argc, argv, 0, NULL, &w))
		return TOOL_FAILED;
	return run(&w);
}

int main(int argc, char **argv)
{
	int (*own)(int argc, char **argv) = NULL;
	int status;
	size_t i;

	argp_err_exit_status = TOOL_FAILED;
	argp_program_version_hook = print_version;
	for (i = 0; i < sizeof(own_words) / sizeof(own_words[0]); i++)
		if (argc > 1 && !strcmp(argv[1], own_words[i].name))
			own = own_words[i].run;
	status = own ? own(argc - 1, argv + 1) : by_words(argc, argv);
	if (tool_flush()) {
		tool_say("standard output: %s", strerror(why_unwritten));
		return TOOL_FAILED;
	}
	return status;
}
