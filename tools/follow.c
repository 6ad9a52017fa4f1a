/* SPDX-License-Identifier: MIT */
#include "follow.h"

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* What is moved away together with its folder touches nothing that is watched. */
#define AGAIN_MS	1000

void follow_watch(int notify, const char *path, uint32_t events)
{
	char *copy = strdup(path);

	if (copy)
		inotify_add_watch(notify, dirname(copy), events);
	free(copy);
}

int follow_wait(int notify)
{
	/* of a pipe that nobody reads any more there is word without asking */
	struct pollfd wait[] = { { notify, POLLIN, 0 }, { STDOUT_FILENO, 0, 0 } };
	char events[4096];

	if (poll(wait, 2, AGAIN_MS) < 0)
		return errno == EINTR;
	return !wait[1].revents &&
	       (!wait[0].revents || read(notify, events, sizeof(events)) > 0 ||
		errno == EINTR);
}
