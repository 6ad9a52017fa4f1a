/* SPDX-License-Identifier: MIT */
/*
 * The program that is run: begun as "sh -c" would begin it, in the same process
 * group and with the same descriptors, environment and ignored signals, so that
 * terminal and job control are none of the supervisor's affair.
 */
#ifndef BEZOAR_TOOLS_RUN_CHILD_H
#define BEZOAR_TOOLS_RUN_CHILD_H

#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/types.h>

/* Fields of /proc/PID/stat, which a process has until it is waited for; 0: there is
 * no such process. */
uint64_t child_start_ticks(pid_t pid);
pid_t child_parent(pid_t pid);
/* Has the one that began then ended, waited for or not? */
int child_is_gone(pid_t pid, uint64_t start_ticks);

/* How this process was found. */
struct child_before {
	sigset_t mask;			/* that was blocked */
	sigset_t taken;			/* what is blocked now, to be passed on */
	struct sigaction chld;
	int own;			/* of own_take(), which notes the program */
	struct rlimit files;
	pid_t had[64];			/* children of whoever has become us */
	int count;
};

/* Block what is passed on, and become who orphans are given to. Returns a
 * descriptor of signalfd(2), or -errno. */
int child_prepare(struct child_before *ret_before);

/*
 * Start @words, with BEZOAR_SOCKET=@socket (NULL: as it is); @lives_on: also if this
 * process is killed. Returns its pid; or minus what a shell would exit with, said.
 */
pid_t child_start(const struct child_before *b, char **words,
		  const char *socket, int lives_on);

/* A signal that has come is the child's, too. Those of the terminal have reached it
 * by themselves. */
void child_pass(pid_t pid, const struct signalfd_siginfo *info);

/*
 * Who else has ended is waited for, so that nobody stays a zombie; while its number is
 * its own @look is called (NULL: nothing). 1: @pid has, *@ret_info; it is still there.
 */
int child_ended(pid_t pid, void (*look)(void *), void *arg,
		siginfo_t *ret_info);

/* End what the former run has left behind: by SIGTERM, and after @seconds by
 * SIGKILL. Not what was there before. Returns how many there were. */
int child_sweep(const struct child_before *b, unsigned int seconds);

#endif
