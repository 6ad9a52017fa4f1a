/* SPDX-License-Identifier: MIT */
/*
 * The data: each row says what it knows of the cells that it matches, and a later
 * row overrules an earlier one in the fields in which it does not say "=".
 */
#define _GNU_SOURCE
#include "matrix.h"

#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

enum {
	F_KERNELS, F_PAGES, F_INJECTIONS, F_TRIGGERS, F_ACTIONS, F_CLAUSES,
	F_SIGNAL, F_LOST, F_OUTCOME, F_DATA, F_FRAME, F_REASON, FIELDS
};

static const struct matrix_outcome outcomes[] = {
	{ "good", END_RETURNED, BEZ_OUTCOME_NONE, BEZ_OUTCOME_NONE, 0 },
	{ "already-good", END_RETURNED, BEZ_OUTCOME_ALREADY_GOOD,
	  BEZ_OUTCOME_NONE, 0 },
	{ "replaced", END_RETURNED, BEZ_OUTCOME_REPLACED, BEZ_OUTCOME_NONE, 0 },
	{ "unwound", END_CAUGHT, BEZ_OUTCOME_UNWOUND, BEZ_OUTCOME_SOURCE_NONE,
	  0 },
	{ "degraded", END_RETURNED, BEZ_OUTCOME_DEGRADED,
	  BEZ_OUTCOME_SOURCE_NONE, 0 },
	{ "shutdown", END_SHUT, BEZ_OUTCOME_SHUTDOWN, BEZ_OUTCOME_SOURCE_NONE,
	  SIGBUS },
	{ "default", END_FORMER, BEZ_OUTCOME_DEFAULT, BEZ_OUTCOME_SOURCE_NONE,
	  0 },
	{ "left", END_RETURNED, BEZ_OUTCOME_LEFT, BEZ_OUTCOME_SOURCE_NONE, 0 },
	{ "no-address", END_RETURNED, BEZ_OUTCOME_ASKED_AGAIN, BEZ_OUTCOME_NONE,
	  0 },
	{ "killed", END_DIED, BEZ_OUTCOME_NONE, BEZ_OUTCOME_NONE, SIGSEGV },
};

/* Behind the word and a colon: why it was not replaced, if not for want of a
 * source. */
static const struct {
	const char *word;
	uint16_t why;
} reasons[] = {
	{ "source", BEZ_OUTCOME_SOURCE_NONE },
	{ "kind", BEZ_OUTCOME_REFUSED_KIND },
	{ "huge", BEZ_OUTCOME_REFUSED_HUGE },
	{ "shared", BEZ_OUTCOME_REFUSED_SHARED },
	{ "system", BEZ_OUTCOME_REFUSED_SYSTEM },
	{ "attribute", BEZ_OUTCOME_REFUSED_ATTRS },
	{ "file", BEZ_OUTCOME_REFUSED_FILE },
};

static void __attribute__((noreturn)) bad(const char *cell, const char *what)
{
	printf("Bail out! cells, of %s: %s\n", cell, what);
	exit(2);
}

static int matches(const char *word, const char *globs)
{
	char list[256], *at = list, *one;

	snprintf(list, sizeof(list), "%s", globs);
	while ((one = strsep(&at, ",")))
		if (!fnmatch(one, word, 0))
			return 1;
	return 0;
}

/* "6.1" is 6.1.192, and not 6.12. */
int matrix_kernel_is(const char *list)
{
	static struct utsname name;
	char series[256], *at = series, *one;

	if (!*name.release)
		uname(&name);
	snprintf(series, sizeof(series), "%s", list);
	while ((one = strsep(&at, ","))) {
		size_t n = strlen(one);

		if (!strcmp(one, "*") || (!strncmp(one, name.release, n) &&
					  strchr(".-", name.release[n])))
			return 1;
	}
	return 0;
}

static void signal_of(const char *cell, char *text, struct matrix_signal *ret)
{
	static const char *const wheres[] = {
		[AT_PAGE] = "page", [AT_BYTE] = "exact", [AT_BASE] = "base",
		[AT_SOME] = "some",
	};
	char *code = strsep(&text, ":"), *where = strsep(&text, ":");

	*ret = (struct matrix_signal){ .bits = -1 };
	if (!strcmp(code, "none"))
		return;
	ret->code = !strcmp(code, "ar") ? BUS_MCEERR_AR :
		    !strcmp(code, "adrerr") ? BUS_ADRERR : 0;
	if (!ret->code || !where || !text)
		bad(cell, "no such signal");
	while (strcmp(wheres[ret->where], where))
		if (++ret->where == COUNT(wheres))
			bad(cell, "no such address");
	if (strcmp(text, "-"))
		ret->bits = atoi(text);
}

static int is_one(const char *cell, const char *word, const char *yes,
		  const char *no)
{
	if (strcmp(word, yes) && strcmp(word, no))
		bad(cell, word);
	return !strcmp(word, yes);
}

static void understand(struct matrix_cell *c, char **f)
{
	struct matrix_expect *e = &c->expect;
	char *why = f[F_OUTCOME], *word = strsep(&why, ":");
	size_t i;

	if (!strcmp(word, "why-not")) {
		if (!strcmp(f[F_REASON], "-"))
			bad(c->name, "why not?");
		return;
	}
	for (i = 0; i < COUNT(outcomes); i++)
		if (!strcmp(outcomes[i].word, word))
			e->outcome = &outcomes[i];
	if (!e->outcome)
		bad(c->name, "no such outcome");
	e->why = e->outcome->why;
	for (i = 0; why && i < COUNT(reasons); i++)
		if (!strcmp(reasons[i].word, why))
			e->why = reasons[i].why;
	if (why && e->why == e->outcome->why)
		bad(c->name, "no such reason");
	if (!strcmp(f[F_CLAUSES], "-"))
		bad(c->name, "it proves nothing");
	signal_of(c->name, f[F_SIGNAL], &e->signal);
	e->lost = !strcmp(f[F_LOST], "4K") ? SMALL :
		  !strcmp(f[F_LOST], "2M") ? HUGE :
		  !strcmp(f[F_LOST], "1G") ? GIB : 0;
	if (!e->lost)
		bad(c->name, "so much is never lost at once");
	e->all = is_one(c->name, f[F_DATA], "all", "rest");
	e->gone = !strcmp(f[F_FRAME], "gone");
	e->kept = !e->gone && is_one(c->name, f[F_FRAME], "kept", "back");
}

/* The fields of the next row; 0: there is none. */
static int next_row(char **at, char **f)
{
	char *line = strsep(at, "\n");
	int n = 0;

	if (!line || !*line)
		return 0;
	while (n < FIELDS && (f[n] = strsep(&line, "\t")))
		n++;
	if (n != FIELDS || line)
		bad(f[0], "twelve fields with tabs between");
	return 1;
}

void matrix_expect(struct matrix_cell *c)
{
	char *text = strdup(matrix_cells), *at = text;
	char *row[FIELDS], *known[FIELDS] = { NULL };
	int i;

	while (next_row(&at, row)) {
		if (!matrix_kernel_is(row[F_KERNELS]) ||
		    !matches(c->page->name, row[F_PAGES]) ||
		    !matches(c->injection->name, row[F_INJECTIONS]) ||
		    !matches(c->trigger->name, row[F_TRIGGERS]) ||
		    !matches(c->action->name, row[F_ACTIONS]))
			continue;
		if (strcmp(row[F_KERNELS], "*") && !strcmp(row[F_REASON], "-"))
			bad(c->name, "an erratum without a reason");
		for (i = F_CLAUSES; i < FIELDS; i++)
			if (strcmp(row[i], "="))
				known[i] = row[i];
	}
	for (i = F_CLAUSES; i < FIELDS; i++)
		if (!known[i])
			bad(c->name, "nothing is known of it");
	c->expect.reason = strdup(known[F_REASON]);
	understand(c, known);
	free(text);
}
