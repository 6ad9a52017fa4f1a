/* SPDX-License-Identifier: MIT */
/* bezoar check: the sentence at the end, and foreign words in facts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "facts.h"
#include "tap.h"

/* In the place of probes.c. */
const struct probe probes[] = {
	{ .id = "S0.1", .survives = "apples" },
	{ .id = "S0.2" },
	{ .id = "S0.3", .survives = "pears" },
	{ .id = "S0.4", .survives = "plums" },
};
const size_t probes_count = sizeof(probes) / sizeof(probes[0]);

struct told {
	const char *verdicts;		/* h, b, u: of each probe */
	const char *recovery, *rseq;	/* facts */
	const char *sentence;
};

static const struct told all_well = {
	"hhhh", "1", "not registered",
	"This machine can survive the loss of apples, pears, and plums, cannot "
	"survive what no program can.",
}, with_rseq = {
	"hbhh", "1", "registered",
	"This machine can survive the loss of apples, pears, and plums, cannot "
	"survive that of thread-local storage (rseq).",
}, mixed = {
	"hhbu", "1", "registered",
	"This machine can survive the loss of apples, cannot survive that of "
	"pears and thread-local storage (rseq); it is not known of plums.",
}, no_failure = {
	"hbhu", "not there", "not registered",
	"This machine can survive the emulated loss of apples and pears, cannot "
	"survive a real memory error, which its kernel tells no program of; it "
	"is not known of plums.",
}, panics = {
	"hbbh", "0", "registered",
	"This machine can survive the emulated loss of apples and plums, cannot "
	"survive a real memory error, at which its kernel panics "
	"(vm.memory_failure_recovery is 0), nor the loss of pears and "
	"thread-local storage (rseq).",
}, nothing = {
	"uuuu", "1", "not registered",
	"This machine can survive nothing that was tried, cannot survive what no "
	"program can; it is not known of apples, pears, and plums.",
};

static enum verdict verdict_of(char c)
{
	return c == 'h' ? VERDICT_HOLDS : c == 'b' ? VERDICT_BROKEN :
						     VERDICT_UNTESTED;
}

static void says(void)
{
	const struct told *t = tap_data();
	struct answer answers[sizeof(probes) / sizeof(probes[0])];
	struct results r = { .answer = answers };
	char *sentence;
	size_t i;

	for (i = 0; i < probes_count; i++)
		answers[i].verdict = verdict_of(t->verdicts[i]);
	fact_add(&r.facts, "kernel", "vm.memory_failure_recovery", "", "%s",
		 t->recovery);
	fact_add(&r.facts, "process", "rseq", "", "%s", t->rseq);
	sentence = sentence_of(&r);
	CHECK(sentence);
	CHECKF(!strcmp(sentence, t->sentence), "%s", sentence);
	free(sentence);
	facts_free(&r.facts);
}

/* Whoever named it: it does nothing to a terminal, nor to a line. */
static void foreign(void)
{
	struct facts facts = { .count = 0 };
	char longest[1000];

	memset(longest, '\n', sizeof(longest));
	fact_add(&facts, "kernel", "a", "", "%s", "6.1\033]0;evil\a\n\"\\\377");
	fact_add(&facts, "kernel", "b", "", NULL);
	fact_add(&facts, "kernel", "c", "", "%.999s", longest);
	CHECK(!strcmp(fact_of(&facts, "a"),
		      "6.1\\x1b]0;evil\\x07\\x0a\\\"\\\\\\xff"));
	CHECK(!fact_of(&facts, "b"));
	CHECK(!fact_of(&facts, "d"));
	CHECK(!strchr(fact_of(&facts, "c"), '\n'));
	CHECK_EQ(facts.count, 3);
	CHECK(!facts.no_memory);
	facts_free(&facts);
}

static void lines(void)
{
	char name[] = "/tmp/bezoar-said-XXXXXX", line[8];
	int fd = mkstemp(name);
	FILE *f = fdopen(fd, "w");

	CHECK(f);
	fputs("first of all\nkey:\t  value\nkey: again\nlast", f);
	fclose(f);
	CHECK_EQ(fact_line(name, line, sizeof(line)), 0);
	CHECK(!strcmp(line, "first o"));
	CHECK_EQ(fact_line_of(name, "key:", line, sizeof(line)), 0);
	CHECK(!strcmp(line, "value"));
	CHECK_EQ(fact_line_of(name, "last", line, sizeof(line)), 0);
	CHECK(!strcmp(line, ""));
	CHECK_EQ(fact_line_of(name, "none", line, sizeof(line)), -1);
	unlink(name);
	CHECK_EQ(fact_line(name, line, sizeof(line)), -1);
}

static const struct tap_case cases[] = {
	{ .name = "all is well", .run = says, .data = &all_well },
	{ .name = "rseq", .run = says, .data = &with_rseq },
	{ .name = "of each kind", .run = says, .data = &mixed },
	{ .name = "no memory failure", .run = says, .data = &no_failure },
	{ .name = "it would panic", .run = says, .data = &panics },
	{ .name = "nothing", .run = says, .data = &nothing },
	{ .name = "foreign words", .run = foreign },
	{ .name = "lines of files", .run = lines },
};
TAP_MAIN(cases)
