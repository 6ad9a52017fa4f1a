/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_SHOW_H
#define BEZOAR_TOOLS_SHOW_H

#include <bezoar/record.h>

/* A record on standard output, for people; or as an object of JSON in one line:
 * then 0, or -1 if there was no memory. */
void show_text(const struct bez_record *r);
int show_json(const struct bez_record *r);

#endif
