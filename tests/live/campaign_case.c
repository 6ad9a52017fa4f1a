/* SPDX-License-Identifier: MIT */
/*
 * What a case is: drawn, printed, read back, made plainer.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "campaign.h"

static const char *const kinds[] = {
	"anon", "thp", "stack", "memfd", "exclusive", "fenced", "shared",
	"file", "shared-file", "hugetlb", "huge-memfd", "huge-shared", NULL
};
static const char *const prots[] = { "rw", "r", "rwx", NULL };
static const char *const advices[] = {
	"none", "dontdump", "dontfork", "wipeonfork", "hugepage", "nohugepage",
	"mergeable", "sequential", "random", NULL
};
static const int advice[] = {
	-1, MADV_DONTDUMP, MADV_DONTFORK, MADV_WIPEONFORK, MADV_HUGEPAGE,
	MADV_NOHUGEPAGE, MADV_MERGEABLE, MADV_SEQUENTIAL, MADV_RANDOM
};
static const char *const noyes[] = { "no", "yes", NULL };
static const char *const copies[] = { "none", "some", "all", NULL };
static const char *const sources[] = {
	"mirror", "file", "callback", "deferred", "list", "salvage", "zero",
	NULL
};
static const char *const ops[] = {
	"look", "lose", "load", "store", "rush", "crowd", "race", "write",
	"discard", "protect", "fork", "call", "again", "remake", "spoil",
	"mend", "die", NULL
};

static const struct field {
	const char *name;
	size_t at;
	const char *const *words;	/* NULL: a number */
	uint32_t plain;			/* the least of a number */
	uint32_t most;			/* of a number */
} fields[] = {
#define FIELD(f, ...) { #f, offsetof(struct camp_case, f), __VA_ARGS__ }
	FIELD(kind, kinds, 0, 0),	/* is never made plain */
	FIELD(threads, NULL, 0, CAMP_THREADS - 1),
	FIELD(advice, advices, 0, 0),
	FIELD(lock, noyes, 0, 0),
	FIELD(name, noyes, 0, 0),
	FIELD(key, noyes, 0, 0),
	FIELD(numa, noyes, 0, 0),
	FIELD(prot, prots, 0, 0),
	FIELD(copied, copies, 0, 0),
	FIELD(mremap, noyes, 0, 0),
	FIELD(source, sources, 0, 0),
	FIELD(digests, noyes, 0, 0),
	FIELD(mapped, noyes, 0, 0),
	FIELD(base, noyes, 0, 0),
	FIELD(detach, noyes, 0, 0),
	FIELD(told, noyes, 0, 0),
	FIELD(pages, NULL, 1, 4096),
#undef FIELD
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static uint32_t *value(const struct camp_case *c, const struct field *f)
{
	return (uint32_t *)((char *)c + f->at);
}

int camp_advice(const struct camp_case *c)
{
	return advice[c->advice];
}

int camp_is_huge(const struct camp_case *c)
{
	return c->kind >= CAMP_HUGETLB;
}

int camp_is_shared(const struct camp_case *c)
{
	return c->kind == CAMP_EXCLUSIVE || c->kind == CAMP_FENCED ||
	       c->kind == CAMP_SHARED || c->kind == CAMP_HUGE_SHARED;
}

int camp_is_file(const struct camp_case *c)
{
	return c->kind == CAMP_FILE || c->kind == CAMP_SHARED_FILE;
}

/* ------------------------------------------------------------------ drawn */

/* SplitMix64, by Sebastiano Vigna. */
uint64_t camp_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(camp_random(state) >> 32) % n;
}

static uint32_t one_in(uint64_t *state, uint32_t n)
{
	return !below(state, n);
}

/* How often each step is drawn, of a hundred. */
static const uint8_t weights[CAMP_OPS] = {
	[CAMP_LOOK] = 3, [CAMP_LOSE] = 22, [CAMP_LOAD] = 10, [CAMP_STORE] = 10,
	[CAMP_RUSH] = 8, [CAMP_CROWD] = 8, [CAMP_RACE] = 8, [CAMP_WRITE] = 6,
	[CAMP_DISCARD] = 5, [CAMP_PROTECT] = 4, [CAMP_FORK] = 2,
	[CAMP_CALL] = 5, [CAMP_AGAIN] = 2, [CAMP_REMAKE] = 1, [CAMP_SPOIL] = 2,
	[CAMP_MEND] = 3, [CAMP_DIE] = 1,
};

static void draw_step(uint64_t *state, struct camp_step *s)
{
	uint32_t n = below(state, 100);

	for (s->op = 0; s->op < CAMP_OPS - 1 && n >= weights[s->op]; s->op++)
		n -= weights[s->op];
	s->page = below(state, 4096);
	s->arg = below(state, 100000);
}

static void draw_attributes(uint64_t *state, struct camp_case *c)
{
	int is_anon = c->kind == CAMP_ANON || c->kind == CAMP_THP ||
		      c->kind == CAMP_STACK;

	c->prot = one_in(state, 4) ? CAMP_R + below(state, 2) : CAMP_RW;
	if (one_in(state, 2))
		c->advice = below(state, sizeof(advice) / sizeof(advice[0]));
	c->lock = one_in(state, 4) && !camp_is_huge(c);
	c->name = one_in(state, 4) && is_anon;
	c->key = one_in(state, 6);
	c->numa = one_in(state, 8);
	if (c->kind == CAMP_STACK)	/* its thread must be able to stand */
		c->prot = CAMP_RW;
	if (c->kind == CAMP_THP)
		c->advice = 4;
	if (camp_is_huge(c) && c->advice > 3)
		c->advice = 0;
	/* a child without that memory could not look at it */
	if (camp_is_shared(c) && (c->advice == 2 || c->advice == 3))
		c->advice = 0;
}

void camp_draw(uint64_t seed, enum camp_kind kind, uint32_t number,
	       uint32_t steps, struct camp_case *ret_case)
{
	uint64_t state = seed * 0x2545f4914f6cdd1du + kind * 7919u + number;
	struct camp_case *c = ret_case;
	uint32_t i;

	camp_random(&state);
	memset(c, 0, sizeof(*c));
	c->kind = kind;
	c->pages = camp_is_huge(c) ? 1 + below(&state, 2) :
		   kind == CAMP_THP ? 512 : 3 + below(&state, 14);
	draw_attributes(&state, c);
	c->copied = below(&state, 3);
	c->mremap = one_in(&state, 3);
	c->source = below(&state, CAMP_ZERO + 1);
	c->digests = one_in(&state, 2);
	c->mapped = one_in(&state, 4);
	c->base = one_in(&state, 4);
	c->detach = !one_in(&state, 3);
	c->told = one_in(&state, 2);
	c->threads = kind == CAMP_STACK ? 0 : below(&state, CAMP_THREADS);
	c->steps = steps < CAMP_STEPS ? steps : CAMP_STEPS;
	for (i = 0; i < c->steps; i++)
		draw_step(&state, &c->step[i]);
}

/* ---------------------------------------------------------------- in words */

void camp_print_step(FILE *to, const struct camp_step *s)
{
	fprintf(to, "%s:%u:%u", ops[s->op], s->page, s->arg);
}

void camp_print(FILE *to, const struct camp_case *c)
{
	uint32_t i;

	for (i = 0; i < FIELDS; i++) {
		const struct field *f = &fields[i];
		uint32_t v = *value(c, f);

		if (v == f->plain && i)
			continue;
		if (f->words)
			fprintf(to, "%s=%s ", f->name, f->words[v]);
		else
			fprintf(to, "%s=%u ", f->name, v);
	}
	fprintf(to, "steps=");
	for (i = 0; i < c->steps; i++) {
		if (i)
			putc(',', to);
		camp_print_step(to, &c->step[i]);
	}
}

static int index_of(const char *const *words, const char *word)
{
	int i;

	for (i = 0; words[i]; i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

static int parse_step(char *text, struct camp_step *s)
{
	char *colon = strchr(text, ':');
	int op;

	if (colon)
		*colon = '\0';
	op = index_of(ops, text);
	if (op < 0 || !colon || sscanf(colon + 1, "%u:%u", &s->page,
				       &s->arg) != 2)
		return -1;
	s->op = (uint32_t)op;
	return 0;
}

static int parse_steps(char *text, struct camp_case *c)
{
	char *save = NULL, *s;

	for (s = strtok_r(text, ",", &save); s; s = strtok_r(NULL, ",", &save))
		if (c->steps == CAMP_STEPS || parse_step(s, &c->step[c->steps++]))
			return -1;
	return 0;
}

static int parse_field(const char *name, const char *text, struct camp_case *c)
{
	uint32_t i;

	for (i = 0; i < FIELDS; i++) {
		const struct field *f = &fields[i];
		char *end;
		long v;

		if (strcmp(f->name, name))
			continue;
		v = f->words ? index_of(f->words, text) : strtol(text, &end, 10);
		if (v < 0 || (!f->words && (*end || v < f->plain || v > f->most)))
			return -1;
		*value(c, f) = (uint32_t)v;
		return 0;
	}
	return -1;
}

int camp_parse(char *line, struct camp_case *ret_case)
{
	char *save = NULL, *word;

	memset(ret_case, 0, sizeof(*ret_case));
	ret_case->pages = 1;
	for (word = strtok_r(line, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		char *is = strchr(word, '=');
		int r = -1;

		if (is) {
			*is = '\0';
			r = strcmp(word, "steps") ?
			    parse_field(word, is + 1, ret_case) :
			    parse_steps(is + 1, ret_case);
		}
		if (r) {
			fprintf(stderr, "in a case: what is '%s'?\n", word);
			return -1;
		}
	}
	return 0;
}

int camp_make_plain(struct camp_case *c, uint32_t i)
{
	const struct field *f;
	uint32_t *v;

	if (i + 1 >= FIELDS)
		return -1;
	f = &fields[i + 1];		/* the kind stays */
	v = value(c, f);
	if (*v == f->plain)
		return 0;
	/* a number is halved as long as that helps */
	*v = f->words || *v <= 1 ? f->plain : *v / 2;
	return 1;
}
