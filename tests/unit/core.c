/* SPDX-License-Identifier: MIT */
/* Guards, the gate between fork and placements, threads' stacks, start. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/gate.h"
#include "core/guard.h"
#include "unit.h"

static struct bz_mm *mm;

/* ------------------------------------------------------------------ guards */

static struct bz_walk *w;
static int trail[16], steps;

static uint64_t mask_now(void)
{
	uint64_t mask = 0;

	CHECK_EQ(bz_sigmask(SIG_BLOCK, NULL, &mask), 0);
	return mask;
}

/* What is left of @mask when it is set: not all signals can be blocked, and an
 * emulator keeps some for itself. */
static uint64_t when_set(uint64_t mask)
{
	uint64_t was = 0, now;

	CHECK_EQ(bz_sigmask(SIG_SETMASK, &mask, &was), 0);
	now = mask_now();
	CHECK_EQ(bz_sigmask(SIG_SETMASK, &was, NULL), 0);
	return now;
}

static int quiet(void *arg)
{
	CHECK(w->guard);
	return *(int *)arg;
}

/* As from a fault three levels further in, with claims on the way, in code
 * that had set a mask of its own. */
static int jumps(void *arg)
{
	bz_sigmask(SIG_SETMASK, arg, NULL);
	w->depth = 3;
	atomic_store(&w->claim[1], 0x2002);
	atomic_store(&w->claim[2], 0x3002);
	atomic_store(&w->placing, 1);
	bz_guard_jump(w);
}

static int nests(void *arg)
{
	uint64_t mask = bz_sigbit(SIGUSR2);

	(void)arg;
	trail[steps++] = 1;
	w->depth = 2;
	CHECK_EQ(bz_guarded(w, jumps, &mask), BZ_GUARD_LOST);
	/* inside a handler the mask is the handler's */
	CHECK_EQ(mask_now(), when_set(bz_handler_mask()));
	CHECK_EQ(w->depth, 2);
	trail[steps++] = 2;
	/* the outer one is in place again, and works */
	mask = bz_sigbit(SIGUSR1);
	jumps(&mask);
	return 0;
}

static void guards(void)
{
	int said = -EIO, i;

	mm = unit_mm();
	w = unit_enter(mm);
	CHECK_EQ(bz_guarded(w, quiet, &said), -EIO);
	CHECK(!w->guard);
	for (i = 0; i < 1000; i++) {
		steps = 0;
		atomic_store(&w->claim[0], 0x1002);
		atomic_store(&w->mark, 5);
		w->mask = bz_sigbit(SIGWINCH);
		CHECK_EQ(bz_guarded(w, nests, NULL), BZ_GUARD_LOST);
		CHECK(steps == 2 && trail[0] == 1 && trail[1] == 2);
		CHECK(!w->guard);
		/* the level of the guard keeps what it holds, others do not */
		CHECK_EQ(w->depth, 1);
		CHECK_EQ(w->claim[0], 0x1002);
		CHECK_EQ(w->mark, 5);
		CHECK(!w->claim[1] && !w->claim[2] && !w->placing);
		/* and the mask that the outermost code had */
		CHECK_EQ(mask_now(), bz_sigbit(SIGWINCH));
	}
}

/* -------------------------------------------------------------------- gate */

#define PLACERS	3
#define FORKS	400

static _Atomic uint32_t placing, closed, broken, stop;
static _Atomic uint64_t placed;

static void *placer(void *arg)
{
	struct bz_walk *mine = bz_walk_enter(mm, (uint32_t)bz_gettid(), NULL, 0);

	(void)arg;
	while (!atomic_load(&stop)) {
		if (bz_gate_enter(mm, mine))
			continue;	/* out of patience: the other way */
		atomic_fetch_add(&placing, 1);
		if (atomic_load(&closed))
			atomic_fetch_add(&broken, 1);
		atomic_fetch_sub(&placing, 1);
		bz_walk_placed(mine);
		atomic_fetch_add(&placed, 1);
	}
	bz_walk_leave(mm, mine, NULL);
	return NULL;
}

/* No fork while a page is being placed, and the other way round. */
static void gate(void)
{
	pthread_t t[PLACERS];
	uint32_t i;

	mm = unit_mm();
	unit_patience(50);
	for (i = 0; i < PLACERS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, placer, NULL), 0);
	for (i = 0; i < FORKS; i++) {
		uint64_t before = atomic_load(&placed);

		bz_gate_close(mm);
		atomic_store(&closed, 1);
		if (atomic_load(&placing))
			atomic_fetch_add(&broken, 1);
		sched_yield();
		atomic_store(&closed, 0);
		bz_gate_open(mm);
		while (i % 16 == 0 && atomic_load(&placed) == before)
			sched_yield();
	}
	atomic_store(&stop, 1);
	for (i = 0; i < PLACERS; i++)
		pthread_join(t[i], NULL);
	tap_diag("%llu placements", (unsigned long long)placed);
	CHECK_EQ(broken, 0);
	CHECK(placed > FORKS / 16);
	for (i = 0; i < BZ_WALKS; i++)
		CHECK(!mm->walk[i].waiters && !mm->walk[i].placing);
}

/* The forking thread's own placements pass; others lose patience at last. */
static void gate_own(void)
{
	struct double_rule futex = { .nr = SYS_futex, .err = ETIMEDOUT };
	struct bz_walk *other;

	mm = unit_mm();
	w = unit_enter(mm);
	other = bz_walk_enter(mm, 1, NULL, 0);
	bz_gate_close(mm);
	CHECK_EQ(bz_gate_enter(mm, w), 0);
	CHECK(w->placing);
	/* which do not keep a second fork of ours waiting */
	bz_gate_close(mm);
	bz_walk_placed(w);
	double_clock(100000000);
	double_rule(&futex);
	double_watch();
	CHECK_EQ(bz_gate_enter(mm, other), -ETIMEDOUT);
	CHECK(double_count(SYS_futex, FUTEX_WAIT_PRIVATE) >= 1);
	double_reset();
	CHECK(!other->placing);
	bz_gate_open(mm);
	CHECK_EQ(bz_gate_enter(mm, other), 0);
}

/* Who died while it placed a page holds up no fork for ever. */
static void gate_dead(void)
{
	struct double_rule futex = { .nr = SYS_futex, .err = ETIMEDOUT };
	struct bz_walk *dead;

	mm = unit_mm();
	unit_patience(30);
	dead = bz_walk_enter(mm, unit_dead(), NULL, 0);
	CHECK_EQ(bz_gate_enter(mm, dead), 0);
	double_clock(100000000);
	double_rule(&futex);
	double_watch();
	bz_gate_close(mm);
	double_reset();
	CHECK(!dead->placing && !dead->owner && !dead->waiters);
}

/* ----------------------------------------------------------------- threads */

static int pipes[2];

static void *attached(void *arg)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ);
	stack_t before, now;
	volatile char *sp;

	(void)arg;
	CHECK_EQ(sigaltstack(NULL, &before), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	/* a frame for each fault in a fault, and room for a callback */
	CHECK(now.ss_size >= (BZ_DEPTH + 2) * frame + 32768);
	sp = now.ss_sp;
	sp[0] = sp[now.ss_size - 1] = 1;
	/* below it there is nothing to overflow into */
	CHECK_EQ(write(pipes[1], (char *)sp, 1), 1);
	CHECK_EQ(write(pipes[1], (char *)sp - 1, 1), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK(!(now.ss_flags & SS_DISABLE));
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK_EQ(now.ss_flags & SS_DISABLE, before.ss_flags & SS_DISABLE);
	CHECK_EQ(bez_thread_detach(), -EINVAL);
	/* attached again, it is detached at its end */
	CHECK_EQ(bez_thread_attach(), 0);
	return NULL;
}

static uint32_t threads(void)
{
	struct bez_status status = { .size = sizeof(status) };

	CHECK_EQ(bez_status(&status), 0);
	return status.threads;
}

static void start(uint32_t flags)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = flags | BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL;
	CHECK_EQ(bez_start(&options), 0);
	mm = atomic_load(&bz_core.mm);
}

static void stacks(void)
{
	uint32_t i, maps = 0;
	pthread_t t;

	CHECK_EQ(bez_thread_attach(), -ESRCH);
	CHECK_EQ(bez_thread_detach(), -EINVAL);
#ifdef __SANITIZE_THREAD__
	tap_skip("ThreadSanitizer keeps mappings of threads that ended");
#endif
	CHECK_EQ(pipe(pipes), 0);
	start(BEZ_START_NO_UFFD);
	CHECK_EQ(threads(), 1);
	for (i = 0; i < 20; i++) {
		CHECK_EQ(pthread_create(&t, NULL, attached, NULL), 0);
		CHECK_EQ(pthread_join(t, NULL), 0);
		CHECK_EQ(threads(), 1);
		if (i == 2)
			maps = unit_maps();
		/* each would leave two behind; AddressSanitizer has its own */
		CHECK(i < 2 || unit_maps() <= maps + 4);
	}
}

/* A thread with a stack that is large enough keeps it; one whose stack is too
 * small gets it back afterwards. */
static void own_stack(void)
{
	static char large[1 << 20], small[16384];
	stack_t mine = { .ss_sp = large, .ss_size = sizeof(large) }, now;

	CHECK_EQ(sigaltstack(&mine, NULL), 0);
	start(BEZ_START_NO_UFFD);
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK(now.ss_sp == large);
	CHECK_EQ(bez_stop(), 0);
	mine.ss_sp = small;
	mine.ss_size = sizeof(small);
	CHECK_EQ(sigaltstack(&mine, NULL), 0);
	start(BEZ_START_NO_UFFD);
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK(now.ss_sp != small);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(sigaltstack(NULL, &now), 0);
	CHECK(now.ss_sp == small && now.ss_size == sizeof(small));
}

/* ---------------------------------------------------------- start and stop */

static void options(void)
{
	struct bez_options o = BEZ_OPTIONS_INIT;
	uint32_t i;

	o.size = 3;
	CHECK_EQ(bez_start(&o), -EINVAL);
	for (i = 5; i < 32; i++) {
		o = (struct bez_options)BEZ_OPTIONS_INIT;
		o.flags = 1u << i;
		CHECK_EQ(bez_start(&o), -EINVAL);
	}
	o = (struct bez_options)BEZ_OPTIONS_INIT;
	o.reserved = 1;
	CHECK_EQ(bez_start(&o), -EINVAL);
	o = (struct bez_options)BEZ_OPTIONS_INIT;
	o.reserved2 = 1;
	CHECK_EQ(bez_start(&o), -EINVAL);
	CHECK(!atomic_load(&bz_core.mm));
	CHECK_EQ(bez_stop(), -ESRCH);
}

static void starts(void)
{
	struct bez_status s = { .size = sizeof(s) };
	struct sigaction before, now;
	uint32_t i, fds = 0;

	CHECK_EQ(sigaction(SIGBUS, NULL, &before), 0);
	for (i = 0; i < 5; i++) {
		CHECK_EQ(bez_status(&s), 0);
		CHECK(!s.started && !s.installed && !s.threads);
		start(0);
		CHECK_EQ(bez_start(NULL), -EALREADY);
		CHECK_EQ(bez_status(&s), 0);
		CHECK(s.started == 1 && s.installed == 1 && s.threads == 1);
		CHECK(s.placement);
		CHECK_EQ(bez_stop(), 0);
		CHECK_EQ(sigaction(SIGBUS, NULL, &now), 0);
		CHECK(now.sa_handler == before.sa_handler);
		if (!i)
			fds = unit_fds();
		CHECK_EQ(unit_fds(), fds);
	}
	/* not over somebody else's handler */
	start(0);
	now.sa_handler = SIG_IGN;
	CHECK_EQ(sigaction(SIGBUS, &now, NULL), 0);
	CHECK_EQ(bez_stop(), -EBUSY);
	CHECK_EQ(bez_status(&s), 0);
	CHECK(s.started && !s.installed);
}

static const struct tap_case cases[] = {
	{ .name = "guards", .run = guards },
	{ .name = "fork and placements keep apart", .run = gate },
	{ .name = "the gate's own thread, and patience", .run = gate_own },
	{ .name = "the gate and a dead thread", .run = gate_dead },
	{ .name = "stacks of threads", .run = stacks },
	{ .name = "a stack of its own", .run = own_stack },
	{ .name = "options", .run = options },
	{ .name = "start and stop", .run = starts },
};
TAP_MAIN(cases)
