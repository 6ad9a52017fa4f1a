/* SPDX-License-Identifier: MIT */
#include "tree.h"

#include <stdlib.h>
#include <unistd.h>

#include "../bezoard/ended.h"
#include "child.h"

#define DEEP	64		/* who is deeper is not found */
#define TRIES	3		/* somebody in between may have ended just then */

/* Numbers in /proc are those of the namespace that it was mounted in. */
static int is_own_proc(void)
{
	char text[16];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return atoi(text) == getpid();
}

/*
 * The line from @pid up, parent by parent, and then down again. A process may end
 * meanwhile, and its number be another's: but who is still the parent of the one
 * below has been all the time, as orphans are given to somebody older. So each
 * parent's number was its own when it was asked for its own parent.
 */
static int is_below(pid_t pid)
{
	pid_t line[DEEP + 1], own = getpid();
	int n = 0, i;

	while (pid > 0 && pid != own && n < DEEP) {
		line[n++] = pid;
		pid = child_parent(pid);
	}
	if (!n || pid != own)
		return 0;
	line[n] = own;
	for (i = n - 1; i >= 0; i--)
		if (child_parent(line[i]) != line[i + 1])
			return 0;
	return 1;
}

int tree_has(int connection, pid_t pid)
{
	struct ended_stat stat = { .start_ticks = 0 };
	int tries, fd;

	for (tries = 0; !is_below(pid); tries++)
		if (tries == TRIES)
			return 0;
	if (!is_own_proc())
		return 0;
	/* the number is still its own: so it was when it was looked up */
	fd = ended_hold(connection, pid, &stat);
	if (fd < 0)
		return 0;
	close(fd);
	return stat.start_ticks != 0;
}
