/* SPDX-License-Identifier: MIT */
#include "catalogue.h"

#include <bezoar/bezoar.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *entry_code(const struct entry *e, char *ret)
{
	snprintf(ret, 8, "%c%u", e->kind, e->number % 1000);
	return ret;
}

const char *entry_name(const struct entry *e)
{
	return e->kind == 'O' ?
	       bez_outcome_name((enum bez_outcome)e->number) :
	       bez_cause_name((enum bez_cause)e->number);
}

const char *entry_now(const struct entry *e)
{
	return e->kind == 'O' ?
	       bez_outcome_advice((enum bez_outcome)e->number) : e->now;
}

const struct entry *entry_of(char kind, unsigned int number)
{
	size_t i;

	for (i = 0; i < catalogue_entries; i++)
		if (catalogue[i].kind == kind && catalogue[i].number == number)
			return &catalogue[i];
	return NULL;
}

int entry_is(const struct entry *e, const char *word)
{
	const char *prefix = e->kind == 'O' ? "BEZ_OUTCOME_" : "BEZ_CAUSE_";
	char code[8], *end;

	if (!strcasecmp(word, entry_code(e, code)) ||
	    !strcasecmp(word, e->symbol))
		return 1;
	if (!strncasecmp(word, prefix, strlen(prefix)))
		return !strcasecmp(word + strlen(prefix), e->symbol);
	return e->kind == 'O' && word[0] >= '0' && word[0] <= '9' &&
	       strtoul(word, &end, 10) == e->number && !*end;
}
