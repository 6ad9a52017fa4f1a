/* SPDX-License-Identifier: MIT */
#include "words.h"

#include <bezoar/bezoar.h>
#include <stddef.h>

const struct fate_words fate_words[FATES] = {
	[FATE_WHOLE] = { "went on whole",
		"The page was replaced, and the program went on as if nothing "
		"had been." },
	[FATE_WITHOUT] = { "went on without it",
		"The page could not be replaced; the program was told, and went "
		"on without it." },
	[FATE_ENDED] = { "ended in order",
		"The program could not do without the page, and was brought to "
		"its end." },
	[FATE_PASSED] = { "not helped",
		"The signal went to whoever had it before bezoar, or killed the "
		"program." },
	[FATE_OTHER] = { "no loss",
		"Nothing was lost, or it was not decided yet: early notices, "
		"signals of others, a second look." },
};

static const char *const actions[] = {
	"none", "replace", "degrade", "shutdown", "default",
};
static const char *const sources[] = {
	"none", "zero", "mirror", "file", "callback", "deferred", "first of",
	"salvage",
};

#define WORD_OF(table, n) \
	((n) < sizeof(table) / sizeof((table)[0]) ? (table)[n] : "unknown")

const char *word_action(unsigned int n)
{
	return WORD_OF(actions, n);
}

const char *word_source(unsigned int n)
{
	return WORD_OF(sources, n);
}

/* No default: the compiler says which outcome is in none of them. */
enum fate fate_of(unsigned int outcome)
{
	switch ((enum bez_outcome)outcome) {
	case BEZ_OUTCOME_REPLACED:
	case BEZ_OUTCOME_ALREADY_GOOD:
	case BEZ_OUTCOME_WAITED:
		return FATE_WHOLE;
	case BEZ_OUTCOME_COPY_SHORT:
	case BEZ_OUTCOME_UNWOUND:
	case BEZ_OUTCOME_RELAYED:
	case BEZ_OUTCOME_DEGRADED:
	case BEZ_OUTCOME_LEFT:
		return FATE_WITHOUT;
	case BEZ_OUTCOME_SHUTDOWN_BEGUN:
	case BEZ_OUTCOME_SHUTDOWN_LATE:
	case BEZ_OUTCOME_SHUTDOWN_HURT:
	case BEZ_OUTCOME_SHUTDOWN_BARE:
	case BEZ_OUTCOME_SHUTDOWN_WAITS:
	case BEZ_OUTCOME_SHUTDOWN_TWICE:
	case BEZ_OUTCOME_SHUTDOWN_INSIDE:
	case BEZ_OUTCOME_SHUTDOWN:
		return FATE_ENDED;
	case BEZ_OUTCOME_REFUSED_KIND:
	case BEZ_OUTCOME_REFUSED_ATTRS:
	case BEZ_OUTCOME_REFUSED_MAPS:
	case BEZ_OUTCOME_REFUSED_NOMEM:
	case BEZ_OUTCOME_REFUSED_UNMAPPED:
	case BEZ_OUTCOME_REFUSED_RESTART:
	case BEZ_OUTCOME_REFUSED_SYSTEM:
	case BEZ_OUTCOME_REFUSED_SHARED:
	case BEZ_OUTCOME_REFUSED_HUGE:
	case BEZ_OUTCOME_REFUSED_FILE:
	case BEZ_OUTCOME_REFUSED_DETACH:
	case BEZ_OUTCOME_REFUSED_NO_SCOPE:
	case BEZ_OUTCOME_REFUSED_INVENTORY:
	case BEZ_OUTCOME_SOURCE_NONE:
	case BEZ_OUTCOME_SOURCE_FAILED:
	case BEZ_OUTCOME_SOURCE_LOST:
	case BEZ_OUTCOME_SOURCE_DIGEST:
	case BEZ_OUTCOME_SOURCE_DEADLINE:
	case BEZ_OUTCOME_SOURCE_WORKER:
	case BEZ_OUTCOME_SOURCE_STALE:
	case BEZ_OUTCOME_LOOPING:
	case BEZ_OUTCOME_CLAIM_TIMEOUT:
	case BEZ_OUTCOME_OWN_CLAIM:
	case BEZ_OUTCOME_NESTED:
	case BEZ_OUTCOME_DEFAULT:
		return FATE_PASSED;
	case BEZ_OUTCOME_NONE:
	case BEZ_OUTCOME_ASKED_AGAIN:
	case BEZ_OUTCOME_NOTED:
	case BEZ_OUTCOME_STALE:
	case BEZ_OUTCOME_DROPPED:
	case BEZ_OUTCOME_FOREIGN:
		return FATE_OTHER;
	}
	return FATE_OTHER;
}
