/* SPDX-License-Identifier: MIT */
/*
 * Where the supervisor's socket is: a folder of its own, which is there as long as it
 * lives. A lock in it says so; what has none any more was left by one that was killed,
 * and goes when the next begins.
 */
#ifndef BEZOAR_TOOLS_RUN_PLACE_H
#define BEZOAR_TOOLS_RUN_PLACE_H

#define PLACE_ROOM 108		/* of a path: struct sockaddr_un */

struct place {
	int lock;		/* -1: there is no folder */
	char folder[64], path[PLACE_ROOM];
};

/*
 * Make one, and bind the socket @fd there; it listens from then on. Only this user
 * reaches it; root's is reached by who is told its path, too, which cannot be guessed
 * or looked up: programs become other users. 0, or -errno: there is none.
 */
int place_make(struct place *place, int fd);

/* Take it away, if there is one. */
void place_leave(struct place *place);

/* Take away what this user's were, and nobody's are. */
void place_tidy(void);

#endif
