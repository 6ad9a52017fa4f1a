/* SPDX-License-Identifier: MIT */
/*
 * A handler that was installed without SA_ONSTACK expects to run on the stack
 * of the interrupted code. Calling it from the alternate stack would give it
 * the wrong one; switching stacks around a call would leave our frame on an
 * alternate stack that the kernel takes for free, and the next signal would
 * overwrite it. So the whole signal frame moves, and the handler returns from
 * there to the kernel.
 */
#ifndef BEZOAR_FAULT_RELOCATE_H
#define BEZOAR_FAULT_RELOCATE_H

#include <signal.h>
#include <stdint.h>

/* Are we on the alternate stack, and was the interrupted code not? */
int bz_must_relocate(const siginfo_t *info, void *context);

/* Go there with @mask as signal mask. Never returns. */
void bz_relocate(int sig, void (*former)(int), siginfo_t *info, void *context,
		 uint64_t mask) __attribute__((noreturn));

#endif
