/* SPDX-License-Identifier: MIT */
/*
 * The kernel's log: what it says of lost memory becomes items. It is read from its
 * beginning, as far as the kernel still has it; the store knows what it has.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_KLOG_H
#define BEZOAR_TOOLS_BEZOARD_KLOG_H

#include "batch.h"
#include "kmsg_parse.h"

#define KLOG_PATH "/dev/kmsg"

struct klog {
	int fd;				/* -1: none */
	int is_live;			/* the past has been read */
	uint64_t due_ns;		/* when what waits for more lines is over; 0 */
	/* the log's clock is no clock that can be asked: what it is behind
	 * CLOCK_MONOTONIC, and when that was found */
	int64_t behind_ns, found_ns;
	struct kmsg parser;
	char bytes[KMSG_RECORD_MOST];
};

/* @path: NULL, there is none. Who may not read it is told so, and goes on. */
void klog_open(struct klog *k, const char *path);
void klog_close(struct klog *k);
/* epoll(7) takes no file, folder or /dev/null, @path: that is said, and it is closed. */
void klog_never_waits(struct klog *k, const char *path);

/* There is something to be read. */
void klog_turn(struct klog *k, struct batch *b);
/* k->due_ns has come. */
void klog_time(struct klog *k, struct batch *b);

#endif
