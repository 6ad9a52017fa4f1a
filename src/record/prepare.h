/* SPDX-License-Identifier: MIT */
/* Private to record/: what is known of every record before there is one. */
#ifndef BEZOAR_RECORD_PREPARE_H
#define BEZOAR_RECORD_PREPARE_H

#include <bezoar/record.h>

#include "record/sink.h"

/* Written in normal context, before the handler is installed and in a child of
 * fork(2) before that runs. What fork(2) wipes is in struct bz_mm. */
struct bz_recorder {
	uint32_t on;			/* there is a sink */
	uint32_t rate;			/* most in a second */
	struct bz_sink sink;		/* of records */
	struct bz_sink text;		/* of lines */
	struct bz_sink pagemap;		/* if it tells us page frames */
	struct bez_record prepared;
};

extern struct bz_recorder bz_recorder;

#endif
