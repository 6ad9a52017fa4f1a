/* SPDX-License-Identifier: MIT */
/*
 * What one packet is, by its bytes and by what the kernel tells of its sender.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_JUDGE_H
#define BEZOAR_TOOLS_BEZOARD_JUDGE_H

#include <sys/types.h>

#include "item.h"

/* Who has sent it: as the kernel says, seen from this process. */
struct sender {
	pid_t pid;		/* 0: in no pid namespace that can be seen here */
	uid_t uid;
	pid_t own_pid;		/* what it is in its own pid namespace; 0: not
				 * known. Looked up when it is needed */
	pid_t own_of;		/* of which pid own_pid was looked up, and: */
	pid_t parent;		/* likewise; 0: not known */
	char cgroup[ITEM_CGROUP]; /* "": not known */
};

/*
 * @len bytes at @bytes; @cut: the packet was longer. Fills @ret_item but for
 * client and generation, and returns 1; or returns 0 and *@ret_count says what
 * to count instead.
 */
int judge(const unsigned char *bytes, size_t len, int cut,
	  struct sender *sender, struct item *ret_item, enum count *ret_count);

/* Look up own_pid, parent and cgroup while the process lives: a dead one cannot be asked. */
void judge_know(struct sender *sender);

/* The control group (version 2) of a process (@pid: of /proc). -1: it cannot be told,
 * or is too long for @room. */
int judge_cgroup(const char *pid, char *ret, size_t room);

#endif
