/* SPDX-License-Identifier: MIT */
/*
 * A signal handler may return to wherever it likes: to the instruction, with its registers
 * and single steps. The signal that comes next (a fault's, or the step's) returns to where
 * the first one came from.
 */
#include "cpu.h"

#include <asm/prctl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "tap.h"

#define STEPS		0x302		/* flags: TF, and interrupts */
#define CS_32		0x23		/* Linux' own: asm/segment.h */
#define DATA		0x2b
#define TRAP_STEP	1
#define TRAP_BREAK	3
#define TRAP_PAGE	14
#define FETCH		16		/* of its error code */
#define FP_MOST		16384
#define STACK		(256 << 10)

/* SDM 2A 2.1.5: their numbers */
static const int gregs[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static const struct bzv_standing *standing;
static gregset_t before;
static char fp[FP_MOST];
static uint32_t fp_bytes;
static struct {
	int signal;
	greg_t trap, error, cr2, rip;
} got;

/* Layout of the frame: arch/x86/include/uapi/asm/sigcontext.h, struct _fpx_sw_bytes. */
static void save_fp(const ucontext_t *c)
{
	memcpy(&fp_bytes, (const char *)c->uc_mcontext.fpregs + 464 + 4,
	       sizeof(fp_bytes));
	CHECK(fp_bytes <= FP_MOST);
	memcpy(fp, c->uc_mcontext.fpregs, fp_bytes);
}

static void enter(ucontext_t *c)
{
	greg_t *g = c->uc_mcontext.gregs;
	int i;

	memcpy(before, g, sizeof(before));
	save_fp(c);
	for (i = 0; i < 16; i++)
		g[gregs[i]] = (greg_t)standing->gpr[i];
	g[REG_RIP] = (greg_t)standing->rip;
	g[REG_EFL] = STEPS;
	if (standing->bits == 32)
		g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | CS_32;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;
	const greg_t *g = c->uc_mcontext.gregs;

	(void)info;
	if (sig == SIGUSR1) {
		enter(c);
		return;
	}
	got.signal = sig;
	got.trap = g[REG_TRAPNO];
	got.error = g[REG_ERR];
	got.cr2 = g[REG_CR2];
	got.rip = g[REG_RIP];
	memcpy(c->uc_mcontext.gregs, before, sizeof(before));
	memcpy(c->uc_mcontext.fpregs, fp, fp_bytes);
}

/* Else what has a mask touches nothing. */
__attribute__((target("avx512bw")))
static void open_masks(void)
{
	__asm__ volatile("kxnorq %%k0, %%k0, %%k1\n\tkmovq %%k1, %%k2\n\t"
			 "kmovq %%k1, %%k3\n\tkmovq %%k1, %%k4\n\t"
			 "kmovq %%k1, %%k5\n\tkmovq %%k1, %%k6\n\t"
			 "kmovq %%k1, %%k7" ::: "memory");
}

void cpu_begin(void)
{
	static const int all[] = { SIGUSR1, SIGSEGV, SIGTRAP, SIGILL, SIGFPE,
				   SIGBUS, SIGSYS };
	struct sigaction action = { .sa_sigaction = on_signal,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK |
						SA_NODEFER };
	stack_t stack = { .ss_size = STACK };
	uint32_t data = DATA;
	size_t i;

	stack.ss_sp = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(stack.ss_sp != MAP_FAILED);
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		CHECK_EQ(sigaction(all[i], &action, NULL), 0);
	/* of no use but to code of 32 bits */
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" :: "r"(data));
	if (__builtin_cpu_supports("avx512bw"))
		open_masks();
}

enum cpu_end cpu_run(const struct bzv_standing *at, uint64_t *ret_address)
{
	standing = at;
	syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), SIGUSR1);
	*ret_address = (uint64_t)got.cr2;
	if (got.signal == SIGSEGV && got.trap == TRAP_PAGE &&
	    !(got.error & FETCH) && (uint64_t)got.rip == at->rip)
		return CPU_PAGE_FAULT;
	return got.signal == SIGTRAP && (got.trap == TRAP_STEP ||
					 got.trap == TRAP_BREAK) ?
	       CPU_DONE : CPU_OTHER;
}
