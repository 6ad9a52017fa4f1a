/* SPDX-License-Identifier: MIT */
/* bezoar: read records, and say what their codes mean. */
#include "tool.h"

#include <argp.h>
#include <bezoar/bezoar.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct words {
	const char *word[2];
	unsigned int count;
	int json;
};

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "JSON, one object a line", 0 },
	{ 0 }
};

static error_t on_word(int key, char *arg, struct argp_state *state)
{
	struct words *w = state->input;

	switch (key) {
	case 'j':
		w->json = 1;
		return 0;
	case ARGP_KEY_ARG:
		if (w->count == 2)
			argp_error(state, "too many arguments");
		else
			w->word[w->count++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (!w->count)
			argp_error(state, "which command?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_version(FILE *to, struct argp_state *state)
{
	(void)state;
	fprintf(to, "bezoar %s\n", bez_version());
}

void tool_say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("bezoar: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
}

static int run(const struct words *w)
{
	if (!strcmp(w->word[0], "log") && w->count == 2)
		return tool_log(w->word[1], w->json);
	if (!strcmp(w->word[0], "log")) {
		tool_say("log needs a file, or - for standard input");
		return TOOL_FAILED;
	}
	if (!strcmp(w->word[0], "explain"))
		return tool_explain(w->word[1], w->json);
	tool_say("there is no such command; see --help");
	return TOOL_FAILED;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		options, on_word, "log FILE\nexplain [CODE]",
		"Read the records of lost pages, or say what an outcome or a "
		"cause means.\vExit status: 0; 1 if not all of FILE was a record "
		"or there is no such CODE; 2 if it could not be done.",
		NULL, NULL, NULL
	};
	struct words w = { { NULL, NULL }, 0, 0 };
	int status;

	argp_err_exit_status = TOOL_FAILED;
	argp_program_version_hook = print_version;
	if (argp_parse(&argp, argc, argv, 0, NULL, &w))
		return TOOL_FAILED;
	status = run(&w);
	if (fflush(stdout) || ferror(stdout)) {
		tool_say("standard output: %s", strerror(errno));
		return TOOL_FAILED;
	}
	return status;
}
