/* SPDX-License-Identifier: MIT */
/*
 * What is worth an entry of its own in the journal: with a MESSAGE_ID, by which
 * others find it, and fields. Where this process does not write to the journal,
 * only the sentence is said, on standard error.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_JOURNAL_H
#define BEZOAR_TOOLS_BEZOARD_JOURNAL_H

#include <stddef.h>

/* Also in contrib/systemd/bezoar.catalog and bezoard(8); never changed. */
#define JOURNAL_RECORD	"aa96fa0c39614bc29954e397ac8d76e7"
#define JOURNAL_DEATH	"46254d48223740259f5771e630ec0771"
#define JOURNAL_ASIDE	"d4c55f0f13a84470814d10ad9e6bd4a1"
#define JOURNAL_KERNEL	"9029227638fb479fa6759930fbddb473"

#define JOURNAL_FIELDS 12

/* Begins as MESSAGE and MESSAGE_ID; what does not fit is left out. */
struct journal {
	const char *id;
	int priority;			/* syslog(3) */
	size_t fields;
	char field[JOURNAL_FIELDS][192];
};

void journal_field(struct journal *j, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The sentence, and all of it is sent. */
void journal_say(const struct journal *j, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
