/* SPDX-License-Identifier: MIT */
#include "core/action.h"

#include "core/core.h"

#if defined(__x86_64__)
/*
 * Debuggers and unwinders know the libc's by its name or by these very bytes
 * (nine from the label on). For one with another name they need to be told where
 * the interrupted registers lie: in the ucontext, right above the stack pointer,
 * as the libc tells of its own. DWARF expressions: DW_CFA_def_cfa_expression
 * (0x0f) and, for each register, DW_CFA_expression (0x10) of DW_OP_breg7 (119)
 * and the offset of the register in the frame, as SLEB128. They look one byte
 * before the return address, hence the nop.
 */
__asm__(".text\n"
	".balign 16\n"
	"	.cfi_startproc\n"
	"	.cfi_signal_frame\n"
	"	.cfi_escape 0x0f,4,119,160,1,6\n"
	"	.cfi_escape 0x10,0,3,119,144,1\n"
	"	.cfi_escape 0x10,1,3,119,136,1\n"
	"	.cfi_escape 0x10,2,3,119,152,1\n"
	"	.cfi_escape 0x10,3,3,119,128,1\n"
	"	.cfi_escape 0x10,4,3,119,240,0\n"
	"	.cfi_escape 0x10,5,3,119,232,0\n"
	"	.cfi_escape 0x10,6,3,119,248,0\n"
	"	.cfi_escape 0x10,8,2,119,40\n"
	"	.cfi_escape 0x10,9,2,119,48\n"
	"	.cfi_escape 0x10,10,2,119,56\n"
	"	.cfi_escape 0x10,11,3,119,192,0\n"
	"	.cfi_escape 0x10,12,3,119,200,0\n"
	"	.cfi_escape 0x10,13,3,119,208,0\n"
	"	.cfi_escape 0x10,14,3,119,216,0\n"
	"	.cfi_escape 0x10,15,3,119,224,0\n"
	"	.cfi_escape 0x10,16,3,119,168,1\n"
	"	nop\n"
	".globl bz_restore\n"
	".hidden bz_restore\n"
	".type bz_restore, @function\n"
	"bz_restore:\n"
	"	movq $15, %rax\n"	/* rt_sigreturn */
	"	syscall\n"
	"	.cfi_endproc\n"
	".size bz_restore, . - bz_restore\n");
#endif

int bz_action_installed(int sig)
{
	struct bz_sigaction now;

	return !bz_sigaction(sig, NULL, &now) && (now.flags & SA_SIGINFO) &&
	       now.handler == (void *)bz_on_signal;
}
