/* SPDX-License-Identifier: MIT */
/* How a process is held, and how it has ended, by what this kernel tells. */
#ifndef BEZOAR_TOOLS_BEZOARD_ENDED_H
#define BEZOAR_TOOLS_BEZOARD_ENDED_H

#include <stdint.h>
#include <sys/types.h>

enum ended {
	ENDED_KNOWN,		/* *@ret_status is as wait(2) has it */
	ENDED_LATER,		/* when its parent has waited for it (EPOLLHUP) */
	ENDED_UNKNOWN		/* nobody can say */
};

/* What /proc/PID/stat says. -1: there is no such process. */
struct ended_stat {
	uint64_t start_ticks;
	int is_zombie;
	int32_t status;		/* 0, too, where one may not see it */
	char comm[16];
};
int ended_stat(pid_t pid, struct ended_stat *ret);

/* A descriptor of the process @pid that is at the other end of @connection, and what
 * it is: zeros if it is over. -1: it cannot be had. */
int ended_hold(int connection, pid_t pid, struct ended_stat *ret);

/* It has ended: how? */
enum ended ended_how(int pidfd, pid_t pid, uint64_t start_ticks, uid_t uid,
		     int32_t *ret_status);

#endif
