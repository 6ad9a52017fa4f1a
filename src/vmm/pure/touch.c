/* SPDX-License-Identifier: MIT */
#include "vmm/pure/touch_in.h"

static uint8_t byte(struct in *in)
{
	if (in->next < in->len)
		return in->code[in->next++];
	in->more = 1;
	return 0;
}

int64_t bzv_number(struct in *in, uint32_t bytes)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < bytes; i++)
		n |= (uint64_t)byte(in) << 8 * i;
	if (bytes < 8 && (n >> (8 * bytes - 1) & 1))
		n |= ~0ull << 8 * bytes;
	return (int64_t)n;
}

void bzv_add(struct in *in, enum bzv_seg seg, uint64_t offset, uint32_t len)
{
	const struct bzv_standing *at = in->at;
	uint64_t base = at->bits != 64 || seg >= BZV_FS ? at->base[seg] : 0;

	if (in->count < BZV_TOUCHES)
		in->ret[in->count++] = (struct bzv_touch){
			bzv_cut(base + offset, at->bits == 64 ? 64 : 32), len };
}

enum bzv_seg bzv_segment(const struct in *in, enum bzv_seg usual)
{
	return in->seg != 0xff ? (enum bzv_seg)in->seg : usual;
}

/* ---------------------------------------------------------------- what has one */

static int has_modrm_1(const struct in *in)
{
	const uint8_t op = in->op;

	if (op < 0x40)
		return (op & 7) < 4;
	switch (op) {
	case 0x62: case 0x63: case 0x69: case 0x6b: case 0x80 ... 0x8f:
	case 0xc0: case 0xc1: case 0xc4 ... 0xc7: case 0xd0 ... 0xd3:
	case 0xd8 ... 0xdf: case 0xf6: case 0xf7: case 0xfe: case 0xff:
		return 1;
	default:
		return 0;
	}
}

static int has_modrm_0f(const struct in *in)
{
	switch (in->op) {
	case 0x04 ... 0x0c: case 0x0e: case 0x24 ... 0x27:
	case 0x30 ... 0x37: case 0x39: case 0x3b ... 0x3f: case 0x77:
	case 0x80 ... 0x8f: case 0xa0 ... 0xa2: case 0xa8 ... 0xaa:
	case 0xc8 ... 0xcf:
		return 0;
	default:
		return 1;
	}
}

static int has_modrm(const struct in *in)
{
	if (in->form != PLAIN)
		return !(in->map == MAP_0F && in->op == 0x77);
	return in->map == MAP_1 ? has_modrm_1(in) :
	       in->map == MAP_0F ? has_modrm_0f(in) : 1;
}

/* The bit that is meant may lie far away. */
static uint64_t bits_away(const struct in *in)
{
	const uint32_t bits = 8u * in->obytes;
	uint64_t nr = in->at->gpr[(in->modrm >> 3 & 7) | (REX_R(in) ? 8 : 0)];
	int64_t n;

	if (in->form != PLAIN || in->map != MAP_0F ||
	    (in->op != 0xa3 && in->op != 0xab && in->op != 0xb3 &&
	     in->op != 0xbb))
		return 0;
	n = bits == 64 ? (int64_t)nr : bits == 32 ? (int32_t)nr : (int16_t)nr;
	/* in whole words; down, below zero, too */
	return (uint64_t)((n >> (bits == 64 ? 6 : bits == 32 ? 5 : 4)) *
			  in->obytes);
}

/* ---------------------------------------------------------------- where it is */

struct where {
	uint64_t offset;		/* without disp */
	int64_t disp;
	uint8_t disp_bytes, at_rip;
	enum bzv_seg seg;
};

static struct where where_16(struct in *in)
{
	static const uint8_t first[] = { BX, BX, BP, BP, SI, DI, BP, BX };
	static const uint8_t second[] = { SI, DI, SI, DI };
	const uint8_t mod = in->modrm >> 6, rm = in->modrm & 7;
	struct where w = { .seg = BZV_DS };

	if (!mod && rm == 6) {
		w.disp_bytes = 2;
	} else {
		w.offset = in->at->gpr[first[rm]] +
			   (rm < 4 ? in->at->gpr[second[rm]] : 0);
		w.disp_bytes = mod;
		if (first[rm] == BP)
			w.seg = BZV_SS;
	}
	return w;
}

static struct where where_wide(struct in *in)
{
	const uint8_t mod = in->modrm >> 6, rm = in->modrm & 7;
	struct where w = { .seg = BZV_DS };
	uint8_t base = rm, index;

	w.disp_bytes = mod == 2 ? 4 : mod;
	if (rm == 4) {
		const uint8_t sib = byte(in);

		base = sib & 7;
		index = (sib >> 3 & 7) | (REX_X(in) ? 8 : 0);
		if (index != SP)
			w.offset = in->at->gpr[index] << (sib >> 6);
	}
	if (base == BP && !mod) {
		w.disp_bytes = 4;
		w.at_rip = rm != 4 && in->at->bits == 64;
		return w;
	}
	if ((base == SP || base == BP) && !REX_B(in))
		w.seg = BZV_SS;
	w.offset += in->at->gpr[base | (REX_B(in) ? 8 : 0)];
	/* pop into memory: after it has taken its own */
	if (in->form == PLAIN && in->map == MAP_1 && in->op == 0x8f &&
	    base == SP && !REX_B(in))
		w.offset += bzv_slot(in);
	return w;
}

static void scaled(struct in *in, const struct where *w, uint32_t n)
{
	uint64_t offset = w->offset + (uint64_t)(w->disp * n);

	bzv_add(in, bzv_segment(in, w->seg), bzv_cut(offset, in->abits),
		bzv_width(in));
}

/* By what an EVEX instruction multiplies a displacement of a byte is in a table of the
 * opcodes alone: then all that it can be. */
static void each_of(struct in *in, const struct where *w)
{
	uint32_t all = in->one ? (REX_W(in) ? 8 : 4) : 1u << in->wide, n;

	scaled(in, w, all);
	for (n = 64; n; n /= 2)
		if (n != all)
			scaled(in, w, n);
}

static void operand(struct in *in)
{
	struct where w = in->abits == 16 ? where_16(in) : where_wide(in);
	uint32_t behind = bzv_immediate(in);

	w.disp = w.disp_bytes ? bzv_number(in, w.disp_bytes) : 0;
	for (; behind; behind--)
		byte(in);
	if (in->more || bzv_is_none(in))
		return;
	if (in->form == EVEX && w.disp_bytes == 1) {
		each_of(in, &w);
		return;
	}
	w.offset += (uint64_t)w.disp + bits_away(in);
	if (w.at_rip)
		w.offset += in->at->rip + in->next;
	bzv_add(in, bzv_segment(in, w.seg), bzv_cut(w.offset, in->abits),
		bzv_width(in));
}

/* ---------------------------------------------------------------- its head */

/* Returns the opcode's first byte. */
static uint8_t prefixes(struct in *in)
{
	const int is_64 = in->at->bits == 64;
	int other_address = 0;
	uint8_t b;

	in->seg = 0xff;
	for (;;) {
		b = byte(in);
		switch (b) {
		case 0x26: case 0x2e: case 0x36: case 0x3e:
			if (!is_64)
				in->seg = b >> 3 & 3;
			break;
		case 0x64: case 0x65:
			in->seg = b == 0x64 ? BZV_FS : BZV_GS;
			break;
		case 0x66:
			in->opsize = 1;
			break;
		case 0x67:
			other_address = 1;
			break;
		case 0xf0:
			break;
		case 0xf2: case 0xf3:
			in->repeat = b;
			break;
		default:
			if (is_64 && (b & 0xf0) == 0x40) {
				in->rex = b;
				continue;
			}
			in->abits = is_64 ? (other_address ? 32 : 64) :
				    (in->at->bits == 32) != other_address ?
				    32 : 16;
			return b;
		}
		if (in->more)
			return 0;
		in->rex = 0;		/* it has to be the last */
	}
}

/* R, X and B are there upside down, as W is not. */
static void like_rex(struct in *in, uint8_t rxb, int w)
{
	in->rex = 0;
	if (in->at->bits == 64)
		in->rex = (uint8_t)(~rxb >> 5 & 7);
	if (w)
		in->rex |= 8;
}

/* @first is C4, C5, 62 or 8F. 0: an old instruction it is. */
static int vector(struct in *in, uint8_t first)
{
	const int is_64 = in->at->bits == 64;
	uint8_t p0, p1, p2;

	if (in->next >= in->len) {
		in->more = 1;
		return 1;
	}
	p0 = in->code[in->next];
	if (first == 0x8f ? (p0 & 31) < 8 : !is_64 && p0 < 0xc0)
		return 0;
	in->next++;
	p1 = byte(in);
	in->form = first == 0x8f ? XOP : first == 0x62 ? EVEX : VEX;
	if (first == 0xc5) {
		like_rex(in, p0 | 0x60, 0);
		in->map = MAP_0F;
		in->op = p1;
		return 1;
	}
	like_rex(in, p0, p1 >> 7);
	in->map = first == 0x62 ? p0 & 7 : p0 & 31;
	if (first == 0x62) {
		p2 = byte(in);
		in->wide = (uint8_t)(4 + (p2 >> 5 & 3));
		in->one = p2 >> 4 & 1;
	}
	in->op = byte(in);
	return 1;
}

static void opcode(struct in *in)
{
	uint8_t b = prefixes(in);

	if ((b == 0xc4 || b == 0xc5 || b == 0x62 || b == 0x8f) && vector(in, b))
		return;
	in->op = b;
	if (b != 0x0f)
		return;
	in->map = MAP_0F;
	in->op = byte(in);
	if (in->op == 0x38 || in->op == 0x3a) {
		in->map = in->op == 0x38 ? MAP_38 : MAP_3A;
		in->op = byte(in);
	}
}

int bzv_touched(const struct bzv_standing *at, const uint8_t *code, size_t len,
		struct bzv_touch ret[BZV_TOUCHES])
{
	struct in in = { .at = at, .code = code, .ret = ret, .len = len };

	if (in.len > BZV_LONGEST)
		in.len = BZV_LONGEST;
	opcode(&in);
	in.obytes = REX_W(&in) ? 8 :
		    in.opsize != (at->bits == 16) ? 2 : 4;
	if (in.more)
		return 0;
	if (has_modrm(&in)) {
		in.modrm = byte(&in);
		if (in.modrm < 0xc0)
			operand(&in);
		bzv_beside(&in);
	} else {
		bzv_implicit(&in);
	}
	return in.count;
}
