/* SPDX-License-Identifier: MIT */
/*
 * A command of the administrator's (--exec), run for each record and each death that
 * is stored, one at a time, with what it is about on standard input.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_HOOK_H
#define BEZOAR_TOOLS_BEZOARD_HOOK_H

#include "batch.h"

#define HOOK_MOST 64			/* that wait for their turn */

struct hook {
	const char *command;		/* NULL: none */
	uint64_t limit_ns;		/* that one may run */
	int epoll;
	uint32_t event;			/* for epoll's data */
	struct batch *batch;		/* that counts */
	pid_t pid;			/* of the one that runs; 0 */
	int fd;				/* likewise */
	int was_killed;
	uint64_t end_ns;		/* when it is killed, of clock_now() */
	uint64_t due_ns;		/* when to look after it; 0 */
	uint32_t n;
	/* In turns by user: the first of each before the second of any. */
	uint64_t round;			/* of the last that was run */
	struct hook_wait {
		char *json;		/* one line */
		uint32_t uid;		/* whom it is about */
		uint64_t round;
	} waiting[HOOK_MOST];		/* in the order in which they came */
};

void hook_init(struct hook *h, const char *command, uint64_t limit_ns,
	       int epoll, uint32_t event, struct batch *batch);
/* Takes @json over, which may be NULL: there was no memory. */
void hook_run(struct hook *h, uint32_t uid, char *json);
/* The one that runs has ended. */
void hook_event(struct hook *h);
/* h->due_ns has come. */
void hook_time(struct hook *h);
/* Whoever still runs has a moment left; what waits is dropped, and counted. */
void hook_close(struct hook *h);

#endif
