/* SPDX-License-Identifier: MIT */
/* Private to told*.c: the store, for as long as one question takes. */
#ifndef BEZOAR_TOOLS_RUN_TOLD_IN_H
#define BEZOAR_TOOLS_RUN_TOLD_IN_H

#include <sqlite3.h>
#include <stdint.h>

struct told {
	sqlite3 *db;
	int notify;		/* inotify(7); -1: there is none */
	uint64_t end_ms;	/* CLOCK_MONOTONIC: not waited for any longer */
};

/* -1: there is none that can be read; then nothing is open. Watched before it is
 * looked at. */
int told_open(struct told *t, const char *store);
void told_close(struct told *t);

/* Until the daemon has written again. 0: it is not waited for any longer. */
int told_waits(struct told *t);

/* NULL: it has no such table, as it is an older one, or the daemon's does not know
 * of it. */
sqlite3_stmt *told_ask(struct told *t, const char *sql);

#endif
