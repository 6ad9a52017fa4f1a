/* SPDX-License-Identifier: MIT */
/* How long an instruction is behind its operand in memory, and how wide that is. */
#include "vmm/pure/touch_in.h"

#define SAVE	4096u			/* of XSAVE: as much as we look at */

uint32_t bzv_immediate(const struct in *in)
{
	const uint32_t z = in->opsize != (in->at->bits == 16) ? 2 : 4;
	const uint8_t reg = in->modrm >> 3 & 7;

	if (in->form == XOP)
		return in->map == MAP_XOP ? 1 : in->map == MAP_XOP + 2 ? 4 : 0;
	if (in->map == MAP_3A)
		return 1;
	if (in->map == MAP_0F)
		switch (in->op) {
		case 0x0f: case 0x70 ... 0x73: case 0xa4: case 0xac: case 0xba:
		case 0xc2: case 0xc4: case 0xc5: case 0xc6:
			return 1;
		default:
			return 0;
		}
	if (in->map != MAP_1)
		return 0;
	switch (in->op) {
	case 0x6b: case 0x80: case 0x82: case 0x83: case 0xc0: case 0xc1:
	case 0xc6:
		return 1;
	case 0x69: case 0x81: case 0xc7:
		return REX_W(in) ? 4 : z;
	case 0xf6:
		return reg < 2 ? 1 : 0;
	case 0xf7:
		return reg < 2 ? (REX_W(in) ? 4 : z) : 0;
	default:
		return 0;
	}
}

int bzv_is_none(const struct in *in)
{
	const uint8_t reg = in->modrm >> 3 & 7;

	if (in->form == VEX || in->form == EVEX)
		return in->map == MAP_38 &&
		       ((in->op >= 0x90 && in->op <= 0x93) ||
			(in->op >= 0xa0 && in->op <= 0xa3) ||
			in->op == 0xc6 || in->op == 0xc7 ||
			(in->form == VEX && in->op == 0x4b));
	if (in->form != PLAIN)
		return 0;
	if (in->map == MAP_1)
		return in->op == 0x8d;
	if (in->map == MAP_0F)
		return in->op == 0x0d || (in->op >= 0x18 && in->op <= 0x1f) ||
		       (in->op == 0x01 && reg == 7);
	return 0;
}

uint32_t bzv_width(const struct in *in)
{
	const uint8_t reg = in->modrm >> 3 & 7;

	if (in->form == EVEX)
		return in->one ? 8 : 1u << in->wide;
	if (in->form != PLAIN)
		return 32;
	if (in->map == MAP_1 && in->op == 0xd9)
		return reg == 4 || reg == 6 ? 28 : 4;
	if (in->map == MAP_1 && in->op == 0xdd)
		return reg == 4 || reg == 6 ? 108 : 8;
	if (in->map == MAP_1 && (in->op == 0xdb || in->op == 0xdf))
		return 10;
	if (in->map == MAP_1 && (in->op == 0xc4 || in->op == 0xc5 ||
				 in->op == 0x62 ||
				 (in->op == 0xff && (reg == 3 || reg == 5))))
		return in->obytes * (in->op == 0x62 ? 2 : 1) +
		       (in->op == 0x62 ? 0 : 2);
	if (in->map == MAP_1 && (in->op == 0x8f ||
				 (in->op == 0xff && reg >= 2)))
		return bzv_slot(in);
	if (in->map == MAP_1)
		return in->op == 0x8c || in->op == 0x8e ? 2 :
		       in->op == 0x63 ? 4 :
		       in->op >= 0xd8 && in->op <= 0xdf ? 8 :
		       (in->op & 1) ? in->obytes : 1;
	if (in->map == MAP_0F && in->op == 0xae)
		return reg < 2 ? 512 : reg == 2 || reg == 3 ? 4 :
		       reg == 7 ? 1 : SAVE;
	if (in->map == MAP_0F && in->op == 0xc7)
		return reg == 1 ? (REX_W(in) ? 16 : 8) :
		       reg >= 3 && reg <= 5 ? SAVE : 8;
	if (in->map == MAP_0F)
		switch (in->op) {
		case 0x00: case 0xb6: case 0xbe: case 0xb0: case 0xc0:
		case 0x90 ... 0x9f:
			return in->op == 0x00 ? 2 : 1;
		case 0x01:
			return 10;
		case 0xb7: case 0xbf:
			return 2;
		case 0x40 ... 0x4f: case 0xa3 ... 0xa5: case 0xab ... 0xad:
		case 0xaf: case 0xb1: case 0xb3: case 0xb8: case 0xba ... 0xbd:
		case 0xc1: case 0xc3:
			return in->obytes;
		default:
			return 16;
		}
	return in->map == MAP_38 && in->op == 0xf8 ? 64 : 16;
}
