/* SPDX-License-Identifier: MIT */
/* One word of what may be gone, and a copy by the kernel. */
#include "copy/table.h"
#include <sys/syscall.h>

/* int bz_hunt_swap_x86(uint64_t *at, uint64_t *expected, uint64_t desired): SIGSEGV
 * comes back here, too, by the door. */
function bz_hunt_swap_x86
	mov	(%rsi), %rax
	.globl	bz_hunt_swapping
	.hidden	bz_hunt_swapping
bz_hunt_swapping:
	lock cmpxchg %rdx, (%rdi)
2:	jne	4f
	xor	%eax, %eax
	ret
4:	mov	%rax, (%rsi)
	mov	$-11, %eax
	ret
	entry	bz_hunt_swapping, 2b, 3f
3:	mov	$-14, %eax
	ret
ends bz_hunt_swap_x86

/*
 * long bz_hunt_fetch_x86(int pid, const struct iovec *from, const struct iovec *to):
 * process_vm_writev(2). Linux 5.10 raises SIGBUS as well when it consumes poison
 * there; that comes as if the next instruction had.
 */
function bz_hunt_fetch_x86
	mov	%rdx, %r10
	mov	$1, %edx
	mov	$1, %r8d
	xor	%r9d, %r9d
	mov	$SYS_process_vm_writev, %eax
	syscall
1:	nop
2:	ret
	entry	1b, 2b, 2b
ends bz_hunt_fetch_x86
