/* SPDX-License-Identifier: MIT */
/*
 * The socket that records are sent to, and the service manager, if there is one.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_LISTEN_H
#define BEZOAR_TOOLS_BEZOARD_LISTEN_H

struct listening {
	int fd;				/* does not block */
	const char *made;		/* the path to be taken away at the end;
					 * NULL: it was handed over,
					 * or is abstract */
};

/* Of the service manager, if it has handed one over; else one is made at @path,
 * which anybody may send to. -1: it was said why not. */
int listening_open(struct listening *l, const char *path);
void listening_close(struct listening *l);

/* Tell the service manager (sd_notify(3)). */
void manager_tell(const char *state);

#endif
