/* SPDX-License-Identifier: MIT */
/*
 * What travels from the sockets and files to the store, and what is counted on
 * the way.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_ITEM_H
#define BEZOAR_TOOLS_BEZOARD_ITEM_H

#include <bezoar/record.h>
#include <stddef.h>
#include <stdint.h>

#include "kmsg_parse.h"

enum item_kind {
	ITEM_RECORD,		/* a row of the table records */
	ITEM_STRANGE,		/* whole, of another version: apart, raw */
	ITEM_FORGED,		/* whole, of another process than its sender: apart */
	ITEM_UNVERIFIED,	/* whole, of another number than its sender has
				 * here, and it had gone before it could be asked
				 * for its own: apart */
	ITEM_KERNEL,		/* what the kernel has said; raw: the line */
	ITEM_DEATH		/* the end of who was connected; raw: its name */
};

enum item_origin {
	ORIGIN_SOCKET = 0,	/* the kernel has told who sent it */
	ORIGIN_FILE = 1		/* nobody has; the file's owner is known */
};

/* Of the tables kernel and deaths, as far as it is not in struct item. */
struct item_kernel {
	uint64_t seq;
	int64_t wall_ns;
	int64_t frame;
	const char *kind;		/* a constant */
	char dimm[KMSG_DIMM];
};

struct item_death {
	uint64_t start_ticks;
	int32_t status;
	int64_t told;
};

#define ITEM_CGROUP 256

struct item {
	enum item_kind kind;
	enum item_origin origin;
	int32_t pid;		/* of who sent it, as it is here; of a file: as
				 * the record says */
	uint32_t uid;		/* of who sent it, or whose the file is */
	uint32_t client;	/* who waits for an answer; CLIENT_NONE */
	uint64_t generation;	/* of that one */
	int64_t number;		/* of its row, once it is stored; 0 */
	int64_t taken_ns;	/* likewise, CLOCK_REALTIME */
	int is_new;		/* it was not there before */
	union {
		struct item_kernel kernel;
		struct item_death death;
	} more;
	char cgroup[ITEM_CGROUP]; /* of who sent it, as the kernel says; "": not
				 * known, or too long */
	uint16_t bytes;
	unsigned char raw[BEZ_RECORD_MOST];
};

#define CLIENT_NONE UINT32_MAX

/* Is it acknowledged? Who sends what nobody believes is not told that it is kept. */
static inline int item_is_told(enum item_kind kind)
{
	return kind == ITEM_RECORD || kind == ITEM_STRANGE;
}

/* The digest of any version, which is its identity: the last eight bytes. */
#define ITEM_DIGEST 8

/* Numbers in the table counts, by name. They only grow. */
enum count {
	COUNT_TAKEN,		/* became a row of records */
	COUNT_AGAIN,		/* had been taken before, acknowledged again */
	COUNT_STRANGE,		/* another version: kept apart */
	COUNT_FORGED,		/* not of its sender: kept apart */
	COUNT_UNVERIFIED,	/* perhaps of its sender: likewise */
	COUNT_DAMAGED,		/* wrong digest, or no record at all */
	COUNT_SHORT,		/* a packet shorter than a record */
	COUNT_LONG,		/* one with more than a record in it */
	COUNT_FLOOD,		/* over what one client may send in a second */
	COUNT_NO_ROOM,		/* could not be stored, and there were too many */
	COUNT_ACKS_DROPPED,	/* acknowledgements that nobody read */
	COUNT_CLOSED,		/* connections closed to make room for others */
	COUNT_RETIRED,		/* rows deleted by age or size */
	COUNT_APART_RETIRED,	/* the same of what was kept apart */
	COUNT_TORN,		/* torn ends of files */
	COUNT_SKIPPED,		/* damaged pieces of files */
	COUNT_KERNEL,		/* became a row of kernel */
	COUNT_KERNEL_LOST,	/* times that the log was overwritten unread */
	COUNT_KERNEL_RETIRED,	/* rows of kernel deleted by number, age or size */
	COUNT_DEATHS,		/* became a row of deaths */
	COUNT_UNTOLD,		/* of those, without a word */
	COUNT_UNHELD,		/* who connected and could not be held */
	COUNT_HOOK_DROPPED,	/* of which --exec was not run: too many */
	COUNT_HOOK_FAILED,	/* it ended badly, or had to be ended */
	COUNT_UNSAID,		/* of which nothing was said: too many, or
				 * nobody reads it */
	COUNTS
};

extern const char *const count_names[COUNTS];

/* "bezoard: ..." on standard error: for the journal, or whoever started it. It does
 * not wait: where there is no room it is not said. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What nobody had room for, here or in the journal, and is not counted yet. */
extern uint64_t unsaid;

#endif
