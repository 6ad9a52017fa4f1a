/* SPDX-License-Identifier: MIT */
/*
 * Where records go from the supervisor: into a file of its own beside the state,
 * and on to the daemon, in the name of who has sent them. The kernel lets only the
 * privileged do that; for others the file is all.
 */
#ifndef BEZOAR_TOOLS_RUN_PASS_H
#define BEZOAR_TOOLS_RUN_PASS_H

#include <stddef.h>
#include <sys/socket.h>

struct pass {
	const char *socket;	/* of the daemon */
	int fd;			/* connected to it; -1: not now */
	int refused;		/* not in the name of others: not again */
	int folder;		/* of the state; -1: there is none */
	const char *name;
	int file;		/* -1: not open */
};

/*
 * Keep @len bytes of a record; @settle: on the disk, too, as nothing comes after it.
 * Returns 0 if they are kept, in the file.
 */
int pass_on(struct pass *p, const void *bytes, size_t len, int settle,
	    const struct ucred *from);

void pass_close(struct pass *p);

#endif
