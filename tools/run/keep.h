/* SPDX-License-Identifier: MIT */
/*
 * A death of lost memory, from what has told of it to what is done about it: it is
 * remembered, and said, and whoever asks is told whether to start again.
 */
#ifndef BEZOAR_TOOLS_RUN_KEEP_H
#define BEZOAR_TOOLS_RUN_KEEP_H

#include <bezoar/record.h>
#include <sys/types.h>

#include "state.h"

#define TEXT_ROOM 4096		/* the most that Kubernetes shows, and its NUL */

/* Exit statuses. 193 to 199 are neither a shell's (128 + the last signal is 192) nor
 * a service manager's (from 200 on). */
#define RUN_LATCHED	195
#define RUN_FAILED	125	/* of bezoar run itself */

struct keep {
	int folder;		/* -1: only as long as this process */
	const char *name;
	const char *where;	/* the folder that was named; NULL: none was */
	const char *store;	/* of the daemon */
	struct limits limits;
	struct state state;	/* as it was read or written last */
};

/* Of now and this boot, by @pid. */
void keep_death(struct death *ret, pid_t pid, enum death_by by);
/* Of what @r tells. */
void keep_record(struct death *d, const struct bez_record *r);

void keep_boot_id(uint8_t ret[16]);
uint64_t keep_wall_ns(void);

/* Read what is known. Returns as state_load() does. */
int keep_load(struct keep *k);

/* Remember @d. Returns what it comes to: not to be started again if that is not
 * LATCH_NONE; then k->state.why says why. A state that cannot be written is said. */
enum latch keep_add(struct keep *k, const struct death *d);

/* Remember k->state.looked, and nothing else. */
void keep_looked(struct keep *k);

/* "where it was lost, and who says so": of @d. */
void keep_describe(const struct death *d, char *ret, size_t room);

/* Why it is not started, and what to do about it. */
void keep_say_latched(const struct keep *k, char *ret, size_t room);

/* "90", "90s", "10m", "2h", "7d": -1: it is none. */
int keep_span(const char *word, uint64_t *ret_ns);

#endif
