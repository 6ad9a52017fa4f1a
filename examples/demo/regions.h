/* SPDX-License-Identifier: MIT */
/* What a program adds to live on with bezoar: this, and nothing else. */
#ifndef DEMO_REGIONS_H
#define DEMO_REGIONS_H

#include "memory.h"

/*
 * Start bezoar and register each file's memory with the file as its source,
 * and the index with its mirror. What cannot be replaced ends the program,
 * with words and status 1. 0; -1: said on stderr.
 */
int regions_protect(const struct memory *m, int digests);

#endif
