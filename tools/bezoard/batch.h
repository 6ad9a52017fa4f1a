/* SPDX-License-Identifier: MIT */
/*
 * What was received and is not stored yet. It is put in one transaction when it is
 * full, or a while after its first item came; then who sent them is told.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_BATCH_H
#define BEZOAR_TOOLS_BEZOARD_BATCH_H

#include "store.h"

#define BATCH_MOST 512

struct clients;

struct batch {
	struct store *store;
	struct clients *clients;	/* who are told; NULL: nobody */
	void (*on_stored)(const struct item *item);	/* or NULL */
	uint64_t delay_ns;		/* how long the first may wait */
	uint64_t due_ns;		/* when it is put, of clock_now(); 0: there is
					 * nothing */
	int fails;			/* the store, at the last time */
	uint64_t put;			/* items, up to now */
	size_t n;
	struct item items[BATCH_MOST];
};

/* CLOCK_BOOTTIME, in ns: what deadlines are of here. */
uint64_t clock_now(void);

/* Room for one item. NULL: there is none, as the store fails; it was counted. */
struct item *batch_room(struct batch *b);
/* What batch_room() gave has been filled. */
void batch_add(struct batch *b);
void batch_count(struct batch *b, enum count what, uint64_t n);

/* Put it now. -1: it is still there, and tried again when it is due. */
int batch_put(struct batch *b);

#endif
