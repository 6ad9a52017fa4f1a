/* SPDX-License-Identifier: MIT */
/* The results for programs: one object of JSON in one line. */
#include "check.h"

#include <bezoar/bezoar.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "tool.h"

/* What is there to say, or null. */
static json_t *text(const char *s)
{
	return s && *s ? json_string(s) : json_null();
}

static const char *word(enum verdict v)
{
	return v == VERDICT_UNTESTED ? "untested" : verdict_name(v);
}

static const char *means(const struct probe *p, const struct answer *a)
{
	return a->verdict == VERDICT_HOLDS ? p->holds :
	       a->verdict == VERDICT_BROKEN ? p->broken : NULL;
}

static json_t *clause(const struct probe *p, const struct answer *a)
{
	const struct clause *c = clause_of(p->id);

	return json_pack("{s:s, s:s#, s:s, s:s, s:s, s:o, s:o, s:f}",
			 "id", c->id, "statement", c->id,
			 (int)strcspn(c->id, "."), "text", c->text,
			 "since", c->kernel, "result", word(a->verdict),
			 "why", text(a->why), "means", text(means(p, a)),
			 "ms", (double)a->took_ns / 1e6);
}

static json_t *all_clauses(const struct results *r)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < probes_count; i++)
		json_array_append_new(list, clause(&probes[i], &r->answer[i]));
	return list;
}

static json_t *all_facts(const struct facts *facts)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < facts->count; i++) {
		const struct fact *f = &facts->fact[i];

		json_array_append_new(list, json_pack(
			"{s:s, s:s, s:o, s:s}", "group", f->group, "name",
			f->name, "value", f->value ? json_string(f->value) :
						     json_null(),
			"means", f->means));
	}
	return list;
}

static json_t *pages(const struct results *r)
{
	return json_pack("{s:i, s:i, s:I, s:I}", "lost", (int)r->lost,
			 "given_back", (int)r->given_back,
			 "corrupted_kib_before", (json_int_t)r->before,
			 "corrupted_kib_after", (json_int_t)r->after);
}

/* A part that could not be made leaves json_pack() without a result. What could not be
 * written stays with standard output. */
int show_results_json(const struct results *r)
{
	json_t *o = json_pack(
		"{s:s, s:s, s:o, s:o, s:{s:i, s:i, s:i}, s:o, s:s, s:i}",
		"version", bez_version(), "poison",
		r->options->real ? "real" : "emulated", "clauses",
		all_clauses(r), "facts", all_facts(&r->facts), "count",
		"holds", (int)r->count[VERDICT_HOLDS], "broken",
		(int)r->count[VERDICT_BROKEN], "untested",
		(int)r->count[VERDICT_UNTESTED], "pages", pages(r),
		"sentence", r->sentence, "status", r->status);
	int bad = !o || (json_dumpf(o, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) &&
			 !ferror(stdout));

	tool_unwritten();
	json_decref(o);
	putchar('\n');
	return bad ? -1 : 0;
}
