/* SPDX-License-Identifier: MIT */
/*
 * Private to record/: a descriptor that what happened is written to. The
 * program's own is not touched: ours lies high, and what can be is opened anew; a
 * pipe or a terminal so that it does not wait whatever the program's does, a file
 * so that it appends. What was opened anew is known again by a mark: the number of
 * a signal that it would send, if it were asked to send any. The kernel tells that
 * in half the time of fstat(2).
 */
#ifndef BEZOAR_RECORD_SINK_H
#define BEZOAR_RECORD_SINK_H

#include <stdint.h>

#include "sys/sys.h"

#define BZ_SINK_MARK 64		/* the last real-time signal */
#define BZ_HIGH_FD 1000		/* from here on up, where the limit allows */

enum bz_sink_kind {
	BZ_SINK_NONE = 0,
	BZ_SINK_FILE = 1,	/* appends by itself if it is marked */
	BZ_SINK_PIPE = 2,	/* or /dev/null and its like: does not wait */
	BZ_SINK_SOCKET = 3,	/* asked not to wait each time */
	BZ_SINK_READ = 4,	/* nothing is written to it */
	BZ_SINK_EVENT = 5,	/* eventfd(2); bz_sink_put() is not for it */
	BZ_SINK_TERMINAL = 6	/* does not wait either; for text: it makes
				 * something else of other bytes */
};

struct bz_sink {
	uint32_t kind;
	int32_t fd;
	uint32_t marked;	/* what is open is ours alone, and has a mark */
	struct bz_file_id id;
};

/*
 * @fd, of whatever kind it is; 0: none. -EBADF: not open, or not for writing;
 * -EINVAL: of no kind that records can go to; or what open(2) said of a pipe
 * that would wait. Context: normal.
 */
int bz_sink_open(int fd, struct bz_sink *ret_sink);

/* Of what is open at @fd, by its @st: what can be written to, or NONE. Context:
 * normal. */
enum bz_sink_kind bz_sink_kind(int fd, const struct stat *st);

/* Does @fd count events? All such descriptors have one inode. Context:
 * handler-safe. */
int bz_sink_is_event(int fd);

/* One of our own making; takes it over, also if it fails. */
int bz_sink_keep(int fd, enum bz_sink_kind kind, struct bz_sink *ret_sink);

void bz_sink_close(struct bz_sink *sink);

/* A duplicate of @fd where programs have none. Context: handler-safe, this one
 * and all that follow. */
long bz_dup_high(int fd);

/* Mark what is open there, which is to be ours alone. 1, or 0: it cannot be. */
uint32_t bz_sink_mark(int fd);

/* Does the number still stand for it? Programs close what is not theirs. */
int bz_sink_is_ours(const struct bz_sink *sink);

/*
 * Write it at once, or not: one call, that waits for nobody, but for the kernel
 * where it is a file on a disk. 0, -EBADF: it is not ours any more, -EMSGSIZE: it
 * took but a part, or what the kernel said. No signal is left pending. All the
 * program's signals are blocked.
 */
int bz_sink_put(const struct bz_sink *sink, const void *bytes, uint64_t len);

/* What was put there is on the disk now, if it is of a kind that has one. */
void bz_sink_settle(const struct bz_sink *sink);

#endif
