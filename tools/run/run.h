/* SPDX-License-Identifier: MIT */
/* bezoar run: restart by cause. And what belongs to it: clear, unit. */
#ifndef BEZOAR_TOOLS_RUN_RUN_H
#define BEZOAR_TOOLS_RUN_RUN_H

#include "keep.h"

struct argp_state;

struct run_wishes {
	const char *name;		/* NULL: as the command is called */
	struct limits limits;
	const char *state;		/* NULL: state_folder() */
	const char *store;
	const char *socket;		/* of the daemon */
	const char *record;		/* a file that the program writes */
	const char *termination;	/* NULL: Kubernetes', if it is there */
	int lives_on;			/* the program, if this one is killed */
	int note;			/* of a death that systemd has seen */
	char **words;			/* the command */
};

/* Subcommands; argv[0] is the word. Each returns an exit status. */
int run_main(int argc, char **argv);
int clear_main(int argc, char **argv);
int unit_main(int argc, char **argv);

/* Until it has ended for good. */
int run_program(const struct run_wishes *w);
/* Of ExecStopPost= of a unit. */
int run_note(const struct run_wishes *w);

/* The options -r and -w of argp(3); ARGP_ERR_UNKNOWN: @key is neither. */
int run_limit(int key, const char *arg, struct argp_state *state,
	      struct limits *ret_limits);

/* Open the folder that is wished for; @make: in any case. -errno, said, if it
 * was named; else it is said that nothing will be remembered. Not said: it was not to
 * be made, and is not there (-ENOENT), or was not named. */
int run_folder(const char *wish, int make);

/* One line, "bezoar: ...", and @ret_text (TEXT_ROOM) has it for others. */
void run_say(char *ret_text, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The last words, for who manages containers. @path: NULL: where Kubernetes reads
 * them, if there is such a file. */
void run_last_words(const char *path, const char *text);

#endif
