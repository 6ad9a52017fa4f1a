/* SPDX-License-Identifier: MIT */
#include "fault/relocate.h"

#include <string.h>
#include <ucontext.h>

#include "core/core.h"
#include "sys/sys.h"

#if defined(__x86_64__)

/*
 * The frame as the kernel wrote it (struct rt_sigframe, arch/x86; the layout
 * is ABI because sigreturn reads it):
 *
 *	frame ->  return address (the libc's restorer)	 8 bytes
 *		  struct ucontext of the kernel		 up to siginfo
 *		  siginfo				 128 bytes
 *		  (gap)
 *	fpregs -> the extended state, 64-byte aligned, its size in its
 *		  sw_reserved bytes
 */
#define RED_ZONE	128
#define FX_BYTES	512
#define FX_MAGIC_AT	464		/* struct _fpx_sw_bytes */
#define FX_MAGIC	0x46505853u	/* FP_XSTATE_MAGIC1 */

static uint64_t state_bytes(const void *fpregs)
{
	uint32_t magic, bytes;

	memcpy(&magic, (const char *)fpregs + FX_MAGIC_AT, sizeof(magic));
	memcpy(&bytes, (const char *)fpregs + FX_MAGIC_AT + 4, sizeof(bytes));
	return magic == FX_MAGIC ? bytes : FX_BYTES;
}

static int on(const stack_t *stack, uint64_t sp)
{
	uint64_t start = (uint64_t)stack->ss_sp;

	return sp > start && sp - start <= stack->ss_size;
}

/* A shadow stack remembers where calls return to, and would not forgive. The
 * instruction does nothing where there is none. */
static int has_shadow_stack(void)
{
	uint64_t ssp = 0;

	__asm__ volatile("rdsspq %0" : "+r"(ssp));
	return ssp != 0;
}

int bz_must_relocate(const siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	uint64_t gap = (uint64_t)info - (uint64_t)uc;

	/* a frame that some other handler copied or made is not the kernel's */
	if (gap > sizeof(*uc) || has_shadow_stack())
		return 0;
	return on(&uc->uc_stack, (uint64_t)uc) &&
	       !on(&uc->uc_stack, (uint64_t)uc->uc_mcontext.gregs[REG_RSP]);
}

void bz_relocate(int sig, void (*former)(int), siginfo_t *info, void *context,
		 uint64_t mask)
{
	const struct bz_sigaction *action = &bz_former_of(sig)->action;
	ucontext_t *uc = context;
	char *old = (char *)uc - 8;
	uint64_t head = (uint64_t)info + sizeof(*info) - (uint64_t)old;
	char *fp = (char *)uc->uc_mcontext.fpregs;
	uint64_t sp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP] - RED_ZONE;
	char *frame;

	if (fp) {
		uint64_t bytes = state_bytes(fp);

		sp = (sp - bytes) & ~63ull;
		memcpy((void *)sp, fp, bytes);
		fp = (char *)sp;
	}
	/* as after a call: the stack pointer is 8 below a multiple of 16 */
	sp = ((sp - head) & ~15ull) - 8;
	frame = (char *)sp;
	memcpy(frame, old, head);
	/* it returns as if it had been called by its own action */
	if (action->flags & BZ_SA_RESTORER)
		*(void **)frame = action->restorer;
	uc = (ucontext_t *)(frame + 8);
	if (fp)
		uc->uc_mcontext.fpregs = (fpregset_t)fp;
	info = (siginfo_t *)(frame + ((char *)info - old));

	bz_sigmask(SIG_SETMASK, &mask, NULL);
	__asm__ volatile("mov %0, %%rsp\n\t"
			 "xor %%eax, %%eax\n\t"
			 "cld\n\t"
			 "jmp *%4"
			 :
			 : "r"(frame), "D"((long)sig), "S"(info), "d"(uc),
			   "r"(former)
			 : "memory", "rax");
	__builtin_unreachable();
}

#else

/* Other machines' frames do not move: there the former handler runs on the
 * alternate stack. docs/design.md says so. */
int bz_must_relocate(const siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	return 0;
}

void bz_relocate(int sig, void (*former)(int), siginfo_t *info, void *context,
		 uint64_t mask)
{
	(void)sig;
	(void)former;
	(void)info;
	(void)context;
	(void)mask;
	__builtin_unreachable();
}

#endif
