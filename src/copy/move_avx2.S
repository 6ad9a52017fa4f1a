/* SPDX-License-Identifier: MIT */
/* bez_copy() by AVX2; the sixteen-byte moves may be SSE's without a penalty
 * only in their VEX form. */
#define NAME		bz_copy_avx2
#define VEC		32
#define BLOCK		128
#define MOVE		vmovdqu
#define MOVE_TO		vmovdqa
#define DONE		vzeroupper
#define V(n)		PASTE(%ymm, n)
#define X(n)		PASTE(%xmm, n)
#include "copy/move.h"
