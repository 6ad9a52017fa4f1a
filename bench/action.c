/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "action.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MASK_BYTES 8

int action_replace(void (*handler)(int, siginfo_t *, void *),
		   struct action *ret_before)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags =
				SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	if (syscall(SYS_rt_sigaction, SIGBUS, NULL, ret_before, MASK_BYTES))
		return -errno;
	return sigaction(SIGBUS, &sa, NULL) ? -errno : 0;
}

void action_put_back(const struct action *before)
{
	syscall(SYS_rt_sigaction, SIGBUS, before, NULL, MASK_BYTES);
}
