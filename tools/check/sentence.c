/* SPDX-License-Identifier: MIT */
/* All of it in one sentence. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_ITEMS	32

struct items {
	const char *item[MOST_ITEMS];
	size_t count;
};

static void add(struct items *list, const char *item)
{
	if (list->count < MOST_ITEMS)
		list->item[list->count++] = item;
}

static void add_probes(struct items *list, const struct results *r,
		       enum verdict v)
{
	size_t i;

	for (i = 0; i < probes_count; i++)
		if (probes[i].survives && r->answer[i].verdict == v)
			add(list, probes[i].survives);
}

/* "a, b and c" */
static void print_items(FILE *to, const struct items *list)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		fprintf(to, "%s%s", !i ? "" : i + 1 < list->count ? ", " :
			list->count > 2 ? ", and " : " and ", list->item[i]);
}

static int is(const struct results *r, const char *fact, const char *value)
{
	const char *now = fact_of(&r->facts, fact);

	return now && !strcmp(now, value);
}

/* What takes everybody's life, whatever was found by losses on purpose. */
static const char *no_real_error(const struct results *r)
{
	if (is(r, "vm.memory_failure_recovery", "not there"))
		return "a real memory error, which its kernel tells no program "
		       "of";
	if (is(r, "vm.memory_failure_recovery", "0"))
		return "a real memory error, at which its kernel panics "
		       "(vm.memory_failure_recovery is 0)";
	return NULL;
}

char *sentence_of(const struct results *r)
{
	const char *never = no_real_error(r);
	struct items can = { .count = 0 }, cannot = { .count = 0 },
		     unknown = { .count = 0 };
	size_t size;
	char *text = NULL;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	add_probes(&can, r, VERDICT_HOLDS);
	add_probes(&cannot, r, VERDICT_BROKEN);
	if (is(r, "rseq", "registered"))
		add(&cannot, "thread-local storage (rseq)");
	add_probes(&unknown, r, VERDICT_UNTESTED);

	fputs("This machine can survive ", to);
	fputs(!can.count ? "nothing that was tried" : never ?
	      "the emulated loss of " : "the loss of ", to);
	print_items(to, &can);
	fputs(", cannot survive ", to);
	if (never)
		fputs(never, to);
	if (cannot.count)
		fputs(never ? ", nor the loss of " : "that of ", to);
	else if (!never)
		fputs("what no program can", to);
	print_items(to, &cannot);
	if (unknown.count) {
		fputs("; it is not known of ", to);
		print_items(to, &unknown);
	}
	fputc('.', to);
	if (fclose(to)) {
		free(text);
		return NULL;
	}
	return text;
}
