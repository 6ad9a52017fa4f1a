/* SPDX-License-Identifier: MIT */
/*
 * Scopes that were not left: what a jump has passed over, a function has returned
 * from, or lies on another stack. Nobody lands there.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"
#include "scope_help.h"

static jmp_buf jumps_here;
static volatile int in_a_dead_frame;
static pid_t self;

static __attribute__((noinline)) void jumps_out(void)
{
	BEZ_TRY {
		longjmp(jumps_here, 1);
	} BEZ_CATCH(lost) {
		in_a_dead_frame += lost->addr != NULL;
	}
}

/* A jump has passed over a scope: that one is gone, with its frame. */
static void jumped(void)
{
	volatile int caught = 0;

	scope_begin("2");
	BEZ_TRY {
		if (!setjmp(jumps_here))
			jumps_out();
		live_read(at + TOUCH);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + LOST * page);
		caught++;
	}
	CHECK_EQ(caught, 1);
	CHECK_EQ(in_a_dead_frame, 0);
}

/* Of a frame as large as it is, and not a byte of that is written. */
static __attribute__((noinline)) void touches_below(const unsigned char *addr)
{
	volatile unsigned char room[2048];

	__asm__ volatile("" : : "r"(room) : "memory");
	live_read(addr);
	__asm__ volatile("" : : "r"(room) : "memory");
}

static void jumped_and_deeper(void)
{
	volatile int caught = 0;

	scope_begin("2");
	BEZ_TRY {
		if (!setjmp(jumps_here))
			jumps_out();
		touches_below(at + TOUCH);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + LOST * page);
		caught++;
	}
	CHECK_EQ(caught, 1);
	CHECK_EQ(in_a_dead_frame, 0);
}

/* Out of all of them: there is none, and nobody was told (bez_scope_none()). */
static void jumped_out_of_all(void)
{
	scope_begin("2");
	if (!setjmp(jumps_here))
		jumps_out();
	touches_below(at + TOUCH);
	CHECK(0);
}

static volatile int rounds;

static __attribute__((noinline)) void jumps_or_touches(void)
{
	BEZ_TRY {
		if (++rounds < 5)
			longjmp(jumps_here, 1);
		live_read(at + TOUCH);
		CHECK(0);
	} BEZ_CATCH(lost) {
		rounds += 100;
	}
}

/* Entered again where it was jumped out of: around it is what was. */
static void entered_again(void)
{
	volatile int caught = 0;

	scope_begin("2");
	BEZ_TRY {
		setjmp(jumps_here);
		jumps_or_touches();
		CHECK_EQ(rounds, 105);
		live_read(at + TOUCH);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + LOST * page);
		caught++;
	}
	CHECK_EQ(caught, 1);
	BEZ_TRY {
		live_read(at + TOUCH);
	} BEZ_CATCH(lost) {
		caught++;
	}
	CHECK_EQ(caught, 2);
}

/* Left by return, which is not how bez_scope_enter() is to be used. */
static __attribute__((noinline)) int returns_from_one(void)
{
	struct bez_scope scope;

	if (bez_scope_enter(&scope))
		return in_a_dead_frame++;
	return 0;
}

static void returned(void)
{
	volatile int caught = 0;

	scope_begin("2");
	BEZ_TRY {
		returns_from_one();
		touches_below(at + TOUCH);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + LOST * page);
		caught++;
	}
	CHECK_EQ(caught, 1);
	CHECK_EQ(in_a_dead_frame, 0);
}

static ucontext_t thread_context, generator_context;
static volatile int in_generator, in_thread;

static void generator(void)
{
	BEZ_TRY {
		swapcontext(&generator_context, &thread_context);
		live_read(at + TOUCH);
		CHECK(0);
	} BEZ_CATCH(lost) {
		in_generator++;
	}
	setcontext(&thread_context);
}

/* A scope belongs to a stack; one that is on another does not count. */
static void on_other_stacks(void)
{
	unsigned char *stack = live_pages(16);

	scope_begin("2");
	getcontext(&generator_context);
	generator_context.uc_stack.ss_sp = stack;
	generator_context.uc_stack.ss_size = 16 * page;
	makecontext(&generator_context, generator, 0);
	BEZ_TRY {
		/* leaves with its scope inside of ours */
		swapcontext(&thread_context, &generator_context);
		touches_below(at + TOUCH);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + LOST * page);
		in_thread++;
	}
	CHECK_EQ(in_thread, 1);
	CHECK_EQ(in_generator, 0);
}

/* That stack is gone, too, and with it what was around its scope. */
static void on_no_stack(void)
{
	unsigned char *stack = live_pages(16);

	scope_begin("2");
	getcontext(&generator_context);
	generator_context.uc_stack.ss_sp = stack;
	generator_context.uc_stack.ss_size = 16 * page;
	makecontext(&generator_context, generator, 0);
	BEZ_TRY {
		swapcontext(&thread_context, &generator_context);
		CHECK_EQ(munmap(stack, 16 * page), 0);
		live_read(at + TOUCH);
	} BEZ_CATCH(lost) {
		CHECK(!lost->addr);
	}
	CHECK(0);
}

#if defined(__x86_64__)

/* Its frame ends at rbp + 16, say its tables; and rbp is @frame. */
void reads_by_frame(const unsigned char *addr, const unsigned char *frame);
__asm__(".text\n"
	".type reads_by_frame, @function\n"
	"reads_by_frame:\n"
	"	.cfi_startproc\n"
	"	push	%rbp\n"
	"	mov	%rsi, %rbp\n"
	"	.cfi_def_cfa %rbp, 16\n"
	"	.cfi_offset %rbp, -16\n"
	"	movb	(%rdi), %al\n"
	"	pop	%rbp\n"
	"	.cfi_def_cfa %rsp, 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size reads_by_frame, . - reads_by_frame\n");

/* With the stack pointer at @sp, in its own frame or below. */
void reads_as_deep(const unsigned char *addr, uint64_t sp);
__asm__(".text\n"
	".type reads_as_deep, @function\n"
	"reads_as_deep:\n"
	"	.cfi_startproc\n"
	"	push	%rbp\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbp, -16\n"
	"	mov	%rsp, %rbp\n"
	"	.cfi_def_cfa_register %rbp\n"
	"	mov	%rsi, %rsp\n"
	"	movb	(%rdi), %al\n"
	"	leave\n"
	"	.cfi_def_cfa %rsp, 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size reads_as_deep, . - reads_as_deep\n");

static volatile uint64_t depth;

static __attribute__((noinline)) void jumps_out_from_deep(void)
{
	volatile unsigned char room[4096];
	struct bez_scope scope;

	__asm__ volatile("" : : "r"(room) : "memory");
	if (bez_scope_enter(&scope)) {
		in_a_dead_frame++;
		return;
	}
	depth = scope.saved[0];
	longjmp(jumps_here, 1);
}

/* Another function has its stack just as deep as who has entered the scope had. */
static void jumped_and_as_deep(void)
{
	volatile int caught = 0;

	scope_begin("2");
	BEZ_TRY {
		if (!setjmp(jumps_here))
			jumps_out_from_deep();
		reads_as_deep(at + TOUCH, depth);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + LOST * page);
		caught++;
	}
	CHECK_EQ(caught, 1);
	CHECK_EQ(in_a_dead_frame, 0);
}

static unsigned char *upper, *lower;

static void on_lower(void)
{
	reads_by_frame(at + TOUCH, upper - 256);
	CHECK(0);
}

static void on_upper(void)
{
	BEZ_TRY {
		swapcontext(&generator_context, &thread_context);
		CHECK(0);
	} BEZ_CATCH(lost) {
		in_generator += lost->addr != NULL;
	}
	setcontext(&thread_context);
}

/* Tables lead to between two stacks, where nothing is. */
static void between_stacks(void)
{
	static ucontext_t context;

	scope_begin("2");
	lower = live_pages(12);
	upper = lower + 8 * page;
	CHECK_EQ(munmap(upper - page, page), 0);
	getcontext(&context);
	context.uc_stack.ss_sp = upper;
	context.uc_stack.ss_size = 4 * page;
	makecontext(&context, on_upper, 0);
	CHECK_EQ(swapcontext(&thread_context, &context), 0);
	getcontext(&context);
	context.uc_stack.ss_sp = lower;
	context.uc_stack.ss_size = 7 * page;
	makecontext(&context, on_lower, 0);
	/* nobody knows that it does not run on top of that */
	CHECK_EQ(swapcontext(&thread_context, &context), 0);
	CHECK_EQ(in_generator, 1);
}

#else

static void jumped_and_as_deep(void)
{
	tap_skip("frames are not followed on this machine");
}

static void between_stacks(void)
{
	tap_skip("frames are not followed on this machine");
}

#endif

#if defined(__x86_64__)

/*
 * A function in two parts, as compilers make them of what is likely and what is not;
 * not a word of its frame is written. touches_apart() has a frame of 4096 and 8
 * bytes. scope_apart() enters a scope in the one part, and touches in the other: 1.
 */
void touches_apart(const unsigned char *addr);
int scope_apart(const unsigned char *addr, struct bez_scope *scope);
__asm__(".text\n"
	".type touches_apart, @function\n"
	"touches_apart:\n"
	"	.cfi_startproc\n"
	"	sub	$4104, %rsp\n"
	"	.cfi_def_cfa_offset 4112\n"
	"	jmp	1f\n"
	"	.cfi_endproc\n"
	".size touches_apart, . - touches_apart\n"
	".section .text.unlikely, \"ax\", @progbits\n"
	"	.cfi_startproc\n"
	"	.cfi_def_cfa_offset 4112\n"
	"1:	movb	(%rdi), %al\n"
	"	add	$4104, %rsp\n"
	"	.cfi_def_cfa_offset 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".text\n"
	".type scope_apart, @function\n"
	"scope_apart:\n"
	"	.cfi_startproc\n"
	"	push	%rbx\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbx, -16\n"
	"	mov	%rdi, %rbx\n"
	"	mov	%rsi, %rdi\n"
	"	call	bez_scope_enter@plt\n"
	"	test	%eax, %eax\n"
	"	je	2f\n"
	"	pop	%rbx\n"
	"	.cfi_def_cfa_offset 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size scope_apart, . - scope_apart\n"
	".section .text.unlikely, \"ax\", @progbits\n"
	"	.cfi_startproc\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbx, -16\n"
	"2:	movb	(%rbx), %al\n"
	"	ud2\n"
	"	.cfi_endproc\n"
	".text\n");

/* Called from where a function with a scope has been jumped out of, and as large. */
static void jumped_and_apart(void)
{
	volatile int caught = 0;

	scope_begin("2");
	BEZ_TRY {
		if (!setjmp(jumps_here))
			jumps_out();
		touches_apart(at + TOUCH);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + LOST * page);
		caught++;
	}
	CHECK_EQ(caught, 1);
	CHECK_EQ(in_a_dead_frame, 0);
}

static void apart(void)
{
	struct bez_scope scope;
	volatile int outer = 0;

	scope_begin("2");
	BEZ_TRY {
		CHECK_EQ(scope_apart(at + TOUCH, &scope), 1);
		CHECK(scope.lost.addr == at + LOST * page);
	} BEZ_CATCH(lost) {
		outer = lost->addr != NULL;
	}
	CHECK_EQ(outer, 0);
}

#else

static void jumped_and_apart(void)
{
	tap_skip("frames are not followed on this machine");
}

static void apart(void)
{
	tap_skip("frames are not followed on this machine");
}

#endif

static volatile int in_main;
static stack_t handlers_stack;

static void touches_in_handler(int sig)
{
	(void)sig;
	touches_below(at + TOUCH);
	CHECK(0);
}

/* Through a signal frame, from another stack. */
static void through_handler(void)
{
	struct sigaction action = { .sa_handler = touches_in_handler,
				    .sa_flags = SA_ONSTACK };

	scope_begin("2");
	handlers_stack.ss_sp = live_pages(16);
	handlers_stack.ss_size = 16 * page;
	CHECK_EQ(sigaltstack(&handlers_stack, NULL), 0);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	BEZ_TRY {
		raise(SIGUSR1);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + LOST * page);
		in_main++;
	}
	CHECK_EQ(in_main, 1);
}

/* Not a word of the stack is written, and none of it in use below this frame. */
static inline __attribute__((always_inline)) void raises_here(void)
{
#if defined(__x86_64__)
	long nr = SYS_kill;

	__asm__ volatile("syscall" : "+a"(nr)
			 : "D"((long)self), "S"((long)SIGUSR1)
			 : "rcx", "r11", "memory");
#else
	kill(self, SIGUSR1);
#endif
}

static __attribute__((noinline)) void jumps_and_sends(void)
{
	/* at the depth that the signal finds us in */
	if (!setjmp(jumps_here))
		jumps_out();
	raises_here();
}

/* The frame of a signal reaches from the handler's stack to the interrupted one: what
 * lay between is not its own. */
static void jumped_before_handler(void)
{
	struct sigaction action = { .sa_handler = touches_in_handler,
				    .sa_flags = SA_ONSTACK };

	scope_begin("2");
	handlers_stack.ss_sp = live_pages(16);
	handlers_stack.ss_size = 16 * page;
	CHECK_EQ(sigaltstack(&handlers_stack, NULL), 0);
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	self = getpid();
	BEZ_TRY {
		jumps_and_sends();
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + LOST * page);
		in_main++;
	}
	CHECK_EQ(in_main, 1);
	CHECK_EQ(in_a_dead_frame, 0);
}

/* What a jump has passed over, and something else lies there: nobody knows what was
 * around it. The next action, and no jump. */
static void overwritten(void)
{
	void *room;

	scope_begin("2");
	BEZ_TRY {
		if (!setjmp(jumps_here))
			jumps_out();
		room = __builtin_alloca(4096);
		memset(room, 0x5a, 4096);
		/* a compiler leaves out what nobody reads */
		__asm__ volatile("" : : "r"(room) : "memory");
		live_read(at + TOUCH);
	} BEZ_CATCH(lost) {
		CHECK(!lost->addr);
	}
	CHECK(0);
}

static const struct tap_case cases[] = {
	{ .name = "a jump has passed over one", .run = jumped },
	{ .name = "a jump has passed over one, and the stack is used again",
	  .run = jumped_and_deeper },
	{ .name = "a jump has passed over all", .run = jumped_out_of_all,
	  .want_signal = SIGBUS },
	{ .name = "entered again where it was jumped out of",
	  .run = entered_again },
	{ .name = "a function has returned from one", .run = returned },
	{ .name = "on a stack that is not run on", .run = on_other_stacks },
	{ .name = "on a stack that is gone", .run = on_no_stack,
	  .want_signal = SIGBUS },
	{ .name = "a jump has passed over one, and code runs in two parts",
	  .run = jumped_and_apart },
	{ .name = "a jump has passed over one, and the stack is as deep",
	  .run = jumped_and_as_deep },
	{ .name = "a function in two parts is under way in both",
	  .run = apart },
	{ .name = "tables that lead to where nothing is",
	  .run = between_stacks },
	{ .name = "a jump has passed over one that is overwritten",
	  .run = overwritten, .want_signal = SIGBUS },
	{ .name = "out of a handler with a stack of its own",
	  .run = through_handler },
	{ .name = "a jump has passed over one, and a handler runs elsewhere",
	  .run = jumped_before_handler },
};

TAP_MAIN(cases)
