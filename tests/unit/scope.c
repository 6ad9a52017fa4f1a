/* SPDX-License-Identifier: MIT */
/* Scopes by themselves, without a fault: what has to be kept is. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "core/scope.h"
#include "core/tls.h"
#include "unit.h"

static ucontext_t here;
static struct bez_lost said = { .seq = 5, .width = 4096 };

/* As the handler does it, in a walk slot, which it has left by then. */
static struct bez_scope *find(struct bz_extent x)
{
	struct bz_mm *mm = unit_mm();
	struct bz_walk *w = unit_enter(mm);
	struct bez_scope *scope;
	struct bz_fault from = { .cause = BEZ_CAUSE_ADRERR };

	bz_core.scope_at = (int64_t)((uint64_t)&bz_scope_now -
				     bz_thread_pointer());
	scope = bz_scope_find(w, &from, x, &said);
	bz_walk_leave(mm, w, NULL);
	return scope;
}

static const struct bz_extent nothing = { 0x10000, 4096 };

static __attribute__((noinline, noreturn)) void jump(void)
{
	struct bez_scope *scope = find(nothing);

	CHECK(scope);
	getcontext(&here);
	here.uc_stack.ss_flags = SS_DISABLE;
	bz_scope_jump(scope, &here);
}

/* All registers that a function has to keep, in use over the call. */
static __attribute__((noinline)) unsigned int keeps(unsigned int a)
{
	volatile unsigned int v[12];
	unsigned int b = a * 3, c = a * 5, d = a * 7, e = a * 11, f = a * 13;
	struct bez_scope scope;
	double x = a, y = a * 2.0;
	unsigned int i;

	for (i = 0; i < 12; i++)
		v[i] = a + i;
	if (!bez_scope_enter(&scope)) {
		/* the values stay where they are only if nobody changes them */
		jump();
	}
	for (i = 0; i < 12; i++)
		if (v[i] != a + i)
			return 0;
	return b + c + d + e + f == a * 39 && x + y == a * 3.0 &&
	       scope.lost.seq == 5;
}

static void registers(void)
{
	unsigned int i;

	for (i = 1; i < 1000; i++)
		CHECKF(keeps(i), "not in turn %u", i);
	CHECK(!bz_scope_now);
}

static void nests(void)
{
	static struct bez_scope a, b, c;
	static volatile int back_a, back_b;

	if (bez_scope_enter(&a)) {
		back_a++;
		CHECK(!bz_scope_now);
		CHECK_EQ(back_b, 1);
		return;
	}
	CHECK(bz_scope_now == &a);
	if (bez_scope_enter(&b)) {
		back_b++;
		CHECK(bz_scope_now == &a);
		jump();
	}
	CHECK(bz_scope_now == &b);
	CHECK_EQ(bez_scope_enter(&c), 0);
	bez_scope_leave(&c);
	CHECK(bz_scope_now == &b);
	bez_scope_leave(&c);	/* it is over already */
	CHECK(bz_scope_now == &b);
	jump();
}

static void none(void)
{
	static struct bez_scope s;
	uint64_t tls = (uint64_t)&bz_scope_now & -4096ul;

	CHECK(!find(nothing));
	if (bez_scope_enter(&s))
		CHECK(0);
	CHECK(find(nothing) == &s);
	/* with the record, any byte of it, or the way to it, lost */
	CHECK(!find((struct bz_extent){ (uint64_t)&s & -4096ul, 4096 }));
	CHECK(!find((struct bz_extent){ ((uint64_t)(&s + 1) - 1) & -4096ul,
					4096 }));
	CHECK(!find((struct bz_extent){ tls, 4096 }));
	/* something else lies on that stack by now */
	memset(&s, 0x5a, sizeof(s));
	CHECK(!find(nothing));
	bez_scope_leave(&s);
	CHECK(bz_scope_now == &s);
	bez_scope_none();
	CHECK(!bz_scope_now);
}

static void mask(void)
{
	uint64_t usr1 = bz_sigbit(SIGUSR1), all = ~0ull, now = 0;
	struct bez_scope s;

	bz_sigmask(SIG_SETMASK, &usr1, NULL);
	if (!bez_scope_enter(&s)) {
		struct bez_scope *scope = find(nothing);

		getcontext(&here);
		here.uc_stack.ss_flags = SS_DISABLE;
		bz_sigmask(SIG_SETMASK, &all, NULL);
		bz_scope_jump(scope, &here);
	}
	bz_sigmask(SIG_BLOCK, NULL, &now);
	CHECK_EQ(now, usr1);
}

/* Jumped out of, and entered again: around it is what was. */
static void again(void)
{
	static struct bez_scope a, b;

	CHECK_EQ(bez_scope_enter(&a), 0);
	CHECK_EQ(bez_scope_enter(&b), 0);
	CHECK_EQ(bez_scope_enter(&b), 0);
	CHECK(bz_scope_now == &b);
	CHECK(b.outer == &a);
	bez_scope_leave(&b);
	CHECK(bz_scope_now == &a);
	CHECK_EQ(bez_scope_enter(&b), 0);
	/* something else lies there by now */
	b.self = NULL;
	b.outer = &b;
	CHECK_EQ(bez_scope_enter(&b), 0);
	CHECK(!b.outer);
	bez_scope_leave(&b);
	CHECK(!bz_scope_now);
}

#if defined(__x86_64__)

#define STEPS	0x100l			/* the trap flag */

static struct bez_scope stepped, around;
static uint64_t was[2];
static volatile int steps, found_old, found_new, found_mixed;

/* After each instruction, as any handler: what is found there? */
static void on_step(int sig, siginfo_t *info, void *context)
{
	const struct bez_scope *now = bz_scope_now;

	(void)sig;
	(void)info;
	(void)context;
	steps++;
	if (now != &stepped) {
		CHECK(now == &around);
		return;
	}
	if (now->self != now)
		return;
	if (now->saved[0] == was[0] && now->saved[1] == was[1])
		found_old++;
	else if (now->saved[0] != was[0] && now->saved[1] != was[1])
		found_new++;
	else
		found_mixed++;
}

static void flags(long set, long clear)
{
	long f = ((long)__builtin_ia32_readeflags_u64() | set) & ~clear;

	__builtin_ia32_writeeflags_u64((unsigned long)f);
}

static __attribute__((noinline)) void enters_below(void)
{
	volatile char room[512] = { 1 };

	CHECK(room[0]);
	flags(STEPS, 0);
	if (bez_scope_enter(&stepped))
		CHECK(0);
	flags(0, STEPS);
}

/* A handler may come anywhere while it is entered again, from elsewhere. */
static void again_by_steps(void)
{
	struct sigaction action = { .sa_sigaction = on_step,
				    .sa_flags = SA_SIGINFO };

	CHECK_EQ(sigaction(SIGTRAP, &action, NULL), 0);
	CHECK_EQ(bez_scope_enter(&around), 0);
	CHECK_EQ(bez_scope_enter(&stepped), 0);
	memcpy(was, stepped.saved, sizeof(was));
	enters_below();
	CHECKF(steps > 20, "%d steps", steps);
	CHECKF(found_old && found_new, "%d old, %d new", found_old, found_new);
	CHECK_EQ(found_mixed, 0);
	CHECK(stepped.outer == &around);
	bez_scope_none();
}

#else

static void again_by_steps(void)
{
	tap_skip("no trap flag in this processor");
}

#endif

/* ------------------------------------------------ following frames, and no trace */

static ucontext_t thread, other;
static struct bez_scope *met;
static unsigned char seen[4096];

/* As the handler does it. What the walk has left in its page is in @seen then. */
static __attribute__((noinline)) void find_from_here(void)
{
	struct bz_fault from = { .cause = BEZ_CAUSE_ADRERR, .context = &here };
	struct bz_mm *mm = unit_mm();
	struct bz_walk *w = unit_enter(mm);

	bz_core.scope_at = (int64_t)((uint64_t)&bz_scope_now -
				     bz_thread_pointer());
	getcontext(&here);
#if defined(__x86_64__)
	from.sp = (uint64_t)here.uc_mcontext.gregs[REG_RSP];
#endif
	met = bz_scope_find(w, &from, nothing, &said);
	memcpy(seen, bz_mm_page(mm, w, BZ_PAGE_SCRATCH, w->depth),
	       sizeof(seen));
	bz_walk_leave(mm, w, NULL);
}

/* A frame of more than a page. */
static __attribute__((noinline)) void find_deep(uint32_t frames)
{
	volatile unsigned char room[5000];
	uint32_t i;

	for (i = 0; i < sizeof(room); i++)
		room[i] = 0x5a;
	if (frames)
		find_deep(frames - 1);
	else
		find_from_here();
	CHECK_EQ(room[frames], 0x5a);
}

static void on_other(void)
{
	find_deep(3);
}

/* The last of the stack is less than a page. */
static void no_trace(void)
{
	size_t len = 1 << 20, i;
	struct bez_scope s;
	char *stack = mmap(NULL, len + unit_page(), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(stack != MAP_FAILED);
	/* nothing is to be read behind it */
	CHECK_EQ(mprotect(stack + len, unit_page(), PROT_NONE), 0);

	if (bez_scope_enter(&s))
		CHECK(0);
	CHECK_EQ(getcontext(&other), 0);
	other.uc_stack.ss_sp = stack;
	other.uc_stack.ss_size = len;
	other.uc_link = &thread;
	makecontext(&other, on_other, 0);
	CHECK_EQ(swapcontext(&thread, &other), 0);
	for (i = 0; i < sizeof(seen) && !seen[i]; i++)
		;
	CHECKF(i == sizeof(seen), "%d at %zu", seen[i % sizeof(seen)], i);
	bez_scope_none();
}

static const struct tap_case cases[] = {
	{ .name = "a thousand jumps keep all registers", .run = registers },
	{ .name = "one in the other", .run = nests },
	{ .name = "none where there is none any more", .run = none },
	{ .name = "the mask of the context", .run = mask },
	{ .name = "entered again", .run = again },
	{ .name = "entered again, by steps", .run = again_by_steps },
	{ .name = "what was read of a stack is wiped", .run = no_trace },
};

TAP_MAIN(cases)
