/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says of lost memory, out of the lines of its log as /dev/kmsg
 * gives them (Linux 5.10 to 7.x). Bytes in, a struct out: no call of the system, no
 * memory but the caller's.
 *
 * A program cannot speak here: what is written to /dev/kmsg has a facility of its
 * own, and where the kernel begins a line with the name of a process nothing
 * in that name makes one of these lines of it.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_KMSG_PARSE_H
#define BEZOAR_TOOLS_BEZOARD_KMSG_PARSE_H

#include <stddef.h>
#include <stdint.h>

/* Numbers are of this process only; the store has the names. */
enum kmsg_kind {
	KMSG_POISON,		/* memory_failure() says something of a frame */
	KMSG_HANDLED,		/* what came of it */
	KMSG_KILLED,		/* somebody was sent SIGBUS, or SIGKILL */
	KMSG_OFFLINE,		/* a frame is given up before it is lost */
	KMSG_CORRECTED,		/* an error that hardware has corrected */
	KMSG_UNCORRECTED,	/* and one that it has not */
	KMSG_KINDS
};

extern const char *const kmsg_kind_names[KMSG_KINDS];

#define KMSG_RECORD_MOST 8192	/* bytes of one read(2) of /dev/kmsg */
#define KMSG_TEXT 512		/* what is longer is cut */
#define KMSG_DIMM 96

struct kmsg_said {
	enum kmsg_kind kind;
	uint64_t seq;		/* of /dev/kmsg; of several lines: the first */
	uint64_t usec;		/* since the boot, by the log's clock */
	int64_t frame;		/* -1: it names none */
	int32_t pid;		/* of a thread, in the first namespace; 0: none */
	char dimm[KMSG_DIMM];	/* label or place of the module; "" */
	uint16_t len;
	char text[KMSG_TEXT];	/* as the log has it, which escapes what does not
				 * print; several lines with "\n" between; no NUL */
};

/* Several lines that make one: what is there up to now. All zero at first. */
struct kmsg {
	int is_open;		/* there may come more of it: */
	int is_memory;
	uint32_t event;		/* number in braces that its lines begin with */
	uint32_t lines;
	struct kmsg_said said;	/* of a section */
	int has_label;		/* said.dimm is no mere place */
	/* a machine check, whose address comes a line later */
	int is_bank;
	struct kmsg_said bank;
	uint64_t status;
};

/* Bytes of a page of the kernel that speaks, 4096 if nobody says otherwise: for those
 * lines that have addresses, and not frames. */
extern uint64_t kmsg_page;

/* One record of /dev/kmsg. 1: *@ret is what was said, by it, or up to it by those
 * before. 0: nothing, or not all of it yet. */
int kmsg_take(struct kmsg *k, const char *bytes, size_t len,
	      struct kmsg_said *ret);

/* May more come of what was said last? Then kmsg_over() ends the wait: 1, or 0. */
int kmsg_waits(const struct kmsg *k);
int kmsg_over(struct kmsg *k, struct kmsg_said *ret);

#endif
