/* SPDX-License-Identifier: MIT */
/*
 * A socket of the supervisor's own that its children send their records to: what is
 * sent before a process ends is here when its end is seen, whoever else is away.
 * Heard are this user, and who comes of this process, whatever user that has become;
 * the kernel tells who sends, also of one that was waited for by its parent long
 * before it is read.
 */
#ifndef BEZOAR_TOOLS_RUN_HEAR_H
#define BEZOAR_TOOLS_RUN_HEAR_H

#include <bezoar/record.h>
#include <sys/types.h>

#include "../bezoard/judge.h"
#include "pass.h"
#include "place.h"

#define HEAR_CONNS	4096	/* connections */
#define HEAR_JUST_NS	(10 * 1000000000ull)
#define HEAR_MOST	64	/* processes whose last record is known */

struct heard {
	pid_t pid;		/* as it is here; 0: free */
	uint64_t start_ticks;	/* likewise; 0: it was gone already */
	uint64_t turn;		/* when it was heard last */
	struct bez_record last;	/* its last that is evidence_is_last() */
};

struct hear {
	int epoll;		/* data.u32: from HEAR_EVENT on */
	int listener;		/* -1: there is no socket */
	struct place place;
	int conn[HEAR_CONNS];	/* -1: free */
	struct sender who[HEAR_CONNS];
	int spare;		/* to turn away who comes when there is no other */
	int said_full;
	struct heard heard[HEAR_MOST];
	uint64_t turns;
	struct pass *pass;
};

#define HEAR_EVENT 16

/* 0 or -errno; then there is none, and nothing is heard. */
int hear_open(struct hear *h, int epoll, struct pass *pass);
void hear_close(struct hear *h);
/* Who has connected up to now: before anybody is waited for, as of another user it has
 * to be known then whom he comes of. */
void hear_come(struct hear *h);

/* What the epoll has said of one of ours. */
void hear_turn(struct hear *h, uint32_t event);
/* All that is there now. */
void hear_all(struct hear *h);

/* The last record of @pid that may have been its end. NULL: there is none. */
const struct bez_record *hear_last(const struct hear *h, pid_t pid);
/* Of those that have ended the last one of the last ten seconds: what was outlived
 * longer is no reason for an end. NULL: there is none. */
const struct bez_record *hear_last_ended(const struct hear *h);
/* Was it written in the last ten seconds of this boot? */
int hear_is_recent(const struct bez_record *r);
/* Another run begins: what the former processes had to say is done with. */
void hear_forget(struct hear *h);

#endif
