/* SPDX-License-Identifier: MIT */
/*
 * Colour on standard output: of an outcome alone, and it says nothing that the word
 * beside it does not. On a terminal, unless NO_COLOR is set and not empty, or TERM
 * is "dumb" or not set; --color overrules all of that.
 */
#ifndef BEZOAR_TOOLS_COLOR_H
#define BEZOAR_TOOLS_COLOR_H

#include "words.h"

/* "auto", "always" (also NULL) or "never"; -1: it is none of these. */
int color_wish(const char *word);

/* What to print before and after; "" if there is to be no colour. */
const char *color_of(enum fate fate);
const char *color_off(void);

#endif
