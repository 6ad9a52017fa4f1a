/* SPDX-License-Identifier: MIT */
/* A store without a daemon around it. Who uses this has say() and count_names[]. */
#ifndef BEZOAR_TESTS_ALONE_H
#define BEZOAR_TESTS_ALONE_H

#include "store.h"
#include "tap.h"

extern struct store alone;
/* It is in a folder of its own, which is in another. */
extern char alone_folder[32], alone_sub[40], alone_path[48];

/* Make it, and open it. */
void alone_begin(void);
void alone_end(void);

void alone_run(const char *sql);
/* The one number that it asks for; @none: there is none. */
int alone_ask(const char *sql, int none);

#endif
