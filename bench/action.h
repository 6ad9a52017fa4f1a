/* SPDX-License-Identifier: MIT */
/*
 * The SIGBUS action that a bare handler takes the place of, saved and put back
 * as the kernel has it. The libc's sigaction(2) would put its own return
 * trampoline into what it puts back.
 */
#ifndef BENCH_ACTION_H
#define BENCH_ACTION_H

#include <signal.h>
#include <stdint.h>

struct action {
	uint64_t words[4];	/* handler, flags, restorer, mask */
};

/* Install @handler with SA_SIGINFO, SA_ONSTACK and SA_NODEFER. 0 or -errno. */
int action_replace(void (*handler)(int, siginfo_t *, void *),
		   struct action *ret_before);

void action_put_back(const struct action *before);

#endif
