/* SPDX-License-Identifier: MIT */
/* Private to core/frames_sig.c: one step from a frame to the one that called it. */
#ifndef BEZOAR_CORE_CFI_H
#define BEZOAR_CORE_CFI_H

#include <dlfcn.h>

#include "types.h"

#if defined(__x86_64__) && defined(DLFO_STRUCT_HAS_EH_DBASE)
#define BZ_HAS_CFI

#define BZ_CFI_REGS	17		/* by their DWARF numbers */
#define BZ_CFI_RSP	7
#define BZ_CFI_RIP	16		/* the return address */
#define BZ_CFI_KEEPS	4		/* nested remember_state: none has more */

struct bz_cfi_rule {
	int32_t n;			/* offset; or register */
	uint8_t how;
};

enum { BZ_CFI_KEPT = 7 };	/* registers that calls preserve, and RIP */

struct bz_cfi_row {
	struct bz_cfi_rule rule[BZ_CFI_KEPT];
	int32_t cfa_offset;
	uint8_t cfa_reg;
	const uint8_t *cfa_expr;	/* NULL: register and offset */
};

struct bz_frame {
	uint64_t reg[BZ_CFI_REGS];
	uint8_t interrupted;		/* not in a call: by a signal */
};

/* What describes a place in the code. */
struct bz_cfi {
	uint64_t start, len;		/* of the function, or a part of it */
	const uint8_t *cie_code, *cie_end, *code, *end;
	uint64_t code_align;
	int64_t data_align;
	uint8_t is_signal;
};

/* All that is needed: too much for a frame, so it lies in a page. */
struct bz_walker {
	const struct bz_fault *fault;
	struct bz_extent lost;
	char *window;			/* another page */
	uint64_t at, len;		/* what is in there */
	struct bz_cfi_row row[BZ_CFI_KEEPS + 1];
	struct bz_frame frame;
	struct bz_cfi entry, scope_entry;
	const uint64_t *saved;		/* of the scope */
};

/* What describes the code at @pc: 1, or 0: nothing. */
int bz_cfi_find(uint64_t pc, struct bz_cfi *ret);

/* Do both lie behind the same entry, and before the next? A look at the index only.
 * 1, or 0: no, or it cannot be told. */
int bz_cfi_is_same(uint64_t pc, uint64_t other);

/* What describes @f, and where its frame ends. 1, or 0: nothing, or it cannot be
 * read. */
int bz_cfi_describe(struct bz_walker *w, const struct bz_frame *f,
		    struct bz_cfi *ret, uint64_t *ret_cfa);

/* The frame that called @f, after bz_cfi_describe(): 1, or 0. */
int bz_cfi_step(struct bz_walker *w, const struct bz_cfi *e, struct bz_frame *f,
		uint64_t cfa);

/* A part that the compiler has put elsewhere is entered in the middle of a frame. */
int bz_cfi_is_part(struct bz_walker *w, const struct bz_cfi *e);

/* Does the code of @e jump into that of @to? 1, 0, or -1: it cannot be read. */
int bz_cfi_leads(struct bz_walker *w, const struct bz_cfi *e,
		 const struct bz_cfi *to);

#endif
#endif
