/* SPDX-License-Identifier: MIT */
/*
 * Who is connected. Each is read a few packets at a time, in turns, so that one who
 * floods delays nobody much; what is over its limit is dropped and counted. Where
 * there are too many connections, one is closed that has sent nothing for the
 * longest time, of the user who has most of them: a worker's, if there is one, whose
 * parent is connected, too.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_CLIENT_H
#define BEZOAR_TOOLS_BEZOARD_CLIENT_H

#include "batch.h"
#include "held.h"
#include "judge.h"

#define CLIENTS_MOST 512

struct client {
	int fd;				/* -1: free */
	uid_t uid;			/* who has connected */
	uint64_t generation;
	uint64_t last_ns;		/* when it sent something, or came */
	uint64_t second;		/* of the count: */
	uint32_t in_second;
	pid_t pid, parent;		/* who that was, and its parent; 0: not known */
	int has_sent;
	struct held_by held;		/* its process */
	struct sender sender;		/* of the last packet */
};

struct clients {
	int epoll;
	uint32_t rate;			/* of each, in a second */
	uint32_t most;			/* connections, up to CLIENTS_MOST */
	uint64_t generations;
	struct batch *batch;
	struct helds *helds;
	struct client client[CLIENTS_MOST];
};

void clients_init(struct clients *c, int epoll, struct batch *batch,
		  struct helds *helds, uint32_t rate, uint32_t most);
/* Take in all who wait at @listener. */
void clients_accept(struct clients *c, int listener);
/* A turn of client @i, which may have something to be read. 1: there may be more. */
int client_turn(struct clients *c, uint32_t i);
/* Who has that process: all that they have sent, as far as it has an end. Of one that has
 * died of SIGBUS, or nobody knows of what, of everybody: a worker speaks by the connection of
 * whoever it comes of. */
void clients_drain(struct clients *c, struct held_by by);
void clients_close(struct clients *c);

/* -1: it does not read what it is told, and so was not told. Who has gone needs
 * not to be told. */
int client_tell(struct clients *c, uint32_t i, uint64_t generation,
		const void *bytes, size_t len);

#endif
