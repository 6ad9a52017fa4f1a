/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_TOOL_H
#define BEZOAR_TOOLS_TOOL_H

#include "filter.h"

struct show_from;

/* Exit statuses; bezoar(1). */
enum {
	TOOL_OK = 0,
	TOOL_FOUND = 1,		/* log, report: not all was a record; explain: no
				 * such code; check: some clause is broken
				 * or, if strict, not tested */
	TOOL_FAILED = 2,	/* nothing could be said, or not all of it */
	TOOL_NOTHING = 77	/* check: nothing could be tested */
};

#define LOG_NO_STORE (-1)	/* instead of a status: it is a file of records */

struct check_options;

struct log_wishes {
	struct filter filter;
	int json;
	int follow;
	int counts, apart;		/* of a store alone */
	int explain;			/* what its codes mean, too */
	uint64_t *shown;		/* how many were; NULL: nobody asks */
};

/* NULL: the store of the daemon of this machine. */
int tool_log(const char *path, const struct log_wishes *wishes);
/* One record as it is wished. -1: it could not be shown. */
int log_record(const struct log_wishes *wishes, const struct bez_record *r,
	       const struct show_from *from);

#define TOOL_STORE "/var/lib/bezoar/records.db"	/* without another word */

/* NULL: all, a line each. A record's digest or row ("R12") stands for all codes in
 * it; @path is what tool_log() takes then. */
int tool_explain(const char *word, const char *path, int json);
/* One of the catalogue, or that there is none of this number. */
int explain_code(char kind, unsigned int number, int json);

/* Subcommands with options of their own; argv[0] is the name. */
int report_main(int argc, char **argv);

int tool_check(const struct check_options *options);

/* Could standard output not be written, up to now? Notes the reason, so it is to be asked
 * before anything else can have changed errno; tool_flush() first writes what waits. */
int tool_unwritten(void);
int tool_flush(void);

/* "bezoar: ..." on standard error. tool_hurries: nothing where it would have to wait
 * for who reads that. */
extern int tool_hurries;
void tool_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
