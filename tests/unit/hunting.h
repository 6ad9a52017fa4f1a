/* SPDX-License-Identifier: MIT */
/* What the tests of hunts share. */
#ifndef BEZOAR_TESTS_HUNTING_H
#define BEZOAR_TESTS_HUNTING_H

#include "../live/live.h"
#include "hunt/hunt.h"
#include "unit.h"

#define HUNTING_MOST	65536u
#define HOUSE		0x7123400000ull	/* where extents are: nothing is there */

/* Room for what is found. */
extern struct bez_hunt_found found[HUNTING_MOST];

/* Each kernel that is usable here in turn, NULL at the end. Start with NULL. */
const struct bz_hunt_kernel *next_kernel(const struct bz_hunt_kernel *last);

/* Private memory of zeros. */
void *hunting_pages(size_t bytes);

/* The library, with a handler. */
void hunting_start(void);

#endif
