/* SPDX-License-Identifier: MIT */
/*
 * One thread, which sleeps until something is to be done: no time is measured
 * while nothing waits for it.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_LOOP_H
#define BEZOAR_TOOLS_BEZOARD_LOOP_H

#include "client.h"
#include "files.h"

struct wishes {
	const char *socket, *store;
	const char *files;		/* NULL: none */
	const char *metrics, *latches;	/* likewise */
	const char *kmsg;		/* NULL: no log of the kernel */
	const char *exec;		/* NULL: no command */
	uint64_t exec_ns;		/* that it may run */
	uint64_t max_age_ns, max_bytes;	/* 0: no limit */
	uint64_t delay_ns;
	uint32_t rate, clients;
};

/* Until a signal ends it. -1: it could not begin, it was said why. */
int loop_run(const struct wishes *w);

#endif
