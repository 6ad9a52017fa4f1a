/* SPDX-License-Identifier: MIT */
/* The orderly end, --die: a page is lost that the program can not be without. */
#ifndef DEMO_DIE_H
#define DEMO_DIE_H

#include "options.h"

/* Show it in a child, and read its record back. The demo's exit status. */
int die_in_order(const struct options *options);

#endif
