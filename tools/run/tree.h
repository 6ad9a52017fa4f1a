/* SPDX-License-Identifier: MIT */
/*
 * Whose child is that? All that comes of this process is below it: orphans are given
 * to it (child_prepare()).
 */
#ifndef BEZOAR_TOOLS_RUN_TREE_H
#define BEZOAR_TOOLS_RUN_TREE_H

#include <sys/types.h>

/*
 * Does @pid, which the kernel says has made @connection, come of this process? 0,
 * too, if it has been waited for by now: then nobody can tell any more. Before Linux
 * 6.5 its number alone says which one it is.
 */
int tree_has(int connection, pid_t pid);

#endif
