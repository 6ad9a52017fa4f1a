/* SPDX-License-Identifier: MIT */
/*
 * The registers and stacks of other threads: a pointer that only a register has, or
 * only a stack; threads that block the signal; system calls and errno of those that
 * are asked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "hunt/hunt.h"
#include "live.h"

#define MOST	256
#define SECRET	0x5a5a5a5a5a5a5a5aull	/* no word has the address as it is */

static size_t page;
static uint64_t hidden;			/* of what is lost, ^ SECRET */
static struct bez_hunt_found found[MOST];
static struct bez_hunt_options o = BEZ_HUNT_OPTIONS_INIT;
static struct bez_hunt_result result = BEZ_HUNT_RESULT_INIT;

static void begin(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;
	unsigned char *at;

	page = live_page();
	live_start(BEZ_START_NO_EARLY_KILL);
	at = live_pages(4);
	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, 4 * page, &policy, &region), 0);
	CHECK_EQ(bez_lost_add(at + page, page), 0);
	hidden = (uint64_t)(at + page) ^ SECRET;
	o.flags = BEZ_HUNT_THREADS;
	o.signal = SIGRTMIN + 3;
	o.found = found;
	o.room = MOST;
	o.patience_ns = (uint64_t)tap_patience() * 10000000000u;
}

static atomic_int ready, tid;

static void say_ready(void)
{
	atomic_store(&tid, (int)syscall(SYS_gettid));
	atomic_store(&ready, 1);
}

static void hunt(void)
{
	while (!atomic_load(&ready))
		sched_yield();
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK(result.found <= MOST);
}

/* In the word at @at; NULL: in any register. */
static unsigned int in_word(const volatile void *at)
{
	unsigned int i, n = 0;

	for (i = 0; i < result.found; i++)
		n += found[i].at == at && found[i].value == (hidden ^ SECRET);
	return n;
}

#if defined(__x86_64__)

static atomic_int stop;

/* How many findings are in register @reg of thread @of. */
static unsigned int in_register(int of, uint32_t reg)
{
	unsigned int i, n = 0;

	for (i = 0; i < result.found; i++)
		n += found[i].tid == of && found[i].reg == reg &&
		     !found[i].at;
	return n;
}

/* The address is in one register only, until it is time to stop. */
static void *in_r13(void *arg)
{
	(void)arg;
	say_ready();
	errno = 77;
	__asm__ volatile("mov %[h], %%r13\n\t"
			 "xor %[s], %%r13\n"
			 "1: pause\n\t"
			 "cmpl $0, %[stop]\n\t"
			 "je 1b\n\t"
			 "xor %%r13d, %%r13d"
			 : : [h] "m"(hidden), [s] "r"(SECRET), [stop] "m"(stop)
			 : "r13", "cc", "memory");
	return (void *)(uintptr_t)errno;
}

static void *in_xmm9(void *arg)
{
	(void)arg;
	say_ready();
	errno = 77;
	__asm__ volatile("mov %[h], %%rax\n\t"
			 "xor %[s], %%rax\n\t"
			 "movq %%rax, %%xmm9\n\t"
			 "pslldq $8, %%xmm9\n\t"
			 "xor %%eax, %%eax\n"
			 "1: pause\n\t"
			 "cmpl $0, %[stop]\n\t"
			 "je 1b\n\t"
			 "pxor %%xmm9, %%xmm9"
			 : : [h] "m"(hidden), [s] "r"(SECRET), [stop] "m"(stop)
			 : "rax", "xmm9", "cc", "memory");
	return (void *)(uintptr_t)errno;
}

static void holds(void *(*run)(void *), uint32_t reg)
{
	pthread_t thread;
	void *errno_was;

	begin();
	CHECK_EQ(pthread_create(&thread, NULL, run, NULL), 0);
	hunt();
	CHECK_EQ(in_register(atomic_load(&tid), reg), 1);
	CHECK_EQ(in_word(NULL), 1);
	CHECK_EQ(result.threads_seen, 2);
	CHECK_EQ(result.threads_unseen, 0);
	atomic_store(&stop, 1);
	pthread_join(thread, &errno_was);
	CHECK_EQ((uintptr_t)errno_was, 77);
}

static void registers(void)
{
	holds(in_r13, REG_R13);
}

static void vectors(void)
{
	holds(in_xmm9, BEZ_HUNT_REG_VECTOR + 2 * 9 + 1);
}

/* What the caller keeps over the call. */
static void callers(void)
{
	int r;

	begin();
	__asm__ volatile("push %%r14\n\t"
			 "mov %[h], %%r14\n\t"
			 "xor %[s], %%r14\n\t"
			 "lea %[o], %%rdi\n\t"
			 "lea %[r], %%rsi\n\t"
			 "mov %%rsp, %%rbx\n\t"
			 "sub $256, %%rsp\n\t"
			 "and $-16, %%rsp\n\t"
			 "call bez_hunt\n\t"
			 "mov %%rbx, %%rsp\n\t"
			 "xor %%r14d, %%r14d\n\t"
			 "pop %%r14"
			 : "=a"(r)
			 : [h] "m"(hidden), [s] "r"(SECRET), [o] "m"(o),
			   [r] "m"(result)
			 : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9",
			   "r10", "r11", "r14", "cc", "memory");
	CHECK_EQ(r, 0);
	CHECK_EQ(in_register((int)syscall(SYS_gettid), BEZ_HUNT_REG_KEPT), 1);
	CHECK_EQ(in_word(NULL), 1);
}

#else

static void registers(void)
{
	tap_skip("which register has what is known on x86-64");
}

#define vectors registers
#define callers registers

#endif

/* -------------------------------------------------------------------- stacks */

static volatile uint64_t *_Atomic on_stack, *_Atomic on_mine;
static int pipes[2];

/* Sleeps in a system call that the question interrupts. */
static void *in_a_frame(void *arg)
{
	volatile uint64_t local[4];
	char byte = 0;
	ssize_t got;

	(void)arg;
	local[2] = hidden ^ SECRET;
	atomic_store(&on_stack, &local[2]);
	say_ready();
	errno = 77;
	got = read(pipes[0], &byte, 1);
	local[2] = 0;
	return (void *)(uintptr_t)(got == 1 && byte == 'x' && errno == 77);
}

static void stacks(void)
{
	volatile uint64_t mine = 0;
	pthread_t thread;
	void *right;

	begin();
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(pthread_create(&thread, NULL, in_a_frame, NULL), 0);
	while (!live_sleeps(atomic_load(&tid)))
		sched_yield();
	mine = hidden ^ SECRET;
	/* a compiler that saw all of it would not think that it can be found */
	atomic_store(&on_mine, &mine);
	hunt();
	CHECK_EQ(in_word(atomic_load(&on_stack)), 1);
	CHECK_EQ(in_word(atomic_load(&on_mine)), 1);
	CHECK_EQ(result.threads_seen, 2);
	mine = 0;
	CHECK_EQ(write(pipes[1], "x", 1), 1);
	pthread_join(thread, &right);
	CHECK_EQ((uintptr_t)right, 1);
}

static void *blocks(void *arg)
{
	sigset_t set;
	char byte;

	(void)arg;
	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	say_ready();
	return (void *)(uintptr_t)(read(pipes[0], &byte, 1) != 1);
}

/* Is not waited for, and has no signal afterwards. */
static void unseen(void)
{
	pthread_t thread;
	void *wrong;

	begin();
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(pthread_create(&thread, NULL, blocks, NULL), 0);
	while (!live_sleeps(atomic_load(&tid)))
		sched_yield();
	o.patience_ns = UINT64_MAX;
	hunt();
	CHECK_EQ(result.threads_seen, 1);
	CHECK_EQ(result.threads_unseen, 1);
	CHECK_EQ(write(pipes[1], "x", 1), 1);
	pthread_join(thread, &wrong);
	CHECK(!wrong);
}

static void other(int sig)
{
	(void)sig;
}

static void signals(void)
{
	begin();
	CHECK_EQ(bez_hunt(&o, &result), 0);
	/* again, by the same one */
	CHECK_EQ(bez_hunt(&o, &result), 0);
	/* sent by others it does nothing */
	CHECK_EQ(raise(o.signal), 0);
	o.signal++;
	signal(o.signal, other);
	CHECK_EQ(bez_hunt(&o, &result), -EBUSY);
	signal(o.signal, SIG_IGN);
	CHECK_EQ(bez_hunt(&o, &result), -EBUSY);
	o.signal = SIGUSR1;
	CHECK_EQ(bez_hunt(&o, &result), -EINVAL);
}

/* ---------------------------------------------------------------------- many */

#define MANY	150			/* more than are asked at once */

static atomic_uint waiting;

static void *waits(void *arg)
{
	volatile uint64_t local = hidden ^ SECRET;
	char byte;

	atomic_fetch_add(&waiting, 1);
	while (read(pipes[0], &byte, 1) < 0 && errno == EINTR)
		atomic_store((atomic_int *)arg, 1);
	local = 0;
	return (void *)(uintptr_t)local;
}

static void many(void)
{
	pthread_t thread[MANY];
	atomic_int interrupted = 0;
	unsigned int i;
	char go[MANY] = "";

	begin();
	o.found = NULL;
	o.room = 0;
	CHECK_EQ(pipe(pipes), 0);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, waits, &interrupted),
			 0);
	while (atomic_load(&waiting) < MANY)
		sched_yield();
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.threads_seen, MANY + 1);
	CHECK(result.found >= MANY);
	CHECK_EQ(write(pipes[1], go, MANY), MANY);
	for (i = 0; i < MANY; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(atomic_load(&interrupted), 0);
	CHECK_EQ(bez_hunt(&o, &result), 0);
	CHECK_EQ(result.found, 0);
}

static const struct tap_case cases[] = {
	{ .name = "a register", .run = registers },
	{ .name = "a vector register", .run = vectors },
	{ .name = "what the caller keeps", .run = callers },
	{ .name = "stacks, a system call, errno", .run = stacks },
	{ .name = "who blocks the signal", .run = unseen },
	{ .name = "whose signal it is", .run = signals },
	{ .name = "many threads", .run = many },
};

TAP_MAIN(cases)
