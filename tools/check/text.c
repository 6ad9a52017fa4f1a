/* SPDX-License-Identifier: MIT */
/* The results for people: 80 columns, the same on a terminal and in a file. */
#include "check.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS	79
#define INDENT	9			/* of what is said of a clause */
#define VALUE	38			/* where a fact's value begins */

/* Words from column @at on, lines that follow from @indent on. */
static void folded(int at, int indent, const char *text)
{
	int first = 1;

	while (*text) {
		int len = (int)strcspn(text, " ");

		if (!first && at + 1 + len > COLUMNS) {
			printf("\n%*s", indent, "");
			at = indent;
		} else if (!first) {
			putchar(' ');
			at++;
		}
		at += printf("%.*s", len, text);
		text += len;
		text += strspn(text, " ");
		first = 0;
	}
	putchar('\n');
}

static void said(const char *head, const char *text)
{
	folded(printf("%*s%s ", INDENT, "", head), INDENT + 2, text);
}

static void show_one(const struct probe *p, const struct answer *a)
{
	int at = printf("%-*s", INDENT, p->id);

	at += printf("%s - ", verdict_name(a->verdict));
	folded(at, INDENT, clause_of(p->id)->text);
	if (*a->why)
		said(a->verdict == VERDICT_BROKEN ? "found:" :
		     a->verdict == VERDICT_HOLDS ? "but:" : "why:", a->why);
	if (a->verdict == VERDICT_HOLDS)
		said("=>", p->holds);
	else if (a->verdict == VERDICT_BROKEN)
		said("=>", p->broken);
	else
		said("=>", "Do not rely on it here before it has been seen.");
}

/* The statement that @id begins with is said once, above its clauses. */
static void show_statement(const char *id, char last[8])
{
	char statement[8];

	snprintf(statement, sizeof(statement), "%.*s",
		 (int)strcspn(id, "."), id);
	if (!strcmp(statement, last))
		return;
	strcpy(last, statement);
	putchar('\n');
	folded(printf("%s  ", statement), 4, clause_of(statement)->text);
}

static void show_clauses(const struct results *r)
{
	char last[8] = "";
	size_t i;

	for (i = 0; i < probes_count; i++) {
		if (r->options->quiet &&
		    r->answer[i].verdict == VERDICT_HOLDS)
			continue;
		if (!r->options->quiet)
			show_statement(probes[i].id, last);
		show_one(&probes[i], &r->answer[i]);
	}
}

static void show_facts(const struct facts *facts)
{
	const char *group = "";
	size_t i;

	for (i = 0; i < facts->count; i++) {
		const struct fact *f = &facts->fact[i];
		int at;

		if (strcmp(group, f->group))
			printf("\nOf this %s:\n", f->group);
		group = f->group;
		at = printf("  %-*s ", VALUE - 3, f->name);
		folded(at, VALUE, f->value ? f->value : "not readable");
		printf("%*s", 4, "");
		folded(4, 4, f->means);
	}
}

void show_results(const struct results *r)
{
	if (!r->options->quiet) {
		printf("Linux %s\n", fact_of(&r->facts, "release"));
		puts(!r->options->real ?
		     "Pages were lost by emulation, which harms nothing." :
		     r->lost ? "Pages were lost by real poison." :
		     "No page was lost: there is no real poison here.");
	}
	show_clauses(r);
	if (!r->options->quiet)
		show_facts(&r->facts);
	if (!r->options->quiet || r->count[VERDICT_BROKEN] ||
	    r->count[VERDICT_UNTESTED])
		putchar('\n');
	if (r->options->real) {
		printf("%u pages were lost, %u are given back", r->lost,
		       r->given_back);
		if (r->before < 0 || r->after < 0)
			puts("; this kernel has no HardwareCorrupted.");
		else
			printf("; HardwareCorrupted: %ld KiB before, %ld "
			       "after.\n", r->before, r->after);
	}
	printf("%u hold, %u broken, %u cannot be tested here.\n",
	       r->count[VERDICT_HOLDS], r->count[VERDICT_BROKEN],
	       r->count[VERDICT_UNTESTED]);
	folded(0, 0, r->sentence);
}
