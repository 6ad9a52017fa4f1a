/* SPDX-License-Identifier: MIT */
/*
 * Who has connected is held by a descriptor (pidfd), until it ends: so it is known
 * how, also of who cannot say it any more. Who only disconnects is held for a while,
 * as descriptors are closed on the way to the end.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_HELD_H
#define BEZOAR_TOOLS_BEZOARD_HELD_H

#include "batch.h"

#define HELD_MOST	512
#define HELD_WORDS	64
#define HELD_EVENT	0x10000u	/* + number: in epoll's data, and above that
					 * 32 bits of its generation */

/* What a connection has of its process. */
struct held_by {
	uint32_t i;
	uint64_t generation;		/* 0: it is not held */
};

struct held {
	int fd;				/* of the process; -1: free */
	uint64_t generation;
	pid_t pid;
	uid_t uid;
	uint64_t start_ticks;
	char comm[16];
	uint32_t connections;
	uint64_t due_ns;		/* when it is let go, or its end is judged;
					 * 0: it lives, and is connected */
	int has_ended;
	int32_t status;			/* of wait(2); -1 */
	int64_t last;			/* number of its last record; 0 */
	uint64_t last_ns;		/* when that was stored */
	int says_end;			/* by that it ends, if nobody of the
					 * program's helps */
	int shuts_down;			/* by that it ends */
};

/* The last record of who is not held, or not yet. */
struct held_word {
	pid_t pid;
	uint64_t start_ticks;
	int64_t last;			/* as above; 0: there is none */
	uint64_t last_ns;
	int says_end, shuts_down;
};

struct helds {
	int epoll;
	struct batch *batch;
	uint64_t generations;
	uint64_t due_ns;		/* the first of all; 0 */
	struct held held[HELD_MOST];
	uint64_t words;
	struct held_word word[HELD_WORDS];	/* the newest */
};

void helds_init(struct helds *h, int epoll, struct batch *batch);
/* Who is at the other end of @connection. */
struct held_by held_take(struct helds *h, int connection, pid_t pid, uid_t uid);
/* It has ended, and a last word is looked for. */
int held_wants_word(const struct helds *h, struct held_by by);
/* One of its connections is closed. */
void held_leave(struct helds *h, struct held_by by);
/* epoll says that of it. 1: it has ended, and what it has sent is to be read now: that
 * of the connections with *@ret_by. */
int held_event(struct helds *h, uint32_t i, uint32_t generation,
	       uint32_t events, struct held_by *ret_by);
/* h->due_ns has come. */
void held_time(struct helds *h);
/* A record is stored. */
void held_told(struct helds *h, const struct item *item);
/* Whose end is known is judged before all are let go. */
void helds_close(struct helds *h);

#endif
