/* SPDX-License-Identifier: MIT */
/* bezoar unit: a drop-in for a service of systemd, on standard output. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../tool.h"
#include "run.h"

#define SECOND	1000000000ull
#define PLAIN	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" \
		"0123456789:_.@\\-"

struct words {
	char unit[NAME_MOST + 1];
	struct limits limits;
};

static const struct argp_option options[] = {
	{ "restarts", 'r', "N", 0, "as many at most, 0 to 50 (3) ...", 0 },
	{ "within", 'w', "T", 0, "... in so long: 90s, 10m, 2h, 7d (10m)", 0 },
	{ 0 }
};

/* A name may have a full stop in it: shop.example is shop.example.service. */
static int is_of_another_kind(const char *end)
{
	static const char *const kinds[] = {
		".automount", ".device", ".mount", ".path", ".scope", ".slice",
		".socket", ".swap", ".target", ".timer",
	};
	size_t i;

	for (i = 0; end && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(end, kinds[i]))
			return 1;
	return 0;
}

static void unit_of(struct argp_state *state, const char *word, char *ret)
{
	size_t len = strlen(word), end = strlen(".service");
	const char *has = strrchr(word, '.');

	if (!len || word[strspn(word, PLAIN)] || word[0] == '.' ||
	    len + end > NAME_MOST || is_of_another_kind(has))
		argp_error(state, "%s is no name of a service", word);
	snprintf(ret, NAME_MOST + 1, "%s%s", word,
		 has && !strcmp(has, ".service") ? "" : ".service");
}

static error_t on_word(int key, char *arg, struct argp_state *state)
{
	struct words *w = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (*w->unit)
			argp_error(state, "one service at a time");
		unit_of(state, arg, w->unit);
		return 0;
	case ARGP_KEY_END:
		if (!*w->unit)
			argp_error(state, "which service?");
		return 0;
	default:
		return run_limit(key, arg, state, &w->limits);
	}
}

/* Words of a unit: quotes, and percent signs and dollars twice. */
static int print_word(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '\n')
			return -1;
		if (*s == '"' || *s == '\\')
			putchar('\\');
		if (*s == '%' || *s == '$')
			putchar(*s);
		putchar(*s);
	}
	putchar('"');
	return 0;
}

/* "+": as root, whoever the service runs as; "-": it fails for nobody. %n: also right
 * for an instance of a template. */
static int print_note(const char *self, const char *words)
{
	printf("ExecStopPost=-+");
	if (print_word(self))
		return -1;
	printf(" %s %%n\n", words);
	return 0;
}

/* Any status but 0 skips the service, also that of a program that is not there. So
 * only one is asked for. */
static int print_check(const char *self)
{
	printf("ExecCondition=+/bin/sh -c '\"$$0\" clear --check -- \"$$1\"; "
	       "test $$? -ne %d' ", RUN_LATCHED);
	if (print_word(self))
		return -1;
	printf(" %%n\n");
	return 0;
}

static int print_unit(const struct words *w, const char *self)
{
	unsigned long long s = w->limits.within_ns / SECOND;
	char note[96];

	snprintf(note, sizeof(note), "run --restarts %u --within %llus --note",
		 w->limits.restarts, s);
	printf("# /etc/systemd/system/%s.d/bezoar.conf\n"
	       "# made by: bezoar unit --restarts %u --within %llus %s\n"
	       "#\n"
	       "# A death of lost memory is a reason to start again, at once; "
	       "memory that fails\n"
	       "# again is a reason not to. systemd cannot tell one SIGBUS "
	       "from another: one that\n"
	       "# was no lost memory restarts it, too, as often as "
	       "StartLimitBurst= says. Starts by hand count, too:\n"
	       "# systemctl reset-failed ends that, also after bezoar clear.\n"
	       "[Unit]\n"
	       "StartLimitIntervalSec=%llus\n"
	       "StartLimitBurst=%u\n\n"
	       "[Service]\n"
	       "# whatever Restart= the service itself has; 135 is a shell's "
	       "word for it\n"
	       "RestartForceExitStatus=SIGBUS 135\n"
	       "# of bezoar run, if that is what it starts\n"
	       "RestartPreventExitStatus=%d\n"
	       "# latched: it is skipped, which restarts nothing; bezoar clear "
	       "ends that\n", w->unit, w->limits.restarts, s, w->unit, s,
	       w->limits.restarts + 1, RUN_LATCHED);
	if (print_check(self))
		return -1;
	printf("# how it has ended, and whether that latches it\n");
	return print_note(self, note);
}

int unit_main(int argc, char **argv)
{
	static const struct argp argp = {
		options, on_word, "SERVICE",
		"Print a drop-in by which systemd restarts a service that has "
		"died of lost memory, and does not where that would not help."
		"\vExit status: 0; 2 if it could not be done.",
		NULL, NULL, NULL
	};
	struct words w = { .limits = { 3, 600 * SECOND } };
	char self[4096];
	ssize_t n;

	argv[0] = (char *)"bezoar unit";
	argp_err_exit_status = TOOL_FAILED;
	if (argp_parse(&argp, argc, argv, 0, NULL, &w))
		return TOOL_FAILED;
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = '\0';
	if (n <= 0 || print_unit(&w, self)) {
		tool_say("where this program is installed is not known, or no "
			 "name for a unit");
		return TOOL_FAILED;
	}
	return TOOL_OK;
}
