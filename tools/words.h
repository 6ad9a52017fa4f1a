/* SPDX-License-Identifier: MIT */
/*
 * The English words for what a record has as a number, beside the catalogue, which
 * is about outcomes and causes alone. All forms of output take them from here.
 */
#ifndef BEZOAR_TOOLS_WORDS_H
#define BEZOAR_TOOLS_WORDS_H

/* What became of the program that met a loss, as its owner would ask: outcomes
 * in five groups. */
enum fate {
	FATE_WHOLE,		/* it went on as if nothing had been */
	FATE_WITHOUT,		/* it went on, and knows what is lost */
	FATE_ENDED,		/* it ended in good order */
	FATE_PASSED,		/* it was not helped: killed, or its own affair */
	FATE_OTHER,		/* nothing was lost, or it is not decided yet */
	FATES
};

struct fate_words {
	const char *name;	/* a few words */
	const char *means;	/* a sentence */
};

extern const struct fate_words fate_words[FATES];

/* Of an outcome; one of a later version is FATE_OTHER. */
enum fate fate_of(unsigned int outcome);

/* enum bez_action, enum bez_source_kind; "unknown" for others. */
const char *word_action(unsigned int n);
const char *word_source(unsigned int n);

#endif
