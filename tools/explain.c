/* SPDX-License-Identifier: MIT */
#include "catalogue.h"
#include "tool.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text is folded, so that a terminal need not cut words. */
#define COLUMNS	76

static void folded(const char *head, const char *text)
{
	int column = printf("  %-14s", head);

	while (*text) {
		int len = 0;

		while (text[len] && text[len] != ' ')
			len++;
		if (column + 1 + len > COLUMNS) {
			fputs("\n                ", stdout);
			column = 16;
		} else if (column > 16) {
			putchar(' ');
			column++;
		}
		column += printf("%.*s", len, text);
		text += len + (text[len] == ' ');
	}
	putchar('\n');
}

static int as_json(const struct entry *e)
{
	char code[8];
	json_t *o = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s}",
			      "code", entry_code(e, code),
			      "kind", e->kind == 'O' ? "outcome" : "cause",
			      "number", (int)e->number, "symbol", e->symbol,
			      "name", entry_name(e), "happened", e->happened,
			      "means", e->means, "now", entry_now(e),
			      "later", e->later);
	int r = o ? json_dumpf(o, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) :
		    -1;

	json_decref(o);
	putchar('\n');
	return r ? TOOL_FAILED : TOOL_OK;
}

static void as_text(const struct entry *e)
{
	char code[8];

	printf("%s  BEZ_%s_%s  \"%s\"\n", entry_code(e, code),
	       e->kind == 'O' ? "OUTCOME" : "CAUSE", e->symbol, entry_name(e));
	folded("what happened", e->happened);
	folded("what it means", e->means);
	folded("do now", entry_now(e));
	folded("do later", e->later);
}

int explain_code(char kind, unsigned int number, int json)
{
	const struct entry *e = entry_of(kind, number);

	if (e && json)
		return as_json(e) ? -1 : 0;
	if (e)
		as_text(e);
	else if (!json)
		printf("%c%u\n  it is of a later version than this program\n",
		       kind, number);
	return 0;
}

/* "R12", a row of a store; or all sixteen digits of a digest. */
static int is_record(const char *word, struct filter *f)
{
	const int row = *word == 'R' || *word == 'r';

	if (!row)
		return !filter_digest(f, word);
	if (word[strspn(word + 1, "0123456789") + 1])
		return 0;
	errno = 0;
	f->number = strtoll(word + 1, NULL, 10);
	return !errno && f->number > 0;
}

static int of_record(const char *path, struct log_wishes *wishes)
{
	uint64_t shown = 0;
	int status;

	wishes->shown = &shown;
	wishes->explain = 1;
	status = tool_log(path, wishes);
	if (shown || status == TOOL_FAILED)
		return status;
	tool_say("there is no such record");
	return TOOL_FOUND;
}

int tool_explain(const char *word, const char *path, int json)
{
	struct log_wishes wishes = { .json = json };
	int status = word ? TOOL_FOUND : TOOL_OK;
	size_t i;

	if (word && is_record(word, &wishes.filter))
		return of_record(path, &wishes);
	if (path) {
		tool_say("a file is looked into for a record: name it by its "
			 "digest, of sixteen digits, or row, as in R12");
		return TOOL_FAILED;
	}
	for (i = 0; i < catalogue_entries; i++) {
		const struct entry *e = &catalogue[i];
		char code[8];

		if (word && !entry_is(e, word))
			continue;
		if (json && as_json(e))
			return TOOL_FAILED;
		if (!json && word)
			as_text(e);
		if (!json && !word)
			printf("%-5s %-17s %s\n", entry_code(e, code),
			       e->symbol, entry_name(e));
		status = TOOL_OK;
	}
	if (status)
		tool_say("there is no such code: \"bezoar explain\" lists all; a "
			 "record is named by its digest, of sixteen digits, or "
			 "its row, from R1 on");
	return status;
}
