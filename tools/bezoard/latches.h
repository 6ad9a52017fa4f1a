/* SPDX-License-Identifier: MIT */
/*
 * What supervisors (bezoar run) have latched: a folder with a file NAME.json for
 * each, in which "latched" is true, or an object that says why; or false, or null.
 * They are read only to be counted: who is latched does not depend on this.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_LATCHES_H
#define BEZOAR_TOOLS_BEZOARD_LATCHES_H

#include <stdio.h>

struct latches {
	const char *path;	/* NULL: none */
	int notify;		/* can be read: something has changed; -1 */
};

/* A folder that is not there is made. What goes wrong is said, and there are none
 * then. */
void latches_open(struct latches *l, const char *path);
void latches_close(struct latches *l);

/* l->notify can be read. */
void latches_changed(struct latches *l);

/* Calls @each for every file that can be read, in no order. */
void latches_each(const struct latches *l,
		  void (*each)(void *data, const char *name, int latched),
		  void *data);

#endif
