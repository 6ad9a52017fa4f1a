/* SPDX-License-Identifier: MIT */
/*
 * size_t bz_hunt_avx512(const void *at, size_t bytes, const struct bz_lanes *,
 *			 void *ret_block, uint32_t *ret_why)
 * As bz_hunt_kernel.skip wants it, four vectors at a time. Registers from 16 on want
 * no vzeroupper.
 *
 *	rax how far; r9 ret_why. zmm16 to 19 the block, 20 to 22 of use, 23 to 26
 *	lo, 27 to 30 span, 31 the mask.
 *
 * A word is in a lane if word - lo < span. Of four vectors the least is compared,
 * word by word: one comparison for four.
 */
#include "copy/table.h"

#define AHEAD	8192

	/* The processor's own foresight ends at each page. A prefetch raises
	 * nothing, wherever it goes: not for what is not mapped, nor for what is
	 * lost. */
	.macro	ahead
	prefetcht0 AHEAD(%rdi, %rax)
	prefetcht0 AHEAD + 64(%rdi, %rax)
	prefetcht0 AHEAD + 128(%rdi, %rax)
	prefetcht0 AHEAD + 192(%rdi, %rax)
	.endm

	.macro	loads
	vmovdqu64 (%rdi, %rax), %zmm16
	vmovdqu64 64(%rdi, %rax), %zmm17
	vmovdqu64 128(%rdi, %rax), %zmm18
	vmovdqu64 192(%rdi, %rax), %zmm19
	.endm

	/* \k: which of four words has one that is in the lane */
	.macro	in lo span k
	vpsubq	\lo, %zmm16, %zmm20
	vpsubq	\lo, %zmm17, %zmm21
	vpsubq	\lo, %zmm18, %zmm22
	vpminuq	%zmm20, %zmm21, %zmm20
	vpsubq	\lo, %zmm19, %zmm21
	vpminuq	%zmm22, %zmm21, %zmm22
	vpminuq	%zmm20, %zmm22, %zmm20
	vpcmpltuq \span, %zmm20, \k
	.endm

	/* In no lane: the next block, at \next. Else on at \hit. */
	.macro	in_four next hit
	in	%zmm23, %zmm27, %k1
	in	%zmm24, %zmm28, %k2
	in	%zmm25, %zmm29, %k3
	in	%zmm26, %zmm30, %k4
	korw	%k1, %k2, %k1
	korw	%k3, %k4, %k3
	kortestw %k1, %k3
	jnz	\hit
	add	$256, %rax
	cmp	%rsi, %rax
	jb	\next
	jmp	.Lall
	.endm

function bz_hunt_avx512
	mov	%r8, %r9
	xor	%eax, %eax
	test	%rsi, %rsi
	jz	.Lall
	vpbroadcastq (%rdx), %zmm31
	vpbroadcastq 8(%rdx), %zmm23
	vpbroadcastq 16(%rdx), %zmm24
	vpbroadcastq 24(%rdx), %zmm25
	vpbroadcastq 32(%rdx), %zmm26
	vpbroadcastq 40(%rdx), %zmm27
	vpbroadcastq 48(%rdx), %zmm28
	vpbroadcastq 56(%rdx), %zmm29
	vpbroadcastq 64(%rdx), %zmm30
	cmpq	$-1, (%rdx)
	jne	.Lmasked
	cmpq	$1, 72(%rdx)
	ja	.Lfour
	.balign	64
.Lone:
	ahead
.Lone_load:
	loads
.Lone_loaded:
	in	%zmm23, %zmm27, %k1
	kortestw %k1, %k1
	jnz	.Lhit
	add	$256, %rax
	cmp	%rsi, %rax
	jb	.Lone
.Lall:
	movl	$0, (%r9)
	ret
	.balign	64
.Lfour:
	ahead
.Lfour_load:
	loads
.Lfour_loaded:
	in_four	.Lfour, .Lhit
	.balign	64
.Lmasked:
	ahead
.Lmasked_load:
	loads
.Lmasked_loaded:
	vpandq	%zmm31, %zmm16, %zmm16
	vpandq	%zmm31, %zmm17, %zmm17
	vpandq	%zmm31, %zmm18, %zmm18
	vpandq	%zmm31, %zmm19, %zmm19
	in_four	.Lmasked, .Lagain_load
	/* with its tags: what was written meanwhile is looked at anew */
.Lagain_load:
	loads
.Lagain_loaded:
.Lhit:
	vmovdqu64 %zmm16, (%rcx)
	vmovdqu64 %zmm17, 64(%rcx)
	vmovdqu64 %zmm18, 128(%rcx)
	vmovdqu64 %zmm19, 192(%rcx)
	movl	$1, (%r9)
	ret
	entry	.Lone_load, .Lone_loaded, .Lfault
	entry	.Lfour_load, .Lfour_loaded, .Lfault
	entry	.Lmasked_load, .Lmasked_loaded, .Lfault
	entry	.Lagain_load, .Lagain_loaded, .Lfault
.Lfault:
	movl	$2, (%r9)
	ret
ends bz_hunt_avx512
