/* SPDX-License-Identifier: MIT */
/*
 * What is stored is told: to the journal (or on standard error), and to the command
 * of --exec. After the commit, so that nothing is told that is not kept; what
 * was there before is not told again.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_NEWS_H
#define BEZOAR_TOOLS_BEZOARD_NEWS_H

#include "batch.h"

struct hook;
struct helds;

void news_init(struct batch *batch, struct hook *hook, struct helds *helds);
/* A batch has been stored, and this was in it. */
void news_stored(const struct item *item);

#endif
