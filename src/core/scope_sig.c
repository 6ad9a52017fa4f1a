/* SPDX-License-Identifier: MIT */
#include "core/scope.h"

#include <stddef.h>
#include <string.h>
#include <sys/uio.h>
#include <ucontext.h>

#include "core/core.h"
#include "core/frames.h"
#include "core/guard.h"
#include "core/keys.h"
#include "core/tls.h"

__thread struct bez_scope *volatile bz_scope_now
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* bez_scope.saved: first what the assembly keeps, which is its own. */
enum {
	SAVED_SP = 0,
	MASK = 22,			/* of signals, to go back to */
	KEYS = 23,
	STACK = 24,			/* a stack_t, three words */
	DISARMED = 27,			/* it is to be set again */
	CONTROL = 28			/* words of the floating point unit */
};

/* ------------------------------------------------------- in and out again */

/* Is it a record of ours, and not over? What of the stack is used again for
 * something else looks otherwise. */
static int is_active(const struct bez_scope *s)
{
	return s->self == s;
}

_Static_assert(offsetof(struct bez_scope, outer) == 0, "the assembly");
_Static_assert(offsetof(struct bez_scope, cleanup) == 8, "the assembly");
_Static_assert(offsetof(struct bez_scope, self) == 16, "the assembly");
_Static_assert(offsetof(struct bez_scope, saved) == 24, "the assembly");
_Static_assert(24 + 8 * CONTROL == 248, "the assembly");

#define FUNCTION(name)			\
	".globl " name "\n"		\
	".type " name ", %function\n"	\
	".balign 32\n"			\
	name ":\n"			\
	"	.cfi_startproc\n"

#define ENDS(name)			\
	"	.cfi_endproc\n"		\
	".size " name ", . - " name "\n"

/* Back from bez_scope_enter(), with 1. */
void bz_scope_back_in(struct bez_scope *scope)
	__attribute__((noreturn, visibility("hidden")));
void bz_scope_landed(struct bez_scope *scope)
	__attribute__((noreturn, visibility("hidden"), used));

#if defined(__x86_64__)

#define SP	uc_mcontext.gregs[REG_RSP]

/* From 24 on: rsp, rip, rbx, rbp, r12 to r15; 248 mxcsr, 252 the x87's control */
__asm__(".text\n"
	FUNCTION("bez_scope_enter")
	"	endbr64\n"
	"	movq	bz_scope_now@gottpoff(%rip), %rcx\n"
	"	movq	%fs:(%rcx), %rdx\n"
	"	cmpq	%rdi, %rdx\n"
	"	je	2f\n"
	/* no handler meets a record with a part of the old and one of the new */
	"1:	movq	$0, 16(%rdi)\n"
	"	movq	(%rsp), %rax\n"
	"	leaq	8(%rsp), %rsi\n"
	"	movq	%rsi, 24(%rdi)\n"
	"	movq	%rax, 32(%rdi)\n"
	"	movq	%rbx, 40(%rdi)\n"
	"	movq	%rbp, 48(%rdi)\n"
	"	movq	%r12, 56(%rdi)\n"
	"	movq	%r13, 64(%rdi)\n"
	"	movq	%r14, 72(%rdi)\n"
	"	movq	%r15, 80(%rdi)\n"
	"	movq	%rdx, (%rdi)\n"
	"	movq	$0, 8(%rdi)\n"
	"	movq	%rdi, 16(%rdi)\n"
	"	movq	%rdi, %fs:(%rcx)\n"
	"	xorl	%eax, %eax\n"
	"	ret\n"
	/* jumped out of, and entered again: what was around it, if that is known */
	"2:	cmpq	%rdi, 16(%rdi)\n"
	"	movq	(%rdi), %rdx\n"
	"	je	3f\n"
	"	xorl	%edx, %edx\n"
	"3:	movq	%rdx, %fs:(%rcx)\n"
	"	jmp	1b\n"
	ENDS("bez_scope_enter")
	".hidden bz_scope_land\n"
	FUNCTION("bz_scope_land")
	"	.cfi_undefined rip\n"
	"	movq	%rsi, %rsp\n"
	"	andq	$-16, %rsp\n"
	"	xorl	%ebp, %ebp\n"
	"	ldmxcsr	248(%rdi)\n"
	"	fldcw	252(%rdi)\n"
	"	call	bz_scope_landed\n"
	"	ud2\n"
	ENDS("bz_scope_land")
	".hidden bz_scope_back_in\n"
	FUNCTION("bz_scope_back_in")
	"	movq	40(%rdi), %rbx\n"
	"	movq	48(%rdi), %rbp\n"
	"	movq	56(%rdi), %r12\n"
	"	movq	64(%rdi), %r13\n"
	"	movq	72(%rdi), %r14\n"
	"	movq	80(%rdi), %r15\n"
	"	movq	24(%rdi), %rsp\n"
	"	movl	$1, %eax\n"
	"	jmpq	*32(%rdi)\n"
	ENDS("bz_scope_back_in"));

/* A shadow stack remembers where calls return to: no jump. The instruction does
 * nothing where there is none. */
static int may_jump(void)
{
	uint64_t ssp = 0;

	__asm__ volatile("rdsspq %0" : "+r"(ssp));
	return !ssp;
}

/*
 * The frame has all state as XSAVE writes it: in front what that is (struct
 * _fpx_sw_bytes, 464 bytes in), from 512 on which of it is not as it is at first.
 * The kernel starts a handler with keys of its own; Intel SDM, volume 1, 13.
 */
#define FX_MAGIC	0x46505853u	/* FP_XSTATE_MAGIC1 */
#define PKRU_BIT	(1u << 9)

static uint32_t keys_of(const ucontext_t *uc)
{
	const char *fp = (const char *)uc->uc_mcontext.fpregs;
	uint64_t has, in_use;
	uint32_t magic, keys;

	if (!bz_core.has_keys || !bz_core.pkru_at || !fp)
		return bz_keys_get();
	memcpy(&magic, fp + 464, sizeof(magic));
	memcpy(&has, fp + 472, sizeof(has));
	if (magic != FX_MAGIC || !(has & PKRU_BIT))
		return bz_keys_get();
	memcpy(&in_use, fp + 512, sizeof(in_use));
	memcpy(&keys, fp + bz_core.pkru_at, sizeof(keys));
	return in_use & PKRU_BIT ? keys : BZ_KEYS_OPEN;
}

/* Of the interrupted code. The kernel starts a handler with words of its own,
 * and an empty stack of the x87. */
static uint64_t control_of(const ucontext_t *uc)
{
	const char *fp = (const char *)uc->uc_mcontext.fpregs;
	uint32_t mxcsr, x87 = 0;

	if (fp) {
		memcpy(&mxcsr, fp + 24, sizeof(mxcsr));
		memcpy(&x87, fp, sizeof(uint16_t));
	} else {
		__asm__ volatile("stmxcsr %0\n\tfnstcw %1"
				 : "=m"(mxcsr), "=m"(x87));
	}
	return (uint64_t)x87 << 32 | mxcsr;
}

#elif defined(__aarch64__)

#define SP	uc_mcontext.sp

/* From 24 on: sp, x30, x19 to x29; 128 d8 to d15. The kernel leaves fpcr alone. */
__asm__(".text\n"
	FUNCTION("bez_scope_enter")
	"	hint	#34\n"		/* bti c */
	"	mrs	x2, tpidr_el0\n"
	"	adrp	x3, :gottprel:bz_scope_now\n"
	"	ldr	x3, [x3, #:gottprel_lo12:bz_scope_now]\n"
	"	ldr	x4, [x2, x3]\n"
	"	cmp	x4, x0\n"
	"	b.ne	1f\n"
	/* jumped out of, and entered again: what was around it, if that is known */
	"	ldr	x5, [x0]\n"
	"	ldr	x4, [x0, #16]\n"
	"	cmp	x4, x0\n"
	"	csel	x4, x5, xzr, eq\n"
	"	str	x4, [x2, x3]\n"
	/* no handler meets a record with a part of the old and one of the new */
	"1:	str	xzr, [x0, #16]\n"
	"	mov	x1, sp\n"
	"	stp	x1, x30, [x0, #24]\n"
	"	stp	x19, x20, [x0, #40]\n"
	"	stp	x21, x22, [x0, #56]\n"
	"	stp	x23, x24, [x0, #72]\n"
	"	stp	x25, x26, [x0, #88]\n"
	"	stp	x27, x28, [x0, #104]\n"
	"	str	x29, [x0, #120]\n"
	"	stp	d8, d9, [x0, #128]\n"
	"	stp	d10, d11, [x0, #144]\n"
	"	stp	d12, d13, [x0, #160]\n"
	"	stp	d14, d15, [x0, #176]\n"
	"	str	x4, [x0]\n"
	"	stp	xzr, x0, [x0, #8]\n"
	"	str	x0, [x2, x3]\n"
	"	mov	w0, #0\n"
	"	ret\n"
	ENDS("bez_scope_enter")
	".hidden bz_scope_land\n"
	FUNCTION("bz_scope_land")
	"	.cfi_undefined x30\n"
	"	and	x1, x1, #-16\n"
	"	mov	sp, x1\n"
	"	mov	x29, #0\n"
	"	bl	bz_scope_landed\n"
	"	brk	#0\n"
	ENDS("bz_scope_land")
	".hidden bz_scope_back_in\n"
	FUNCTION("bz_scope_back_in")
	"	ldp	x1, x30, [x0, #24]\n"
	"	mov	sp, x1\n"
	"	ldp	x19, x20, [x0, #40]\n"
	"	ldp	x21, x22, [x0, #56]\n"
	"	ldp	x23, x24, [x0, #72]\n"
	"	ldp	x25, x26, [x0, #88]\n"
	"	ldp	x27, x28, [x0, #104]\n"
	"	ldr	x29, [x0, #120]\n"
	"	ldp	d8, d9, [x0, #128]\n"
	"	ldp	d10, d11, [x0, #144]\n"
	"	ldp	d12, d13, [x0, #160]\n"
	"	ldp	d14, d15, [x0, #176]\n"
	"	mov	w0, #1\n"
	"	ret\n"
	ENDS("bz_scope_back_in"));

static int may_jump(void)
{
	return 1;
}

static uint32_t keys_of(const ucontext_t *uc)
{
	(void)uc;
	return 0;
}

static uint64_t control_of(const ucontext_t *uc)
{
	(void)uc;
	return 0;
}

#endif

#define PASSED_OVER_MAX	256u

/* What tells a record from others, and what there is to know of it. */
struct head {
	struct bez_scope *outer;
	struct bez_scope_cleanup *cleanup;
	struct bez_scope *self;
	uint64_t saved[8];
};

_Static_assert(offsetof(struct head, saved) == offsetof(struct bez_scope, saved),
	       "as it begins");

/* By the kernel, as the stack may be gone with all that was on it. 1, or 0: it is
 * no scope, or not any more. */
static int read_far(const struct bez_scope *s, struct head *ret_head)
{
	struct iovec here = { ret_head, sizeof(*ret_head) };
	struct iovec there = { (void *)s, sizeof(*ret_head) };
	long r = bz_sys(SYS_process_vm_readv, bz_sys0(SYS_getpid), (long)&here,
			1, (long)&there, 1, 0);

	/* the kernel has none, or a filter forbids it */
	if (r < 0 && r != -EFAULT)
		memcpy(ret_head, s, sizeof(*ret_head));
	else if (r != (long)sizeof(*ret_head))
		return 0;
	return ret_head->self == s;
}

/*
 * Is it over with one further out that was left? Then one of those around it is
 * none any more, or is what the thread is in now. What is within is not looked at.
 */
static int is_over(const struct bez_scope *s, const struct bez_scope *now)
{
	const struct bez_scope *outer = s->outer;
	struct head head;
	uint32_t i;

	for (i = 0; outer && i < PASSED_OVER_MAX; i++) {
		if (outer == now || !read_far(outer, &head))
			return 1;
		outer = head.outer;
	}
	return !now;
}

/* Apart, so that what leaves the innermost needs no frame. */
static __attribute__((noinline)) void leave_another(struct bez_scope *scope)
{
	if (!is_over(scope, bz_scope_now))
		bz_scope_now = scope->outer;
	scope->self = NULL;
}

void bez_scope_leave(struct bez_scope *scope)
{
	if (!is_active(scope))
		return;
	if (bz_scope_now != scope) {
		leave_another(scope);
		return;
	}
	bz_scope_now = scope->outer;
	scope->self = NULL;
}

void bez_scope_none(void)
{
	bz_scope_now = NULL;
}

/* ------------------------------------------------------------------ cleanup */

int bez_scope_cleanup(struct bez_scope_cleanup *cleanup, void (*fn)(void *arg),
		      void *arg)
{
	struct bez_scope *now = bz_scope_now;

	if (!now || !cleanup || !fn)
		return -EINVAL;
	cleanup->next = now->cleanup;
	cleanup->fn = fn;
	cleanup->arg = arg;
	/* whole before it is found, by this thread's own handler */
	atomic_signal_fence(memory_order_release);
	now->cleanup = cleanup;
	return 0;
}

int bez_scope_cleanup_done(struct bez_scope_cleanup *cleanup)
{
	struct bez_scope *now = bz_scope_now;
	struct bez_scope_cleanup *c = now ? now->cleanup : NULL;

	while (c && c != cleanup)
		c = c->next;
	if (!c)
		return -ENOENT;
	now->cleanup = c->next;
	atomic_signal_fence(memory_order_seq_cst);
	return 0;
}

/* ------------------------------------------------------------- out of a fault */

struct filling {
	struct bz_walk *walk;
	struct bez_scope *scope;
	struct head head;		/* of that */
	struct bz_extent x;
	const struct bz_fault *fault;
	const struct bez_lost *lost;
};

static int is_on_alt(const struct bz_fault *fault, uint64_t at)
{
	return at - fault->alt < fault->alt_len;
}

/*
 * Left by a jump, or by the end of a thread: below the stack of the code that runs
 * now nothing lives. On another stack than that there is no telling; but the
 * alternate one is free if the code is not on it.
 */
static int is_dead(const struct bz_fault *fault, const struct bez_scope *s)
{
	uint64_t at = (uint64_t)s;

	if (!fault->sp)
		return 0;
	if (is_on_alt(fault, at) != is_on_alt(fault, fault->sp))
		return is_on_alt(fault, at);
	return at < fault->sp;
}

static int is_in(struct bz_extent x, uint64_t at, uint64_t bytes)
{
	return at < x.start + x.width && x.start < at + bytes;
}

/* Where it is not in the page that the code's own stack ends in, its stack may be
 * gone. 1, or 0. */
static int read_head(struct filling *f)
{
	uint64_t at = (uint64_t)f->scope, sp = f->fault->sp;

	if (at < sp || at + sizeof(f->head) > (sp & -bz_core.page) + bz_core.page ||
	    is_in(f->x, at, sizeof(f->head)))
		return read_far(f->scope, &f->head);
	memcpy(&f->head, f->scope, sizeof(f->head));
	return f->head.self == f->scope;
}

static int fill(void *arg)
{
	struct filling *f = arg;
	uint32_t i;

	for (i = 0; f->scope; f->scope = f->head.outer, i++) {
		/* a circle, of such as were left and entered anew */
		if (!read_head(f) || i == PASSED_OVER_MAX)
			return -ENOENT;
		if (!is_dead(f->fault, f->scope) &&
		    bz_frames_way(f->walk, f->fault, f->x,
				  f->head.saved) != BZ_WAY_DEAD)
			break;
	}
	if (!f->scope)
		return -ENOENT;
	f->scope->lost = *f->lost;
	return 0;
}

struct bez_scope *bz_scope_find(struct bz_walk *w, const struct bz_fault *fault,
				struct bz_extent x, const struct bez_lost *lost)
{
	uint64_t at = bz_thread_pointer() + (uint64_t)bz_core.scope_at;
	struct filling f = { .walk = w, .x = x, .fault = fault, .lost = lost };

	if (is_in(x, at, sizeof(f.scope)) || !may_jump())
		return NULL;
	f.scope = *(struct bez_scope *volatile *)at;
	/* the record may be lost as well, in another page */
	if (!f.scope || is_in(x, (uint64_t)f.scope, sizeof(*f.scope)) ||
	    bz_guarded(w, fill, &f))
		return NULL;
	return f.scope;
}

/* Below the frames of who has entered it, or of who is left: those have the
 * records of the cleanups. */
#define CLEAR	256u			/* a red zone, and more */

void bz_scope_jump(struct bez_scope *scope, const void *context)
{
	const ucontext_t *uc = context;

	memcpy(&scope->saved[MASK], &uc->uc_sigmask, sizeof(uint64_t));
	scope->saved[KEYS] = keys_of(uc);
	scope->saved[CONTROL] = control_of(uc);
	/* SS_AUTODISARM (4.7): until sigreturn it is none */
	scope->saved[DISARMED] = ((uint32_t)uc->uc_stack.ss_flags & SS_AUTODISARM) != 0;
	memcpy(&scope->saved[STACK], &uc->uc_stack, sizeof(stack_t));
	/* what is lost on the way from here is the next one's */
	bez_scope_leave(scope);
	bz_scope_land(scope, (scope->cleanup ? (uint64_t)uc->SP :
				       scope->saved[SAVED_SP]) - CLEAR);
}

void bz_scope_landed(struct bez_scope *scope)
{
	uint64_t mask = scope->saved[MASK];

	if (scope->saved[DISARMED])
		bz_sys(SYS_sigaltstack, (long)&scope->saved[STACK], 0, 0, 0, 0,
		       0);
	bz_keys_set((uint32_t)scope->saved[KEYS]);
	bz_sigmask(SIG_SETMASK, &mask, NULL);
	while (scope->cleanup) {
		struct bez_scope_cleanup *c = scope->cleanup;

		scope->cleanup = c->next;
		c->fn(c->arg);
	}
	bz_scope_back_in(scope);
}
