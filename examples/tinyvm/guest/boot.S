/* SPDX-License-Identifier: MIT */
/*
 * How the image begins, the first instruction of each CPU, and every way into and
 * out of the kernel. The monitor has set up long mode, flat segments and pages; rdi
 * is the number of the CPU.
 */
	.section .header, "a"
	.quad	0x6d7679746e696b62
	.quad	start, image_text_end, image_user, image_user_end
	.quad	image_stacks, image_stacks_end, image_end, board, tss

	.text
	.globl	start
start:
	lea	1(%rdi), %rsp
	shl	$14, %rsp
	add	$kernel_stacks, %rsp
	xor	%ebp, %ebp
	call	kernel_main
	ud2

	/* 16 bytes for each vector. Those in the mask bring an error code. */
	.balign	16
	.globl	trap_table
trap_table:
	.set	vector, 0
	.rept	32
	.balign	16
	.if	!((0x60227d00 >> vector) & 1)
	push	$0
	.endif
	push	$vector
	jmp	trap
	.set	vector, vector + 1
	.endr

	.balign	16
trap:
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rbp
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, %rdi
	cld
	call	trap_entry
	/* Off the stack of machine checks, if it was one. Only now may the next one
	 * come: it would write over what lies there. */
	mov	%rax, %rsp
	cmpq	$18, 120(%rsp)
	jne	leave
	mov	$0x17a, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
leave:
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rbp
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rbx
	pop	%rax
	add	$16, %rsp
	iretq

	/* enter_user(from, rsp0): go where @from says, and return once leave_user is
	 * gone to. The stack of traps begins where this one ends. */
	.globl	enter_user
enter_user:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, (%rsi)
	/* a copy below, where a machine check may put things under it */
	sub	$176, %rsp
	mov	%rdi, %rsi
	mov	%rsp, %rdi
	mov	$22, %ecx
	rep movsq
	jmp	leave

	/* with rsp as it was saved above */
	.globl	leave_user
leave_user:
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.bss
	.balign	4096
kernel_stacks:
	.skip	8 << 14

	/* of tasks: one for each CPU, as one at a time has it */
	.section .stacks, "aw", @nobits
	.globl	user_stacks
user_stacks:
	.skip	8 << 12

	.section .note.GNU-stack, "", @progbits
