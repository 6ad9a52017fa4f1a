/* SPDX-License-Identifier: MIT */
/*
 * Which memory an x86 instruction is about to touch: addresses, and no more.
 *
 * That needs no table of all instructions. How an operand in memory is written down
 * (ModRM, SIB, displacement; Intel SDM 2A chapter 2, AMD APM 3 chapter 1) is the same for all
 * of them, those of the future among them; it has to be known which have one, how long
 * what follows is, and who touches memory that is not written down: strings, the stack.
 */
#ifndef BEZOAR_VMM_PURE_TOUCH_H
#define BEZOAR_VMM_PURE_TOUCH_H

#include <stddef.h>
#include <stdint.h>

#define BZV_LONGEST	15		/* bytes of an instruction */
#define BZV_TOUCHES	12

enum bzv_seg { BZV_ES, BZV_CS, BZV_SS, BZV_DS, BZV_FS, BZV_GS };

/* Where it stands. */
struct bzv_standing {
	uint8_t bits;			/* of the code: 16, 32, 64 */
	uint8_t sp_bits;		/* of the stack */
	uint64_t gpr[16];		/* in the order of their numbers: ax, cx, dx,
					 * bx, sp, bp, si, di, 8 ... */
	uint64_t rip;			/* in its segment */
	uint64_t base[6];		/* of the segments; 64: of FS and GS */
};

/* Some of it may not be touched: where only an opcode's table would tell how wide it is, or
 * by what a displacement is multiplied (EVEX), each that can be is there, the likeliest
 * first. */
struct bzv_touch {
	uint64_t linear;
	uint32_t len;			/* bytes, no more than a page */
};

/* What the instruction that begins with the @len bytes at @code touches: how many are in
 * @ret, 0 if none is known. Context: any. */
int bzv_touched(const struct bzv_standing *at, const uint8_t *code, size_t len,
		struct bzv_touch ret[BZV_TOUCHES]);

#endif
