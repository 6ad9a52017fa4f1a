/* SPDX-License-Identifier: MIT */
/* Private to what reads an instruction: touch.c, touch_width.c, touch_beside.c. */
#ifndef BEZOAR_VMM_PURE_TOUCH_IN_H
#define BEZOAR_VMM_PURE_TOUCH_IN_H

#include "vmm/pure/touch.h"

enum gpr { AX, CX, DX, BX, SP, BP, SI, DI };

/* One byte, 0F, 0F 38, 0F 3A, as VEX numbers them; of XOP 8 to 10. */
enum map { MAP_1 = 0, MAP_0F = 1, MAP_38 = 2, MAP_3A = 3, MAP_XOP = 8 };

enum form { PLAIN, VEX, EVEX, XOP };

struct in {
	const struct bzv_standing *at;
	const uint8_t *code;
	size_t len, next;
	int more;			/* it ends too soon */
	/* prefixes */
	uint8_t seg;			/* 0xff: none */
	uint8_t opsize, repeat, rex;
	uint8_t wide;			/* log2 of the vector's bytes; EVEX */
	uint8_t one;			/* EVEX: an element for all */
	uint8_t form, map, op;
	uint8_t abits, obytes;		/* of addresses; of integers */
	uint8_t modrm;
	struct bzv_touch *ret;
	int count;
};

#define REX_W(in) ((in)->rex & 8)
#define REX_R(in) ((in)->rex & 4)
#define REX_X(in) ((in)->rex & 2)
#define REX_B(in) ((in)->rex & 1)

static inline uint64_t bzv_cut(uint64_t n, uint32_t bits)
{
	return bits >= 64 ? n : n & ((1ull << bits) - 1);
}

/* What a push or a pop is wide: 64-bit code has none of 32. */
static inline uint32_t bzv_slot(const struct in *in)
{
	return in->at->bits != 64 ? in->obytes :
	       in->opsize && !REX_W(in) ? 2 : 8;
}

/* Signed, of 1, 2, 4 or 8 bytes; what comes next. */
int64_t bzv_number(struct in *in, uint32_t bytes);
void bzv_add(struct in *in, enum bzv_seg seg, uint64_t offset, uint32_t len);
/* That, or what a prefix says. */
enum bzv_seg bzv_segment(const struct in *in, enum bzv_seg usual);

/* How many bytes are behind the operand in memory. */
uint32_t bzv_immediate(const struct in *in);
/* Looks like memory, and is not touched; or is many: gathers, scatters, tiles. */
int bzv_is_none(const struct in *in);
/* Of the operand in memory, at the most. */
uint32_t bzv_width(const struct in *in);

/* What is touched and not written down: of one that has no ModRM, and of one that has. */
void bzv_implicit(struct in *in);
void bzv_beside(struct in *in);

#endif
