/* SPDX-License-Identifier: MIT */
/* bez_copy() by AVX-512. Registers from 16 on want no vzeroupper. */
#define NAME		bz_copy_avx512
#define VEC		64
#define BLOCK		256
#define MOVE		vmovdqu64
#define MOVE_TO		vmovdqa64
#define DONE
#define V(n)		PASTE(V, n)
#define V0		%zmm16
#define V1		%zmm17
#define V2		%zmm18
#define V3		%zmm19
#define V4		%zmm20
#define V5		%zmm21
#define V6		%zmm22
#define V7		%zmm23
#define V8		%zmm24
#define Y(n)		PASTE(Y, n)
#define Y0		%ymm16
#define Y1		%ymm17
#define X(n)		PASTE(X, n)
#define X0		%xmm16
#define X1		%xmm17
#include "copy/move.h"
