/* SPDX-License-Identifier: MIT */
/*
 * Since Linux 6.11 MADV_HWPOISON forces a SIGBUS on its caller. An injector
 * must not die of its own poison, nor run the program's handler in the middle
 * of its work with its lock held. So the call is made by a process that shares
 * our memory but not our signal actions, the way posix_spawn(3) is built: the
 * kernel blames whoever runs, and that one does not mind.
 */
#define _GNU_SOURCE
#include "sys.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define STACK_SIZE	(64 * 1024)

struct errand {
	int (*work)(void *arg);
	void *arg;
	int result;
};

static void not_minded(int sig)
{
	(void)sig;
}

static int run(void *arg)
{
	struct errand *errand = arg;
	struct sigaction quiet = { .sa_handler = not_minded };
	sigset_t mask;

	/* CLONE_SIGHAND is not set: this changes nothing for the program */
	sigaction(SIGBUS, &quiet, NULL);
	sigfillset(&mask);
	sigdelset(&mask, SIGBUS);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	errand->result = errand->work(errand->arg);
	return 0;
}

int bzi_sys_apart(int (*work)(void *arg), void *arg)
{
	struct errand errand = { work, arg, -EINTR };
	char *stack = bzi_sys_map(STACK_SIZE, PROT_READ | PROT_WRITE);
	pid_t pid;
	int r;

	if (!stack)
		return -ENOMEM;
	/* CLONE_VFORK: we sleep until it is done, and it may use our errno */
	pid = clone(run, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK, &errand);
	r = pid < 0 ? -errno : 0;
	while (pid >= 0 && waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
		;
	bzi_sys_unmap(stack, STACK_SIZE);
	return r ? r : errand.result;
}
