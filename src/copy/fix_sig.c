/* SPDX-License-Identifier: MIT */
#include "copy/copy.h"
#include "copy/scope.h"

#include <ucontext.h>

#define INSTRUCTION 16u			/* none is longer */

/* The linker's names for the ends of a section. Weak: a static program that
 * copies nothing has none. */
#define ENDS extern __attribute__((visibility("hidden"), weak)) const
#define SECTION(name) ENDS char __start_##name[], __stop_##name[]

SECTION(bz_scope_text);

#if defined(__x86_64__)

#define PC	uc_mcontext.gregs[REG_RIP]

SECTION(bz_copy_text);

/* table.h */
struct entry {
	int32_t from, to, fix;
};

ENDS struct entry __start_bz_copy_table[], __stop_bz_copy_table[];

static uint64_t at(const int32_t *offset)
{
	return (uint64_t)offset + (uint64_t)(int64_t)*offset;
}

static uint64_t by_table(uint64_t pc)
{
	const struct entry *e;

	if (pc - (uint64_t)__start_bz_copy_text >=
	    (uint64_t)(__stop_bz_copy_text - __start_bz_copy_text))
		return 0;
	for (e = __start_bz_copy_table; e < __stop_bz_copy_table; e++)
		if (pc - at(&e->from) < at(&e->to) - at(&e->from))
			return at(&e->fix);
	return 0;
}

/* hunt/word.S */
ENDS char bz_hunt_swapping[];

uint64_t bz_copy_fix_unmapped(const void *context)
{
	const ucontext_t *uc = context;
	uint64_t pc = (uint64_t)uc->PC;

	return pc == (uint64_t)bz_hunt_swapping ? by_table(pc) : 0;
}

static void tell(ucontext_t *uc, uint64_t fix, uint64_t addr)
{
	uc->uc_mcontext.gregs[fix == (uint64_t)bz_scope_back ? REG_RDI :
							       REG_R8] =
		(greg_t)addr;
}

#elif defined(__aarch64__)

#define PC	uc_mcontext.pc

static uint64_t by_table(uint64_t pc)
{
	(void)pc;
	return 0;
}

uint64_t bz_copy_fix_unmapped(const void *context)
{
	(void)context;
	return 0;
}

static void tell(ucontext_t *uc, uint64_t fix, uint64_t addr)
{
	(void)fix;
	uc->uc_mcontext.regs[0] = addr;
}

#endif

uint64_t bz_copy_fix(const void *context, uint64_t addr)
{
	const ucontext_t *uc = context;
	uint64_t pc = (uint64_t)uc->PC, fix = by_table(pc);

	if (!fix && pc - (uint64_t)__start_bz_scope_text <
		    (uint64_t)(__stop_bz_scope_text - __start_bz_scope_text))
		fix = (uint64_t)bz_scope_back;
	/* it could not be fetched: then the rest may be gone as well */
	if (fix && addr - pc < INSTRUCTION)
		return 0;
	return fix;
}

void bz_copy_go(void *context, uint64_t fix, uint64_t addr)
{
	ucontext_t *uc = context;

	uc->PC = (long)fix;
	tell(uc, fix, addr);
}
