/* SPDX-License-Identifier: MIT */
/*
 * When a program that has died of lost memory is not to be started again: pure, by
 * what is known of its deaths. Nothing here reads a clock or a file.
 */
#ifndef BEZOAR_TOOLS_RUN_LATCH_H
#define BEZOAR_TOOLS_RUN_LATCH_H

#include <stddef.h>
#include <stdint.h>

#define DIMM_ROOM	128
#define DEATHS_MOST	64	/* that are remembered: the last ones */
#define RESTARTS_MOST	50	/* so that all that count are among them */
#define WHY_ROOM	512

/* What has told that it was memory. Kept as words in the state. */
enum death_by {
	BY_RECORD = 0,		/* of the process: what it could not survive */
	BY_SHUTDOWN = 1,	/* the same, and it came to an orderly end */
	BY_KERNEL = 2		/* it has no record; the kernel has said so */
};

struct death {
	uint64_t wall_ns;		/* CLOCK_REALTIME */
	uint64_t boot_ns;		/* CLOCK_BOOTTIME, of that boot: */
	uint8_t boot_id[16];
	int32_t pid;
	uint64_t start_ticks;		/* with boot_id and pid: who it was */
	enum death_by by;
	int has_frame;
	uint64_t frame;
	char dimm[DIMM_ROOM];		/* label of the module, escaped; "": not
					 * known */
	uint64_t digest;		/* of the record; 0: there is none */
	/* not kept: for people */
	uint64_t addr;
	char region[32];
	uint16_t cause;
	int frame_was_lost;		/* in another boot, says the store */
	uint64_t frame_lost_ns;
};

struct deaths {
	size_t n;			/* oldest first */
	struct death death[DEATHS_MOST];
};

struct limits {
	unsigned int restarts;		/* up to RESTARTS_MOST ... */
	uint64_t within_ns;		/* ... in so long */
};

enum latch {
	LATCH_NONE = 0,
	LATCH_OFTEN = 1,	/* more deaths than restarts are allowed */
	LATCH_DIMM = 2,		/* the same memory module once more */
	LATCH_FRAME = 3		/* the same page frame, in another boot */
};

/* How many of @before and @now have happened within @within_ns of @now. A time
 * that is not known any more, as the clock was set, counts as just now. */
unsigned int latch_count(const struct deaths *before, const struct death *now,
			 uint64_t within_ns);

/* @before: without @now. What is not LATCH_NONE is said in @ret_why. */
enum latch latch_of(const struct deaths *before, const struct death *now,
		    const struct limits *limits, char ret_why[WHY_ROOM]);

/* One more; the oldest goes where there are too many. */
void deaths_add(struct deaths *d, const struct death *now);

/* "often", "dimm", "frame"; NULL: LATCH_NONE. */
const char *latch_word(enum latch latch);

/* 2026-11-27T18:30:05Z */
const char *latch_when(uint64_t wall_ns, char ret[32]);

#endif
