/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_TOOL_H
#define BEZOAR_TOOLS_TOOL_H

#include "filter.h"

/* Exit statuses; bezoar(1). */
enum {
	TOOL_OK = 0,
	TOOL_FOUND = 1,		/* log: not all was a record; explain: no such
				 * code; check: some clause is broken
				 * or, if strict, not tested */
	TOOL_FAILED = 2,	/* nothing could be said, or not all of it */
	TOOL_NOTHING = 77	/* check: nothing could be tested */
};

struct check_options;

struct log_wishes {
	struct filter filter;
	int json;
	int follow, counts;		/* of a store alone */
};

/* NULL: the store of the daemon of this machine. */
int tool_log(const char *path, const struct log_wishes *wishes);

/* NULL: all, a line each. */
int tool_explain(const char *word, int json);

int tool_check(const struct check_options *options);

/* "bezoar: ..." on standard error. */
void tool_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
