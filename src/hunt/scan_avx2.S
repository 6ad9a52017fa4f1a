/* SPDX-License-Identifier: MIT */
/*
 * size_t bz_hunt_avx2(const void *at, size_t bytes, const struct bz_lanes *,
 *		       void *ret_block, uint32_t *ret_why)
 * As scan_avx512.S. The comparison is of signed numbers: slo and sspan.
 *
 *	ymm0 to 3 the block, 6 what was found, 7 the mask, 8 to 11 lo,
 *	12 to 15 span.
 */
#include "copy/table.h"

	.macro	also v lo span
	vpsubq	%ymm\lo, %ymm\v, %ymm4
	vpcmpgtq %ymm4, %ymm\span, %ymm4
	vpor	%ymm4, %ymm6, %ymm6
	.endm

	/* as scan_avx512.S */
	.macro	ahead
	prefetcht0 8192(%rdi, %rax)
	prefetcht0 8192 + 64(%rdi, %rax)
	.endm

	.macro	in_four next hit
	vpxor	%xmm6, %xmm6, %xmm6
	.irp	v, 0, 1, 2, 3
	also	\v, 8, 12
	also	\v, 9, 13
	also	\v, 10, 14
	also	\v, 11, 15
	.endr
	vptest	%ymm6, %ymm6
	jnz	\hit
	sub	$-128, %rax
	cmp	%rsi, %rax
	jb	\next
	jmp	.Lall
	.endm

	.macro	loads
	vmovdqu	(%rdi, %rax), %ymm0
	vmovdqu	32(%rdi, %rax), %ymm1
	vmovdqu	64(%rdi, %rax), %ymm2
	vmovdqu	96(%rdi, %rax), %ymm3
	.endm

function bz_hunt_avx2
	mov	%r8, %r9
	xor	%eax, %eax
	vpbroadcastq (%rdx), %ymm7
	vpbroadcastq 80(%rdx), %ymm8
	vpbroadcastq 88(%rdx), %ymm9
	vpbroadcastq 96(%rdx), %ymm10
	vpbroadcastq 104(%rdx), %ymm11
	vpbroadcastq 112(%rdx), %ymm12
	vpbroadcastq 120(%rdx), %ymm13
	vpbroadcastq 128(%rdx), %ymm14
	vpbroadcastq 136(%rdx), %ymm15
	test	%rsi, %rsi
	jz	.Lall
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
	vpxor	%xmm6, %xmm6, %xmm6
	.irp	v, 0, 1, 2, 3
	also	\v, 8, 12
	.endr
	vptest	%ymm6, %ymm6
	jnz	.Lhit
	sub	$-128, %rax
	cmp	%rsi, %rax
	jb	.Lone
.Lall:
	movl	$0, (%r9)
	vzeroupper
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
	.irp	v, 0, 1, 2, 3
	vpand	%ymm7, %ymm\v, %ymm\v
	.endr
	in_four	.Lmasked, .Lagain_load
	/* with its tags: what was written meanwhile is looked at anew */
.Lagain_load:
	loads
.Lagain_loaded:
.Lhit:
	vmovdqu	%ymm0, (%rcx)
	vmovdqu	%ymm1, 32(%rcx)
	vmovdqu	%ymm2, 64(%rcx)
	vmovdqu	%ymm3, 96(%rcx)
	movl	$1, (%r9)
	vzeroupper
	ret
	entry	.Lone_load, .Lone_loaded, .Lfault
	entry	.Lfour_load, .Lfour_loaded, .Lfault
	entry	.Lmasked_load, .Lmasked_loaded, .Lfault
	entry	.Lagain_load, .Lagain_loaded, .Lfault
.Lfault:
	movl	$2, (%r9)
	vzeroupper
	ret
ends bz_hunt_avx2
