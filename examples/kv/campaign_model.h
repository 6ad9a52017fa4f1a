/* SPDX-License-Identifier: MIT */
#ifndef KV_CAMPAIGN_MODEL_H
#define KV_CAMPAIGN_MODEL_H

#include "campaign.h"

struct found {
	uint64_t answers;
	uint64_t wrong;			/* of these; each said on stderr */
	uint64_t lost;			/* keys that were there */
	uint64_t met;			/* of these, seen to be missing first */
};

/* Store @keys keys. */
void model_start(struct client *c, size_t keys, uint64_t seed);
/* Do @count things at random. */
void model_work(size_t count);
/* Get every key. */
void model_look_at_all(void);
/* That key is lost. 1: it is one of ours, and was there; 0: it was not any more; -1:
 * it is not ours. */
int model_lost(const char *name);
/* The first thing that is done with it after that. */
void model_meet(const char *name);

struct found model_found(void);

#endif
