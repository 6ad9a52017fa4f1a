/* SPDX-License-Identifier: MIT */
/* Memory that an instruction touches and does not write down: strings, the stack. */
#include "vmm/pure/touch_in.h"

static void push(struct in *in, uint32_t len)
{
	bzv_add(in, BZV_SS, bzv_cut(in->at->gpr[SP] - len, in->at->sp_bits),
		len);
}

static void pop(struct in *in, uint32_t len)
{
	bzv_add(in, BZV_SS, bzv_cut(in->at->gpr[SP], in->at->sp_bits), len);
}

static void string(struct in *in, int from, int to)
{
	const uint32_t len = in->op & 1 ? in->obytes : 1;

	if (in->repeat && !bzv_cut(in->at->gpr[CX], in->abits))
		return;
	if (from)
		bzv_add(in, bzv_segment(in, BZV_DS),
			bzv_cut(in->at->gpr[SI], in->abits), len);
	if (to)
		bzv_add(in, BZV_ES, bzv_cut(in->at->gpr[DI], in->abits), len);
}

static void enter(struct in *in)
{
	const uint32_t frame = (uint16_t)bzv_number(in, 2),
		       level = (uint32_t)bzv_number(in, 1) & 31;
	const uint32_t slot = bzv_slot(in);
	const uint64_t sp = in->at->gpr[SP] - slot * (level + 1);

	push(in, slot * (level + 1));
	bzv_add(in, BZV_SS, bzv_cut(sp - frame, in->at->sp_bits), slot);
	if (level > 1)
		bzv_add(in, BZV_SS,
			bzv_cut(in->at->gpr[BP] - slot * (level - 1),
				in->at->sp_bits), slot * (level - 1));
}

/* Those of one byte. */
static void of_one_byte(struct in *in)
{
	const int is_64 = in->at->bits == 64;
	const uint32_t slot = bzv_slot(in);
	const uint32_t far = in->obytes > slot ? in->obytes : slot;

	switch (in->op) {
	case 0x06: case 0x0e: case 0x16: case 0x1e:
		if (!is_64)
			push(in, slot);
		break;
	case 0x07: case 0x17: case 0x1f:
		if (!is_64)
			pop(in, slot);
		break;
	case 0x50 ... 0x57: case 0x9c: case 0x68: case 0x6a:
		push(in, slot);
		break;
	case 0x58 ... 0x5f: case 0x9d:
		pop(in, slot);
		break;
	case 0xe8:
		push(in, is_64 ? 8 : slot);
		break;
	case 0xc2: case 0xc3:
		pop(in, is_64 ? 8 : slot);
		break;
	case 0x60:
		if (!is_64)
			push(in, 8 * slot);
		break;
	case 0x61:
		if (!is_64)
			pop(in, 8 * slot);
		break;
	case 0x9a:
		push(in, 2 * slot);
		break;
	case 0xca: case 0xcb:
		pop(in, 2 * far);
		break;
	case 0xcf:
		pop(in, (is_64 ? 5 : 3) * far);
		break;
	case 0xc8:
		enter(in);
		break;
	case 0xc9:
		bzv_add(in, BZV_SS, bzv_cut(in->at->gpr[BP], in->at->sp_bits),
			slot);
		break;
	case 0xa0 ... 0xa3:
		bzv_add(in, bzv_segment(in, BZV_DS),
			bzv_cut((uint64_t)bzv_number(in, in->abits / 8),
				in->abits), in->op & 1 ? in->obytes : 1);
		break;
	case 0xa4 ... 0xa7:
		string(in, 1, 1);
		break;
	case 0x6c: case 0x6d: case 0xaa: case 0xab: case 0xae: case 0xaf:
		string(in, 0, 1);
		break;
	case 0x6e: case 0x6f: case 0xac: case 0xad:
		string(in, 1, 0);
		break;
	case 0xd7:
		bzv_add(in, bzv_segment(in, BZV_DS),
			bzv_cut(in->at->gpr[BX] + (uint8_t)in->at->gpr[AX],
				in->abits), 1);
		break;
	default:
		break;
	}
}

void bzv_implicit(struct in *in)
{
	if (in->form != PLAIN)
		return;
	if (in->map == MAP_1)
		of_one_byte(in);
	else if (in->map == MAP_0F && (in->op == 0xa0 || in->op == 0xa8))
		push(in, bzv_slot(in));
	else if (in->map == MAP_0F && (in->op == 0xa1 || in->op == 0xa9))
		pop(in, bzv_slot(in));
}

void bzv_beside(struct in *in)
{
	const uint8_t reg = in->modrm >> 3 & 7;
	const int memory = in->modrm < 0xc0;

	if (in->form == PLAIN && in->map == MAP_1) {
		if (in->op == 0x8f)
			pop(in, bzv_slot(in));
		else if (in->op == 0xff && (reg == 2 || reg == 6))
			push(in, reg == 2 && in->at->bits == 64 ? 8 :
				 bzv_slot(in));
		else if (in->op == 0xff && reg == 3)
			push(in, 2 * (REX_W(in) ? 8 : bzv_slot(in)));
	} else if (in->map == MAP_0F && in->op == 0xf7 && !memory &&
		   (in->form == PLAIN || in->form == VEX)) {
		bzv_add(in, bzv_segment(in, BZV_DS),
			bzv_cut(in->at->gpr[DI], in->abits), 16);
	} else if (in->form == PLAIN && in->map == MAP_38 && in->op == 0xf8 &&
		   memory) {		/* MOVDIR64B, ENQCMD */
		bzv_add(in, BZV_ES,
			bzv_cut(in->at->gpr[reg | (REX_R(in) ? 8 : 0)],
				in->abits), 64);
	}
}
