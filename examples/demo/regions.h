/* SPDX-License-Identifier: MIT */
/* What a program adds to live on with bezoar: this, and nothing else. */
#ifndef DEMO_REGIONS_H
#define DEMO_REGIONS_H

#include "memory.h"

/*
 * Start bezoar and register each file's memory with the file as its source,
 * and the index with its mirror. A thread that touches what cannot be replaced
 * goes on at its escape (escape.h); the first time it is said what it was.
 * 0; -1: said on stderr.
 */
int regions_protect(const struct memory *m, int digests);

/* Has somebody sent SIGBUS, which is about no page? Then it is time to end. */
int regions_sent(void);

#endif
