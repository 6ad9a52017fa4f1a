/* SPDX-License-Identifier: MIT */
/* The two records of a shutdown, with a daemon asked for and a file beside it. */
#ifndef BEZOAR_TESTS_FINISHING_H
#define BEZOAR_TESTS_FINISHING_H

#include "listening.h"

#define PATIENCE_NS	60000000000u	/* longer than a case has */
#define SHORT_NS	100000000u

extern int file;			/* empty, to begin with */

/* A daemon that has heard nothing yet, and a house that waits so long for each of its
 * answers, and for all of the end. */
void begin_end(uint64_t patience);
/* The first of the two, or the last. */
void write_end(uint32_t outcome);

/* Number @i in the file is that, and whole. */
void is_written(int i, uint32_t outcome);
/* All there is in the file are the two. */
void both_written(void);

#endif
