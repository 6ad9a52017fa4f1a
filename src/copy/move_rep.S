/* SPDX-License-Identifier: MIT */
/* bez_copy() for every x86-64: rep movsb, below that SSE2. */
#define NAME		bz_copy_rep
#define VEC		16
#define BLOCK		64
#define MOVE		movdqu
#define MOVE_TO		movdqa
#define DONE
#define V(n)		PASTE(%xmm, n)
#include "copy/move.h"
