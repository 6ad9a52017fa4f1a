/* SPDX-License-Identifier: MIT */
/*
 * A SIGBUS that is sent while a fault is served, at any instruction of the
 * handler, reaches the former action once, and disturbs nothing. A tracer
 * follows one fault step by step to learn the instructions, and then puts a
 * breakpoint at each of them in turn and sends the signal there.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inside.h"
#include "live.h"

#define MOST_PLACES	8192
#define ROUNDS_MAX	(MOST_PLACES + 2)

struct variant {
	uint32_t start;			/* BEZ_START_* */
	int jumps;			/* the former action does not return */
	int fresh;			/* walk slots as if never used before */
};

/* Both processes see it. The tracer writes while the child is stopped. */
static struct shared {
	_Atomic uint32_t got;		/* by the former action, this round */
	uint32_t wrong;			/* child: bytes, all rounds */
	uint32_t outside;		/* child: sources run without a slot */
	uint32_t held;			/* child: slots, at the end */
	uint32_t done;			/* tracer */
} *shared;

/* ---------------------------------------------------------------- the child */

static sigjmp_buf back;
static int jumps;

static void former(int sig)
{
	(void)sig;
	shared->got++;
	if (jumps)
		siglongjmp(back, 1);
}

static void forget_depths(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);
	uint32_t i;

	for (i = 0; i < BZ_WALKS; i++)
		mm->walk[i].depth = 0;
}

/* The thread that is served is inside: other threads leave its slot alone. */
static int from_copy(void *dst, size_t bytes, uint64_t offset, void *copy)
{
	shared->outside += !bz_inside();
	memcpy(dst, (unsigned char *)copy + offset, bytes);
	return 0;
}

/* Two pages in turn, each lost anew; the tracer acts between two stops. */
static void lose_pages(const struct variant *v)
{
	struct sigaction action = { .sa_handler = former };
	unsigned char *at = live_pages(2), *copy = live_pages(2);
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from = bez_source_mirror(copy);
	size_t page = live_page();
	bez_region_t region;
	volatile uint32_t i;

	if (v->fresh)
		from = bez_source_callback(from_copy, copy);
	jumps = v->jumps;
	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	live_start(v->start | BEZ_START_NO_WORKER);
	policy.source = &from;
	policy.max_repeats = 4095;
	CHECK_EQ(bez_region_add(at, 2 * page, &policy, &region), 0);
	for (i = 0; i < ROUNDS_MAX && !shared->done; i++) {
		live_poison(at + i % 2 * page);
		if (v->fresh)
			forget_depths();
		raise(SIGSTOP);
		sigsetjmp(back, 1);
		shared->wrong += live_read(at + i % 2 * page) !=
				 live_byte(i % 2 * page, 0);
	}
	/* a slot that was jumped away from is found again by the next fault */
	live_poison(at);
	shared->wrong += (uint32_t)live_wrong(at, 2 * page, 0);
	shared->held = inside_slots_taken();
}

/* --------------------------------------------------------------- the tracer */

#if defined(__x86_64__)

static pid_t pid;
static uint64_t place[MOST_PLACES];
static size_t places;

extern const char __executable_start, etext;

static int next_stop(long request, int sig)
{
	int status = 0;

	CHECK_EQ(ptrace((int)request, pid, NULL, (long)sig), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFSTOPPED(status), "the child ended with %#x", status);
	return WSTOPSIG(status);
}

static uint64_t pc(void)
{
	struct user_regs_struct regs;

	CHECK_EQ(ptrace(PTRACE_GETREGS, pid, NULL, &regs), 0);
	return regs.rip;
}

/* Ours is what lies in this program, where the library is linked in. */
static void learn(uint64_t at)
{
	size_t i;

	if (at < (uint64_t)&__executable_start || at >= (uint64_t)&etext)
		return;
	for (i = 0; i < places; i++)
		if (place[i] == at)
			return;
	CHECK(places < MOST_PLACES);
	place[places++] = at;
}

/* From the signal's delivery until the load is run again. */
static void learn_places(void)
{
	uint64_t load;

	CHECK_EQ(next_stop(PTRACE_CONT, 0), SIGBUS);
	load = pc();
	CHECK_EQ(next_stop(PTRACE_SINGLESTEP, SIGBUS), SIGTRAP);
	while (pc() != load) {
		learn(pc());
		CHECK_EQ(next_stop(PTRACE_SINGLESTEP, 0), SIGTRAP);
	}
	CHECK_EQ(next_stop(PTRACE_CONT, 0), SIGSTOP);
}

/* Returns 1 if the place was come by. */
static int send_at(uint64_t at)
{
	long code = ptrace(PTRACE_PEEKTEXT, pid, (void *)at, NULL);
	struct user_regs_struct regs;
	int sig;

	shared->got = 0;
	CHECK_EQ(next_stop(PTRACE_CONT, 0), SIGBUS);
	CHECK_EQ(ptrace(PTRACE_POKETEXT, pid, (void *)at,
			(void *)((code & ~0xffl) | 0xcc)), 0);
	sig = next_stop(PTRACE_CONT, SIGBUS);
	CHECK_EQ(ptrace(PTRACE_POKETEXT, pid, (void *)at, (void *)code), 0);
	if (sig == SIGSTOP)
		return 0;
	CHECK_EQ(sig, SIGTRAP);
	CHECK_EQ(ptrace(PTRACE_GETREGS, pid, NULL, &regs), 0);
	CHECK_EQ(regs.rip, at + 1);
	regs.rip = at;
	CHECK_EQ(ptrace(PTRACE_SETREGS, pid, NULL, &regs), 0);
	CHECK_EQ(syscall(SYS_tgkill, pid, pid, SIGBUS), 0);
	sig = 0;
	do
		sig = next_stop(PTRACE_CONT, sig);
	while (sig == SIGBUS);
	CHECK_EQ(sig, SIGSTOP);
	return 1;
}

static void at_each_place(void)
{
	size_t i, came = 0;

	CHECK_EQ(waitpid(pid, NULL, 0), pid);	/* the first SIGSTOP */
	learn_places();
	for (i = 0; i < places; i++) {
		if (!send_at(place[i]))
			continue;
		came++;
		CHECKF(shared->got == 1,
		       "sent at %#llx, the former action was called %u times",
		       (unsigned long long)(place[i] -
					    (uint64_t)&__executable_start),
		       shared->got);
	}
	tap_diag("sent at %zu of %zu instructions", came, places);
	/* the last fault was not quite the first one: a few are not met again */
	CHECK(places > 300);
	CHECK(came > places * 9 / 10);
}

static void every_step(void)
{
	const struct variant *v = tap_data();
	int status = 0;

	shared = mmap(NULL, live_page(), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CHECK_EQ(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
		lose_pages(v);
		_exit(0);
	}
	at_each_place();
	shared->done = 1;
	CHECK_EQ(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFEXITED(status) && !WEXITSTATUS(status),
	       "the child ended with %#x", status);
	CHECK_EQ(shared->wrong, 0);
	CHECK_EQ(shared->outside, 0);
	CHECK_EQ(shared->held, 0);
}

#else

static void every_step(void)
{
	(void)lose_pages;
	tap_skip("breakpoints are written for x86-64 only");
}

#endif

#define VARIANT(...) &(const struct variant){ __VA_ARGS__ }

static const struct tap_case cases[] = {
	{ .name = "userfaultfd", .run = every_step, .data = VARIANT(0, 0, 0) },
	{ .name = "mremap", .run = every_step,
	  .data = VARIANT(BEZ_START_NO_UFFD, 0, 0) },
	{ .name = "userfaultfd, fresh slots", .run = every_step,
	  .data = VARIANT(0, 0, 1) },
	{ .name = "userfaultfd, former action jumps", .run = every_step,
	  .data = VARIANT(0, 1, 0) },
	{ .name = "mremap, former action jumps", .run = every_step,
	  .data = VARIANT(BEZ_START_NO_UFFD, 1, 0) },
};
TAP_MAIN(cases)
