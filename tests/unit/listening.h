/* SPDX-License-Identifier: MIT */
/* A daemon of the process's own, that does what the case wants, and a house whose
 * records go there. */
#ifndef BEZOAR_TESTS_LISTENING_H
#define BEZOAR_TESTS_LISTENING_H

#include "writing.h"

extern char daemon_name[64];		/* where it listens */
extern int listener, peer;		/* its ends; -1: none */

void listen_there(void);
/* The same, by another user. */
void stranger_listens(void);
/* A filter of system calls: one that kills who makes a connection, or one that
 * forbids nothing. */
void shut_in(int kills_it);
/* The next who has connected is @peer, which does not wait. */
void take_in(void);
/* Nobody listens, and who is connected is not any more. */
void goes_away(void);

/* A house whose records go to the daemon, and else to @fd. */
void open_house(int fd, uint32_t rate);

#endif
