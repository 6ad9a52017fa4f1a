/* SPDX-License-Identifier: MIT */
/*
 * For assembly: the copy by vectors of VEC bytes, V(0) to V(8), included once
 * for each width. BLOCK is four of them. MOVE is the unaligned move, MOVE_TO that to aligned memory,
 * DONE what has to be done before a return.
 *
 *	rdi destination, rsi source, rdx bytes: they stay as they came.
 *	rax bytes that were not copied.
 *
 * Up to eight vectors, all is loaded before anything is stored, so overlap
 * does not matter. Above that the copy goes forwards, by rep movsb where that
 * is the fastest; overlapping memory that wants it backwards is left to
 * bz_overlap().
 *
 * The bytes that are stored are always the first ones, so a fault tells how
 * far it came. A fault of a load finds the source from there on as it was. A
 * fault of a store may not: what was stored before it can have been the source
 * of what comes after. But that is in the registers still, which the fix-up
 * puts on the stack, as a source that nothing overlaps.
 */
#include "copy/table.h"

#define PASTE_(a, b)	a##b
#define PASTE(a, b)	PASTE_(a, b)
#define L(x)		PASTE(.L, PASTE(NAME, _##x))

	/* The stores of @what ended early. Run them again with a buffer for
	 * destination, and copy that. */
	.macro	spill_small what
	entry	L(store_\what), L(stored_\what), L(spill_\what)
L(spill_\what):
	mov	%rdi, %r10
	sub	$(8 * VEC + 8), %rsp
	.cfi_adjust_cfa_offset 8 * VEC + 8
	mov	%rsp, %rdi
	call	L(store_\what)
	mov	%r10, %rdi
	mov	%rsp, %rsi
	xor	%ecx, %ecx
	call	bz_copy_rest
	add	$(8 * VEC + 8), %rsp
	.cfi_adjust_cfa_offset -(8 * VEC + 8)
	ret
	.endm

function NAME
	/* is anything lost? region/lost.h; then that is asked first */
	cmpl	$0, bz_lost_word(%rip)
	jne	L(asks)
L(go):
	cmp	$VEC, %rdx
	jb	L(less)
	cmp	$(2 * VEC), %rdx
	ja	L(more_2)
L(load_2):
	MOVE	(%rsi), V(0)
	MOVE	-VEC(%rsi, %rdx), V(1)
L(store_2):
	MOVE	V(0), (%rdi)
	MOVE	V(1), -VEC(%rdi, %rdx)
L(stored_2):
	DONE
	xor	%eax, %eax
	ret

	.balign	16
L(more_2):
	cmp	$(8 * VEC), %rdx
	ja	L(more_8)
	cmp	$(4 * VEC), %rdx
	ja	L(load_8)
L(load_4):
	MOVE	(%rsi), V(0)
	MOVE	VEC(%rsi), V(1)
	MOVE	-2 * VEC(%rsi, %rdx), V(2)
	MOVE	-VEC(%rsi, %rdx), V(3)
L(store_4):
	MOVE	V(0), (%rdi)
	MOVE	V(1), VEC(%rdi)
	MOVE	V(2), -2 * VEC(%rdi, %rdx)
	MOVE	V(3), -VEC(%rdi, %rdx)
L(stored_4):
	DONE
	xor	%eax, %eax
	ret

	.balign	16
L(load_8):
	MOVE	(%rsi), V(0)
	MOVE	VEC(%rsi), V(1)
	MOVE	2 * VEC(%rsi), V(2)
	MOVE	3 * VEC(%rsi), V(3)
	MOVE	-4 * VEC(%rsi, %rdx), V(4)
	MOVE	-3 * VEC(%rsi, %rdx), V(5)
	MOVE	-2 * VEC(%rsi, %rdx), V(6)
	MOVE	-VEC(%rsi, %rdx), V(7)
L(store_8):
	MOVE	V(0), (%rdi)
	MOVE	V(1), VEC(%rdi)
	MOVE	V(2), 2 * VEC(%rdi)
	MOVE	V(3), 3 * VEC(%rdi)
	MOVE	V(4), -4 * VEC(%rdi, %rdx)
	MOVE	V(5), -3 * VEC(%rdi, %rdx)
	MOVE	V(6), -2 * VEC(%rdi, %rdx)
	MOVE	V(7), -VEC(%rdi, %rdx)
L(stored_8):
	DONE
	xor	%eax, %eax
	ret

	.balign	16
L(less):
#if VEC > 32
	cmp	$32, %edx
	jae	L(load_32)
#endif
#if VEC > 16
	cmp	$16, %edx
	jae	L(load_16)
#endif
	cmp	$8, %edx
	jae	L(load_g8)
	cmp	$4, %edx
	jae	L(load_g4)
	cmp	$1, %edx
	ja	L(load_g2)
	jb	L(stored_1)
L(load_1):
	movzbl	(%rsi), %ecx
L(store_1):
	movb	%cl, (%rdi)
L(stored_1):
	xor	%eax, %eax
	ret

#if VEC > 32
	.balign	16
L(load_32):
	MOVE	(%rsi), Y(0)
	MOVE	-32(%rsi, %rdx), Y(1)
L(store_32):
	MOVE	Y(0), (%rdi)
	MOVE	Y(1), -32(%rdi, %rdx)
L(stored_32):
	DONE
	xor	%eax, %eax
	ret
#endif
#if VEC > 16
	.balign	16
L(load_16):
	MOVE	(%rsi), X(0)
	MOVE	-16(%rsi, %rdx), X(1)
L(store_16):
	MOVE	X(0), (%rdi)
	MOVE	X(1), -16(%rdi, %rdx)
L(stored_16):
	xor	%eax, %eax
	ret
#endif
	.balign	16
L(load_g8):
	mov	(%rsi), %rcx
	mov	-8(%rsi, %rdx), %r9
L(store_g8):
	mov	%rcx, (%rdi)
	mov	%r9, -8(%rdi, %rdx)
L(stored_g8):
	xor	%eax, %eax
	ret
L(load_g4):
	mov	(%rsi), %ecx
	mov	-4(%rsi, %rdx), %r9d
L(store_g4):
	mov	%ecx, (%rdi)
	mov	%r9d, -4(%rdi, %rdx)
L(stored_g4):
	xor	%eax, %eax
	ret
L(load_g2):
	movzwl	(%rsi), %ecx
	movzbl	-1(%rsi, %rdx), %r9d
L(store_g2):
	mov	%cx, (%rdi)
	mov	%r9b, -1(%rdi, %rdx)
L(stored_g2):
	xor	%eax, %eax
	ret

	.balign	16
L(more_8):
	mov	%rdi, %rcx
	sub	%rsi, %rcx
	cmp	%rdx, %rcx
	jb	L(overlap)
	cmp	bz_copy_rep_from(%rip), %rdx
	jae	L(rep)
	/* rax: where the last block begins. rcx: the next block, the first
	 * of which is aligned */
L(forward):
	lea	-BLOCK(%rdx), %rax
	mov	%edi, %r9d
	mov	$VEC, %ecx
	and	$(VEC - 1), %r9d
	sub	%r9, %rcx
L(load_first):
	MOVE	(%rsi), V(8)
	MOVE	(%rsi, %rax), V(4)
	MOVE	VEC(%rsi, %rax), V(5)
	MOVE	2 * VEC(%rsi, %rax), V(6)
	MOVE	3 * VEC(%rsi, %rax), V(7)
	MOVE	(%rsi, %rcx), V(0)
	MOVE	VEC(%rsi, %rcx), V(1)
	MOVE	2 * VEC(%rsi, %rcx), V(2)
	MOVE	3 * VEC(%rsi, %rcx), V(3)
	MOVE	V(8), (%rdi)
L(loaded_first):
	jmp	L(store_block)

	.balign	64
L(load_block):
	MOVE	(%rsi, %rcx), V(0)
	MOVE	VEC(%rsi, %rcx), V(1)
	MOVE	2 * VEC(%rsi, %rcx), V(2)
	MOVE	3 * VEC(%rsi, %rcx), V(3)
L(store_block):
	MOVE_TO	V(0), (%rdi, %rcx)
	MOVE_TO	V(1), VEC(%rdi, %rcx)
	MOVE_TO	V(2), 2 * VEC(%rdi, %rcx)
	MOVE_TO	V(3), 3 * VEC(%rdi, %rcx)
L(stored_block):
	add	$BLOCK, %rcx
	cmp	%rax, %rcx
	jb	L(load_block)
L(store_last):
	MOVE	V(4), (%rdi, %rax)
	MOVE	V(5), VEC(%rdi, %rax)
	MOVE	V(6), 2 * VEC(%rdi, %rax)
	MOVE	V(7), 3 * VEC(%rdi, %rax)
L(stored_last):
	DONE
	xor	%eax, %eax
	ret

	/* rep movsb is slow if the destination is a little below the source;
	 * and the head is stored first */
	.balign	16
L(rep):
	cmp	$-VEC, %rcx
	ja	L(forward)
	mov	%rdi, %r9
	mov	%rsi, %r10
	mov	%rdx, %rcx
	test	$(VEC - 1), %dil
	jz	L(rep_movsb)
L(load_rep):
	MOVE	(%rsi), V(0)
	MOVE	V(0), (%rdi)
L(loaded_rep):
	add	$VEC, %rdi
	and	$-VEC, %rdi
	mov	%rdi, %rcx
	sub	%r9, %rcx
	add	%rcx, %rsi
	neg	%rcx
	add	%rdx, %rcx
L(rep_movsb):
	rep movsb
L(rep_moved):
	DONE
	xor	%eax, %eax
	ret

L(overlap):
	lea	L(backward)(%rip), %rcx
	jmp	bz_overlap

	/* Nothing is stored yet. */
	entry	L(load_2), L(store_2), L(nothing)
	entry	L(load_4), L(store_4), L(nothing)
	entry	L(load_8), L(store_8), L(nothing)
#if VEC > 32
	entry	L(load_32), L(store_32), L(nothing)
#endif
#if VEC > 16
	entry	L(load_16), L(store_16), L(nothing)
#endif
	entry	L(load_g8), L(store_g8), L(nothing)
	entry	L(load_g4), L(store_g4), L(nothing)
	entry	L(load_g2), L(store_g2), L(nothing)
	entry	L(load_1), L(stored_1), L(nothing)
	entry	L(load_first), L(loaded_first), L(nothing)
	entry	L(load_rep), L(loaded_rep), L(nothing)
L(nothing):
	DONE
	xor	%ecx, %ecx
	lea	L(backward)(%rip), %r9
	jmp	bz_copy_again

	/* Forwards, and rcx bytes are there. */
	entry	L(load_block), L(store_block), L(rest)
L(rest):
	DONE
	jmp	bz_copy_rest

	entry	L(rep_movsb), L(rep_moved), L(rest_rep)
L(rest_rep):
	mov	%r9, %rdi
	mov	%r10, %rsi
	neg	%rcx
	add	%rdx, %rcx
	jmp	L(rest)

	spill_small 2
	spill_small 4
	spill_small 8
#if VEC > 32
	spill_small 32
#endif
#if VEC > 16
	spill_small 16
#endif
	spill_small g8
	spill_small g4
	spill_small g2

	/* A block at rcx, of which some is there. */
	entry	L(store_block), L(stored_block), L(spill_block)
L(spill_block):
	sub	$(BLOCK + 8), %rsp
	.cfi_adjust_cfa_offset BLOCK + 8
	MOVE	V(0), (%rsp)
	MOVE	V(1), VEC(%rsp)
	MOVE	V(2), 2 * VEC(%rsp)
	MOVE	V(3), 3 * VEC(%rsp)
	DONE
	jmp	L(spilled)

	.cfi_adjust_cfa_offset -(BLOCK + 8)
	entry	L(store_last), L(stored_last), L(spill_last)
L(spill_last):
	sub	$(BLOCK + 8), %rsp
	.cfi_adjust_cfa_offset BLOCK + 8
	MOVE	V(4), (%rsp)
	MOVE	V(5), VEC(%rsp)
	MOVE	V(6), 2 * VEC(%rsp)
	MOVE	V(7), 3 * VEC(%rsp)
	DONE
	mov	%rax, %rcx
L(spilled):
	mov	%rsp, %r9
	call	PASTE(bz_copy_block, BLOCK)
	add	$(BLOCK + 8), %rsp
	.cfi_adjust_cfa_offset -(BLOCK + 8)
	ret
L(asks):
	lea	L(go)(%rip), %rcx
	jmp	bz_ask_copy
ends NAME

/*
 * Backwards, a vector at a time: each is there or is not. Returns how many
 * bytes at the front are not there, and in rdx where it was stopped.
 */
	.type	L(backward), @function
	.balign	64
L(backward):
	.cfi_startproc
	xor	%r8d, %r8d
	mov	%rdx, %rcx
	sub	$VEC, %rcx
	jb	2f
L(back):
	MOVE	(%rsi, %rcx), V(0)
	MOVE	V(0), (%rdi, %rcx)
L(backed):
	sub	$VEC, %rcx
	jae	L(back)
2:	add	$VEC, %rcx
	jz	4f
3:	dec	%rcx
L(back_1):
	movzbl	(%rsi, %rcx), %eax
	movb	%al, (%rdi, %rcx)
L(backed_1):
	test	%rcx, %rcx
	jnz	3b
4:	DONE
	mov	%rcx, %rax
	mov	%r8, %rdx
	ret
	entry	L(back), L(backed), L(stuck)
L(stuck):
	add	$VEC, %rcx
	jmp	4b
	entry	L(back_1), L(backed_1), L(stuck_1)
L(stuck_1):
	inc	%rcx
	jmp	4b
	.cfi_endproc
