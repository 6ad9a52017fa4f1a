/* SPDX-License-Identifier: MIT */
/* What no page is written over. */
#ifndef BEZOAR_TOOLS_REPORT_SPARED_H
#define BEZOAR_TOOLS_REPORT_SPARED_H

#include <limits.h>

/* Why @output must not be written to: it is, or would be, a file of @store, which is
 * there; or it holds records, or a database. NULL: it may be. "-" is standard
 * output. */
const char *spared(const char *store, const char *output);

/* Where a symbolic link leads to that leads nowhere yet; else the name itself. */
int spared_links(const char *name, char ret[PATH_MAX]);

#endif
