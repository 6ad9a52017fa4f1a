/* SPDX-License-Identifier: MIT */
/* Which records bezoar log is to show. */
#ifndef BEZOAR_TOOLS_FILTER_H
#define BEZOAR_TOOLS_FILTER_H

#include <bezoar/record.h>

struct filter {
	uint64_t since_ns;		/* 0: from the beginning */
	uint64_t id, digest;		/* 0: any, as for all here */
	int64_t number;			/* of the row, in a store */
	int32_t pid;
	const char *comm, *region;
	unsigned int outcome, cause;
};

/* @word: "2026-11-27", with "T18:30" or "T18:30:05" (UTC), or how long ago: "90s",
 * "15m", "2h", "7d". -1: it is none of these. */
int filter_since(struct filter *f, const char *word);
/* All sixteen digits of one. -1: it is none. */
int filter_digest(struct filter *f, const char *word);
/* A code, number or name, as bezoar explain has it. -1: there is none. */
int filter_code(unsigned int *ret, char kind, const char *word);

/* Is it to be shown? @pid: of the process, as it was where the record was taken. */
int filter_takes(const struct filter *f, const struct bez_record *r,
		 int32_t pid);

#endif
