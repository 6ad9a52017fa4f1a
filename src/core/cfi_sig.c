/* SPDX-License-Identifier: MIT */
/*
 * The tables that describe frames: .eh_frame (DWARF 5, 6.4; LSB, 10.6), found by
 * the libc's own index of what is loaded. Only what calls preserve is followed, as
 * all that the way out needs. What is on the stack is read by the kernel, a page at
 * a time, where it is not near: tables may be wrong, stacks may be gone, and nobody
 * shall die of that.
 */
#include "core/cfi.h"

#include <string.h>
#include <sys/uio.h>

#include "core/core.h"

#ifdef BZ_HAS_CFI

#define STACK		8		/* of an expression */

/* glibc 2.35 */
extern __typeof__(_dl_find_object) _dl_find_object __attribute__((weak));

enum how { SAME = 0, UNDEFINED, AT_CFA, IS_CFA, AT_EXPR, IS_EXPR, IN_REG };

/* Of the registers that calls preserve, and the return address. */
static const uint8_t kept[BZ_CFI_KEPT] = { 3, 6, 12, 13, 14, 15, BZ_CFI_RIP };

/* ------------------------------------------------------------------- reading */

static uint64_t uleb(const uint8_t **p)
{
	uint64_t v = 0;
	uint32_t shift = 0;
	uint8_t byte;

	do {
		byte = *(*p)++;
		if (shift < 64)
			v |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return v;
}

static int64_t sleb(const uint8_t **p)
{
	const uint8_t *from = *p;
	uint64_t v = uleb(p);
	uint32_t bits = (uint32_t)(*p - from) * 7;

	if (bits < 64 && (v >> (bits - 1) & 1))
		v |= ~(uint64_t)0 << bits;
	return (int64_t)v;
}

static uint32_t u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* "pcrel | sdata4", as all linkers write it. */
static uint64_t relative(const uint8_t *p)
{
	return (uint64_t)p + (uint64_t)(int64_t)(int32_t)u32(p);
}

/* In the page that the stack of the code ends in; what else is there, who knows. */
static int is_near(const struct bz_walker *w, uint64_t addr)
{
	uint64_t page = bz_core.page;

	return addr / page == w->fault->sp / page && addr % page <= page - 8 &&
	       addr - w->lost.start >= w->lost.width;
}

/* Into the window what lies from @addr on, a page of it: how much there is. */
static uint64_t look(struct bz_walker *w, uint64_t addr)
{
	uint64_t page = bz_core.page;
	struct iovec to = { w->window, page };
	/* what cannot be read ends it: one piece for each page */
	struct iovec from[2] = {
		{ (void *)addr, page - (addr & (page - 1)) },
		{ (void *)((addr | (page - 1)) + 1), addr & (page - 1) },
	};
	long r = bz_sys(SYS_process_vm_readv, bz_sys0(SYS_getpid), (long)&to, 1,
			(long)from, 2, 0);

	w->at = addr;
	w->len = r > 0 ? (uint64_t)r : 0;
	return w->len;
}

/* A word of the stack: 1, or 0. */
static int word(struct bz_walker *w, uint64_t addr, uint64_t *ret)
{
	if (is_near(w, addr)) {
		memcpy(ret, (const void *)addr, sizeof(*ret));
		return 1;
	}
	if ((addr < w->at || addr - w->at + 8 > w->len) && look(w, addr) < 8)
		return 0;
	memcpy(ret, w->window + (addr - w->at), sizeof(*ret));
	return 1;
}

/* ---------------------------------------------------------------- the tables */

/* The index is sorted: pairs of where code begins and where its entry is, relative
 * to its head. */
struct index {
	const uint8_t *head;
	uint32_t pairs;
	uint32_t at;			/* the last that begins before */
};

static uint64_t begins(const struct index *x, uint32_t i)
{
	return (uint64_t)x->head + (uint64_t)(int64_t)(int32_t)u32(
		x->head + 12 + 8 * (uint64_t)i);
}

/* 1, or 0: nothing is known of what is there. */
static int search(uint64_t pc, struct index *x)
{
	struct dl_find_object object;
	uint32_t hi, mid;

	if (!_dl_find_object || _dl_find_object((void *)pc, &object) ||
	    !object.dlfo_eh_frame)
		return 0;
	x->head = object.dlfo_eh_frame;
	/* version 1 */
	if (x->head[0] != 1 || x->head[1] != 0x1b || x->head[2] != 0x03 ||
	    x->head[3] != 0x3b)
		return 0;
	x->pairs = hi = u32(x->head + 8);
	x->at = 0;
	while (hi - x->at > 1) {
		mid = x->at + (hi - x->at) / 2;
		if (begins(x, mid) <= pc)
			x->at = mid;
		else
			hi = mid;
	}
	return x->pairs != 0;
}

int bz_cfi_is_same(uint64_t pc, uint64_t other)
{
	struct index x;

	return search(pc, &x) && begins(&x, x.at) <= pc &&
	       begins(&x, x.at) <= other && x.at + 1 < x.pairs &&
	       other < begins(&x, x.at + 1);
}

static int read_cie(const uint8_t *cie, struct bz_cfi *e, int *ret_sized)
{
	const uint8_t *p = cie + 8;
	const char *how;

	e->cie_end = cie + 4 + u32(cie);
	if (u32(cie + 4) || (*p != 1 && *p != 3))
		return 0;
	how = (const char *)p + 1;
	p += 2 + strlen(how);
	e->code_align = uleb(&p);
	e->data_align = sleb(&p);
	if (uleb(&p) != BZ_CFI_RIP)
		return 0;
	*ret_sized = *how == 'z';
	if (*how && !*ret_sized)
		return 0;
	if (*ret_sized) {
		uint64_t len = uleb(&p);

		e->cie_code = p + len;
		while (*++how) {
			if (*how == 'S')
				e->is_signal = 1;
			else if (*how == 'R' && *p++ != 0x1b)
				return 0;
			else if (*how == 'L')
				p++;
			else if (*how == 'P')
				p += (*p & 0xf) == 0xc || !(*p & 0xf) ? 9 : 5;
			else if (*how != 'S' && *how != 'R')
				return 0;
		}
		return 1;
	}
	e->cie_code = p;
	return 0;			/* addresses of another kind */
}

int bz_cfi_find(uint64_t pc, struct bz_cfi *e)
{
	const uint8_t *fde, *p;
	struct index x;
	int sized;

	memset(e, 0, sizeof(*e));
	if (!search(pc, &x))
		return 0;
	fde = x.head + (int32_t)u32(x.head + 12 + 8 * (uint64_t)x.at + 4);
	if (u32(fde) >= 0xfffffff0u ||
	    !read_cie(fde + 4 - u32(fde + 4), e, &sized))
		return 0;
	e->start = relative(fde + 8);
	e->len = u32(fde + 12);
	if (pc - e->start >= e->len)
		return 0;
	p = fde + 16;
	if (sized) {
		uint64_t len = uleb(&p);

		p += len;
	}
	e->code = p;
	e->end = fde + 4 + u32(fde);
	return 1;
}

/* -------------------------------------------------------------- what they say */

static void set(struct bz_cfi_row *r, uint64_t reg, enum how how, int64_t n)
{
	uint32_t i;

	for (i = 0; i < BZ_CFI_KEPT; i++)
		if (kept[i] == reg)
			r->rule[i] = (struct bz_cfi_rule){ (int32_t)n, (uint8_t)how };
}

static void set_back(struct bz_cfi_row *r, const struct bz_cfi_row *first, uint64_t reg)
{
	uint32_t i;

	for (i = 0; i < BZ_CFI_KEPT; i++)
		if (kept[i] == reg)
			r->rule[i] = first->rule[i];
}

/* An expression lies in the tables; as far from @code as an offset reaches. */
static void set_expr(struct bz_cfi_row *r, const uint8_t *code, uint64_t reg,
		     enum how how, const uint8_t **p)
{
	set(r, reg, how, *p - code);
	*p += uleb(p);
}

/*
 * Run [@p, @end) up to @pc: what becomes of the registers there in w->row[0]; the
 * last row is how it was at the beginning of the code. 1, or 0: it says something
 * that we do not know.
 */
static int run(struct bz_walker *w, const struct bz_cfi *e, const uint8_t *p,
	       const uint8_t *end, uint64_t pc)
{
	struct bz_cfi_row *r = &w->row[0], *first = &w->row[BZ_CFI_KEEPS];
	uint64_t at = e->start, reg;
	uint32_t keeps = 0;

	while (p < end && at <= pc) {
		uint8_t op = *p++;

		reg = op & 0x3f;
		switch (op & 0xc0) {
		case 0x40:				/* advance_loc */
			at += reg * e->code_align;
			continue;
		case 0x80:				/* offset */
			set(r, reg, AT_CFA, (int64_t)uleb(&p) * e->data_align);
			continue;
		case 0xc0:				/* restore */
			set_back(r, first, reg);
			continue;
		default:
			break;
		}
		switch (op) {
		case 0x00:				/* nop */
			break;
		case 0x02:				/* advance_loc1 */
			at += *p++ * e->code_align;
			break;
		case 0x03:				/* advance_loc2 */
			at += (uint64_t)(p[0] | p[1] << 8) * e->code_align;
			p += 2;
			break;
		case 0x04:				/* advance_loc4 */
			at += u32(p) * e->code_align;
			p += 4;
			break;
		case 0x05:				/* offset_extended */
			reg = uleb(&p);
			set(r, reg, AT_CFA, (int64_t)uleb(&p) * e->data_align);
			break;
		case 0x06:				/* restore_extended */
			set_back(r, first, uleb(&p));
			break;
		case 0x07:				/* undefined */
			set(r, uleb(&p), UNDEFINED, 0);
			break;
		case 0x08:				/* same_value */
			set(r, uleb(&p), SAME, 0);
			break;
		case 0x09:				/* register */
			reg = uleb(&p);
			set(r, reg, IN_REG, (int64_t)uleb(&p));
			break;
		case 0x0a:				/* remember_state */
			if (++keeps >= BZ_CFI_KEEPS)
				return 0;
			w->row[keeps] = *r;
			break;
		case 0x0b:				/* restore_state */
			if (!keeps)
				return 0;
			*r = w->row[keeps--];
			break;
		case 0x0c:				/* def_cfa */
			r->cfa_reg = (uint8_t)uleb(&p);
			r->cfa_offset = (int32_t)uleb(&p);
			r->cfa_expr = NULL;
			break;
		case 0x0d:				/* def_cfa_register */
			r->cfa_reg = (uint8_t)uleb(&p);
			r->cfa_expr = NULL;
			break;
		case 0x0e:				/* def_cfa_offset */
			r->cfa_offset = (int32_t)uleb(&p);
			break;
		case 0x0f:				/* def_cfa_expression */
			r->cfa_expr = p;
			p += uleb(&p);
			break;
		case 0x10:				/* expression */
			reg = uleb(&p);
			set_expr(r, e->cie_code, reg, AT_EXPR, &p);
			break;
		case 0x11:				/* offset_extended_sf */
			reg = uleb(&p);
			set(r, reg, AT_CFA, sleb(&p) * e->data_align);
			break;
		case 0x12:				/* def_cfa_sf */
			r->cfa_reg = (uint8_t)uleb(&p);
			r->cfa_offset = (int32_t)(sleb(&p) * e->data_align);
			r->cfa_expr = NULL;
			break;
		case 0x16:				/* val_expression */
			reg = uleb(&p);
			set_expr(r, e->cie_code, reg, IS_EXPR, &p);
			break;
		case 0x2e:				/* GNU_args_size */
			uleb(&p);
			break;
		default:
			return 0;
		}
	}
	return 1;
}

/* What the linker writes for its stubs and the libc for signal frames. */
static int evaluate(struct bz_walker *w, const struct bz_frame *f, const uint8_t *p,
		    uint64_t cfa, uint64_t *ret)
{
	uint64_t stack[STACK] = { cfa };
	uint64_t len = uleb(&p);
	const uint8_t *end = p + len;
	uint32_t n = 1;			/* how many there are */

	while (p < end) {
		uint8_t op = *p++;

		if (n >= STACK || !n)
			return 0;
		if (op >= 0x30 && op <= 0x4f) {			/* lit */
			stack[n++] = op - 0x30u;
		} else if (op >= 0x70 && op <= 0x70 + BZ_CFI_RIP) {	/* breg */
			stack[n++] = f->reg[op - 0x70] +
				     (uint64_t)sleb(&p);
		} else if (op == 0x06) {			/* deref */
			if (!word(w, stack[n - 1], &stack[n - 1]))
				return 0;
		} else if (op == 0x23) {			/* plus_uconst */
			stack[n - 1] += uleb(&p);
		} else {
			if (n < 2)
				return 0;
			n--;
			if (op == 0x1a)				/* and */
				stack[n - 1] &= stack[n];
			else if (op == 0x22)			/* plus */
				stack[n - 1] += stack[n];
			else if (op == 0x24)			/* shl */
				stack[n - 1] <<= stack[n] & 63;
			else if (op == 0x2a)			/* ge */
				stack[n - 1] = (int64_t)stack[n - 1] >=
					       (int64_t)stack[n];
			else
				return 0;
		}
	}
	*ret = stack[n - 1];
	return 1;
}

int bz_cfi_step(struct bz_walker *w, const struct bz_cfi *e, struct bz_frame *f,
		 uint64_t cfa)
{
	const struct bz_cfi_row *r = &w->row[0];
	struct bz_frame was = *f;
	uint32_t i;

	for (i = 0; i < BZ_CFI_KEPT; i++) {
		uint64_t *to = &f->reg[kept[i]];
		int64_t n = r->rule[i].n;

		switch (r->rule[i].how) {
		case SAME:
			break;
		case UNDEFINED:
			*to = 0;
			break;
		case AT_CFA:
			if (!word(w, cfa + (uint64_t)n, to))
				return 0;
			break;
		case IN_REG:
			*to = (uint64_t)n < BZ_CFI_REGS ? was.reg[n] : 0;
			break;
		case AT_EXPR:
		case IS_EXPR:
			if (!evaluate(w, &was, e->cie_code + n, cfa, to) ||
			    (r->rule[i].how == AT_EXPR && !word(w, *to, to)))
				return 0;
			break;
		default:
			return 0;
		}
	}
	f->reg[BZ_CFI_RSP] = cfa;
	f->interrupted = e->is_signal;
	return 1;
}

int bz_cfi_describe(struct bz_walker *w, const struct bz_frame *f, struct bz_cfi *e,
		    uint64_t *ret_cfa)
{
	/* a call may be the last of a function */
	uint64_t pc = f->reg[BZ_CFI_RIP] - !f->interrupted;
	struct bz_cfi_row *r = &w->row[0];

	if (!bz_cfi_find(pc, e))
		return 0;
	memset(r, 0, sizeof(*r));
	if (!run(w, e, e->cie_code, e->cie_end, UINT64_MAX))
		return 0;
	w->row[BZ_CFI_KEEPS] = *r;
	if (!run(w, e, e->code, e->end, pc))
		return 0;
	if (r->cfa_expr)
		return evaluate(w, f, r->cfa_expr, 0, ret_cfa);
	if (r->cfa_reg >= BZ_CFI_REGS)
		return 0;
	*ret_cfa = f->reg[r->cfa_reg] + (uint64_t)(int64_t)r->cfa_offset;
	return 1;
}

int bz_cfi_is_part(struct bz_walker *w, const struct bz_cfi *e)
{
	struct bz_cfi_row *r = &w->row[0];

	memset(r, 0, sizeof(*r));
	if (e->is_signal || !run(w, e, e->cie_code, e->cie_end, UINT64_MAX) ||
	    !run(w, e, e->code, e->end, e->start))
		return 0;
	/* of a frame that is aligned; by rsp: the linker's stubs */
	if (r->cfa_expr)
		return r->cfa_expr[1] != 0x70 + BZ_CFI_RSP;
	return r->cfa_reg != BZ_CFI_RSP || r->cfa_offset != 8;
}

/* By "jmp rel32", e9, or "jcc rel32", 0f 80 to 0f 8f: the parts are far from each
 * other. Where instructions begin is not known; what is none hardly hits. */
int bz_cfi_leads(struct bz_walker *w, const struct bz_cfi *e, const struct bz_cfi *to)
{
	const uint8_t *code = (const uint8_t *)w->window;
	uint64_t at = e->start, end = at + e->len, len, i;

	for (;; at += len - 5) {
		len = look(w, at);
		if (len > end - at)
			len = end - at;
		for (i = 0; i + 5 <= len; i++) {
			if ((code[i] == 0xe9 ||
			     (i && code[i - 1] == 0x0f &&
			      (code[i] & 0xf0) == 0x80)) &&
			    at + i + 5 + (uint64_t)(int64_t)(int32_t)
					 u32(code + i + 1) - to->start < to->len)
				return 1;
		}
		if (at + len == end)
			return 0;
		if (len <= 5)
			return -1;
	}
}

#endif
