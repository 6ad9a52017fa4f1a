/* SPDX-License-Identifier: MIT */
/*
 * size_t bz_hunt_avx512(const void *at, size_t bytes, const struct bz_lanes *,
 *			 void *ret_block, uint32_t *ret_why)
 * As bz_hunt_kernel.skip wants it, four vectors at a time. Registers from 16 on want
 * no vzeroupper.
 *
 *	rax how far; r9 ret_why. zmm16 to 19 the block, 22 the mask,
 *	23 to 26 lo, 27 to 30 span.
 */
#include "copy/table.h"

	/* \k = words of zmm\v that are in the lane of zmm\lo, zmm\span */
	.macro	in v lo span k
	vpandq	%zmm22, %zmm\v, %zmm31
	vpsubq	%zmm\lo, %zmm31, %zmm31
	vpcmpltuq %zmm\span, %zmm31, \k
	.endm

	.macro	also v lo span
	in	\v, \lo, \span, %k2
	korw	%k2, %k1, %k1
	.endm

	.macro	loads
	vmovdqu64 (%rdi, %rax), %zmm16
	vmovdqu64 64(%rdi, %rax), %zmm17
	vmovdqu64 128(%rdi, %rax), %zmm18
	vmovdqu64 192(%rdi, %rax), %zmm19
	.endm

function bz_hunt_avx512
	mov	%r8, %r9
	xor	%eax, %eax
	vpbroadcastq (%rdx), %zmm22
	vpbroadcastq 8(%rdx), %zmm23
	vpbroadcastq 16(%rdx), %zmm24
	vpbroadcastq 24(%rdx), %zmm25
	vpbroadcastq 32(%rdx), %zmm26
	vpbroadcastq 40(%rdx), %zmm27
	vpbroadcastq 48(%rdx), %zmm28
	vpbroadcastq 56(%rdx), %zmm29
	vpbroadcastq 64(%rdx), %zmm30
	cmpq	$1, 72(%rdx)
	ja	.Lfour
	cmp	%rsi, %rax
	jae	.Lall
	.balign	64
.Lone_load:
	loads
.Lone_loaded:
	in	16, 23, 27, %k1
	also	17, 23, 27
	also	18, 23, 27
	also	19, 23, 27
	kortestw %k1, %k1
	jnz	.Lhit
	add	$256, %rax
	cmp	%rsi, %rax
	jb	.Lone_load
.Lall:
	movl	$0, (%r9)
	ret
	.balign	64
.Lfour:
	cmp	%rsi, %rax
	jae	.Lall
.Lfour_load:
	loads
.Lfour_loaded:
	in	16, 23, 27, %k1
	.irp	v, 17, 18, 19
	also	\v, 23, 27
	.endr
	.irp	v, 16, 17, 18, 19
	also	\v, 24, 28
	also	\v, 25, 29
	also	\v, 26, 30
	.endr
	kortestw %k1, %k1
	jnz	.Lhit
	add	$256, %rax
	jmp	.Lfour
.Lhit:
	vmovdqu64 %zmm16, (%rcx)
	vmovdqu64 %zmm17, 64(%rcx)
	vmovdqu64 %zmm18, 128(%rcx)
	vmovdqu64 %zmm19, 192(%rcx)
	movl	$1, (%r9)
	ret
	entry	.Lone_load, .Lone_loaded, .Lfault
	entry	.Lfour_load, .Lfour_loaded, .Lfault
.Lfault:
	movl	$2, (%r9)
	ret
ends bz_hunt_avx512
