/* SPDX-License-Identifier: MIT */
/* The guest of toy.c: copied to TOY_CODE and run there, so it may not know where it
 * was linked. */
	.section .rodata
	.globl	toy_guest, toy_guest_end
	.globl	toy_load, toy_store, toy_add, toy_wide, toy_copy, toy_call
	.globl	toy_store16, toy_at_store16
	.globl	toy_spin, toy_halt, toy_on_mc, toy_other
	.globl	toy_at_load, toy_at_store, toy_at_add, toy_at_wide, toy_at_copy
	.globl	toy_at_spin
	.balign	16
toy_guest:

toy_load:
	xor	%eax, %eax
toy_at_load:
	mov	(%rdi), %al
	out	%al, $0x10
1:	jmp	1b

toy_store:
toy_at_store:
	movb	$0x5a, (%rdi)
	xor	%eax, %eax
	out	%al, $0x10
1:	jmp	1b

toy_add:
toy_at_add:
	addb	$1, (%rdi)
	xor	%eax, %eax
	out	%al, $0x10
1:	jmp	1b

toy_wide:
toy_at_wide:
	movdqu	(%rdi), %xmm0
	movq	%xmm0, %rax
	out	%al, $0x10
1:	jmp	1b

toy_store16:
	movdqu	(%rsi), %xmm0
toy_at_store16:
	movdqu	%xmm0, (%rdi)
	xor	%eax, %eax
	out	%al, $0x10
1:	jmp	1b

toy_copy:
	xchg	%rdi, %rsi
	cld
toy_at_copy:
	rep movsb
	xor	%eax, %eax
	out	%al, $0x10
1:	jmp	1b

toy_call:
	call	*%rdi
	out	%al, $0x10
1:	jmp	1b

toy_spin:
	xor	%eax, %eax
toy_at_spin:
	mov	(%rdi), %al
	test	%al, %al
	jz	toy_at_spin
	out	%al, $0x10
1:	jmp	1b

toy_halt:
	sti
1:	hlt
	jmp	1b

/* rbx, r12 to r15 are its own; nothing above uses them. The mailbox is at r15. */
toy_on_mc:
	push	%rax
	push	%rcx
	push	%rdx
	mov	24(%rsp), %rax
	mov	%rax, 16(%r15)
	movq	$-1, 24(%r15)
	movq	$0, 56(%r15)
	mov	$0x17a, %ecx		/* IA32_MCG_STATUS */
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, 8(%r15)
	mov	$0x179, %ecx		/* IA32_MCG_CAP */
	rdmsr
	movzbl	%al, %r12d		/* banks */
	xor	%ebx, %ebx
next:	cmp	%r12d, %ebx
	jae	done
	lea	0x401(,%rbx,4), %ecx	/* IA32_MCi_STATUS */
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	bt	$63, %rax
	jnc	skip
	incq	56(%r15)
	mov	%rbx, 24(%r15)
	mov	%rax, 32(%r15)
	inc	%ecx			/* ADDR */
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, 40(%r15)
	inc	%ecx			/* MISC */
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, 48(%r15)
	cmpq	$0, 72(%r15)
	jne	skip
	lea	0x401(,%rbx,4), %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
skip:	inc	%ebx
	jmp	next
done:	cmpq	$0, 64(%r15)
	jne	1f
	mov	$0x17a, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
1:	incq	0(%r15)			/* all else is written */
	out	%al, $0x11
	pop	%rdx
	pop	%rcx
	pop	%rax
	iretq

/* No other exception has a gate: what comes of one is a shutdown. */
toy_other:
	hlt
	jmp	toy_other
toy_guest_end:
	.section .note.GNU-stack, "", @progbits
