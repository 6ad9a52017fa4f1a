/* SPDX-License-Identifier: MIT */
#include "core/action.h"

#include "core/core.h"

#if defined(__x86_64__)
/*
 * Debuggers and unwinders know the end of a signal frame by these very bytes
 * (nine from the label on) and look one byte before them, which must not be of
 * another function.
 */
__asm__(".text\n"
	".balign 16\n"
	"	nop\n"
	".globl bz_restore\n"
	".hidden bz_restore\n"
	".type bz_restore, @function\n"
	"bz_restore:\n"
	"	movq $15, %rax\n"	/* rt_sigreturn */
	"	syscall\n"
	".size bz_restore, . - bz_restore\n");
#endif

int bz_action_installed(void)
{
	struct bz_sigaction now;

	return !bz_sigaction(SIGBUS, NULL, &now) && (now.flags & SA_SIGINFO) &&
	       now.handler == (void *)bz_sigbus;
}
