/* SPDX-License-Identifier: MIT */
/*
 * The small steps that a copy which met a lost page goes on by, and what else
 * may meet one: see copy/copy.h for what they return.
 */
#include "copy/table.h"

/* struct bz_stop bz_forward(void *dst, const void *src, size_t n) */
function bz_forward
	xor	%r8d, %r8d
	mov	%rdx, %rcx
1:	rep movsb
2:	mov	%rcx, %rax
	mov	%r8, %rdx
	ret
	entry	1b, 2b, 2b
ends bz_forward

/* struct bz_stop bz_fill(void *dst, int c, size_t n) */
function bz_fill
	xor	%r8d, %r8d
	mov	%rdx, %rcx
	mov	%esi, %eax
1:	rep stosb
2:	mov	%rcx, %rax
	mov	%r8, %rdx
	ret
	entry	1b, 2b, 2b
ends bz_fill

/* size_t bz_touch(const void *at, size_t n) */
function bz_touch
	mov	%rsi, %rax
	add	%rdi, %rsi
1:	cmpb	$0, (%rdi)
2:	add	$4096, %rdi
	and	$-4096, %rdi
	cmp	%rsi, %rdi
	jb	1b
	ret
	entry	1b, 2b, 3f
3:	sub	%rdi, %rsi
	sub	%rsi, %rax
	ret
ends bz_touch

/* size_t bz_touch_write(void *at, size_t n) */
function bz_touch_write
	mov	%rsi, %rax
	add	%rdi, %rsi
1:	lock orb $0, (%rdi)
2:	add	$4096, %rdi
	and	$-4096, %rdi
	cmp	%rsi, %rdi
	jb	1b
	ret
	entry	1b, 2b, 3f
3:	sub	%rdi, %rsi
	sub	%rsi, %rax
	ret
ends bz_touch_write

/* int bz_byte(void *dst, const void *src) */
function bz_byte
1:	movzbl	(%rsi), %eax
	movb	%al, (%rdi)
2:	xor	%eax, %eax
	ret
	entry	1b, 2b, 3f
3:	mov	$-14, %eax
	ret
ends bz_byte

/* int bz_byte_set(void *dst, int c) */
function bz_byte_set
1:	movb	%sil, (%rdi)
2:	xor	%eax, %eax
	ret
	entry	1b, 2b, 3f
3:	mov	$-14, %eax
	ret
ends bz_byte_set

/* int bz_byte_order(const void *a, const void *b, int *ret_order) */
function bz_byte_order
1:	movzbl	(%rdi), %eax
	movzbl	(%rsi), %ecx
2:	sub	%ecx, %eax
	mov	%eax, (%rdx)
	xor	%eax, %eax
	ret
	entry	1b, 2b, 3f
3:	mov	$-14, %eax
	ret
ends bz_byte_order

/* int bz_load_8(const uint64_t *from, uint64_t *ret_value) */
function bz_load_8
1:	mov	(%rdi), %rax
2:	mov	%rax, (%rsi)
	xor	%eax, %eax
	ret
	entry	1b, 2b, 3f
3:	mov	$-14, %eax
	ret
ends bz_load_8

/* int bz_store_8(uint64_t *to, uint64_t value) */
function bz_store_8
1:	mov	%rsi, (%rdi)
2:	xor	%eax, %eax
	ret
	entry	1b, 2b, 3f
3:	mov	$-14, %eax
	ret
ends bz_store_8

/* int bz_cas_8(uint64_t *at, uint64_t *expected, uint64_t desired) */
function bz_cas_8
	mov	(%rsi), %rax
1:	lock cmpxchg %rdx, (%rdi)
2:	jne	4f
	xor	%eax, %eax
	ret
4:	mov	%rax, (%rsi)
	mov	$-11, %eax
	ret
	entry	1b, 2b, 3f
3:	mov	$-14, %eax
	ret
ends bz_cas_8

/* size_t bz_set_x86(void *dst, int c, size_t n): the bytes that are stored are
 * the first ones, and storing one again does no harm. */
function bz_set_x86
	mov	%rdi, %r9
	movzbl	%sil, %eax
	cmp	$16, %rdx
	jb	5f
	movd	%eax, %xmm0
	punpcklbw %xmm0, %xmm0
	punpcklwd %xmm0, %xmm0
	pshufd	$0, %xmm0, %xmm0
	cmp	$512, %rdx
	jae	3f
	lea	-16(%rdi, %rdx), %rcx
1:	movups	%xmm0, (%rdi)
	add	$16, %rdi
	cmp	%rcx, %rdi
	jb	1b
	movups	%xmm0, (%rcx)
2:	xor	%eax, %eax
	ret
3:	movups	%xmm0, (%rdi)
	movups	%xmm0, 16(%rdi)
	movups	%xmm0, 32(%rdi)
	movups	%xmm0, 48(%rdi)
	lea	64(%rdi), %rdi
	and	$-64, %rdi
	lea	(%r9, %rdx), %rcx
	sub	%rdi, %rcx
.Lset_rep:
	rep stosb
4:	xor	%eax, %eax
	ret
5:	imul	$0x01010101, %eax, %eax
	cmp	$4, %edx
	jae	7f
	test	%edx, %edx
	jz	6f
	movb	%al, (%rdi)
	cmp	$2, %edx
	jb	6f
	movb	%al, 1(%rdi)
	movb	%al, -1(%rdi, %rdx)
6:	xor	%eax, %eax
	ret
7:	cmp	$8, %edx
	jae	8f
	mov	%eax, (%rdi)
	mov	%eax, -4(%rdi, %rdx)
	xor	%eax, %eax
	ret
8:	mov	%eax, (%rdi)
	mov	%eax, 4(%rdi)
	mov	%eax, -8(%rdi, %rdx)
	mov	%eax, -4(%rdi, %rdx)
9:	xor	%eax, %eax
	ret
	entry	1b, .Lset_rep, .Lset_rest
	entry	4b, 9b, .Lset_rest
.Lset_rest:
	mov	%rdx, %rcx
	entry	.Lset_rep, 4b, .Lset_rest_rep
.Lset_rest_rep:
	mov	%r9, %rdi
	neg	%rcx
	add	%rdx, %rcx
	jmp	bz_set_rest
ends bz_set_x86

/*
 * size_t bz_compare_x86(const void *a, const void *b, size_t n, int *order):
 * 64 bytes at a time, then 16. rax: how many were found to be the same.
 */
function bz_compare_x86
	mov	%rcx, %r9
	xor	%eax, %eax
	lea	-64(%rdx), %r10
	cmp	$64, %rdx
	jb	3f
1:	movdqu	(%rdi, %rax), %xmm0
	movdqu	16(%rdi, %rax), %xmm1
	movdqu	32(%rdi, %rax), %xmm2
	movdqu	48(%rdi, %rax), %xmm3
	movdqu	(%rsi, %rax), %xmm4
	movdqu	16(%rsi, %rax), %xmm5
	movdqu	32(%rsi, %rax), %xmm6
	movdqu	48(%rsi, %rax), %xmm7
	pcmpeqb	%xmm4, %xmm0
	pcmpeqb	%xmm5, %xmm1
	pcmpeqb	%xmm6, %xmm2
	pcmpeqb	%xmm7, %xmm3
	pand	%xmm1, %xmm0
	pand	%xmm3, %xmm2
	pand	%xmm2, %xmm0
	pmovmskb %xmm0, %ecx
	cmp	$0xffff, %ecx
	jne	3f
	add	$64, %rax
	cmp	%r10, %rax
	jbe	1b
	/* what is left is less than 64 bytes, or holds the difference */
3:	lea	-16(%rdx), %r10
	cmp	$16, %rdx
	jb	5f
	cmp	%r10, %rax
	ja	9f
4:	movdqu	(%rdi, %rax), %xmm0
	movdqu	(%rsi, %rax), %xmm4
	pcmpeqb	%xmm4, %xmm0
	pmovmskb %xmm0, %ecx
	xor	$0xffff, %ecx
	jnz	7f
	add	$16, %rax
	cmp	%r10, %rax
	jbe	4b
	/* the last, some of it for the second time */
9:	sub	%rdx, %rax
	mov	%r10, %rax
	jnz	4b
	jmp	6f
5:	cmp	%rdx, %rax
	jae	6f
	movzbl	(%rdi, %rax), %ecx
	movzbl	(%rsi, %rax), %r11d
	sub	%r11d, %ecx
	jnz	8f
	inc	%rax
	jmp	5b
6:	movl	$0, (%r9)
	xor	%eax, %eax
	ret
7:	bsf	%ecx, %ecx
	add	%rcx, %rax
	movzbl	(%rdi, %rax), %ecx
	movzbl	(%rsi, %rax), %r11d
	sub	%r11d, %ecx
8:	mov	%ecx, (%r9)
	xor	%eax, %eax
	ret
	entry	1b, 6b, .Lcompare_rest
	entry	7b, 8b, .Lcompare_rest
.Lcompare_rest:
	mov	%rax, %rcx
	jmp	bz_compare_rest
ends bz_compare_x86
