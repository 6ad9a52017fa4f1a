/* SPDX-License-Identifier: MIT */
#include "catalogue.h"
#include "tool.h"

#include <jansson.h>
#include <stdio.h>

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

int tool_explain(const char *word, int json)
{
	int status = word ? TOOL_FOUND : TOOL_OK;
	size_t i;

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
		tool_say("there is no such code; \"bezoar explain\" lists all");
	return status;
}
