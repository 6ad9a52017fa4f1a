/* SPDX-License-Identifier: MIT */
/*
 * The former action must not notice that somebody stands before it. The same
 * probe runs twice, in two children of one parent, without and with bezoar,
 * and every call of its handler writes down what it sees: all of that, and the
 * end of the child, must be alike. For each combination of flags, so that no
 * expectation of ours is in between. With the door the same holds for SIGSEGV.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "chain_help.h"

#define ALT_BYTES	(256 << 10)
#define CALLS		8

enum mode {
	FAULTS,		/* two faults, one after the other */
	POISON,		/* the same with lost pages that are in no region */
	UNSAVED,	/* in regions, with and without a source that works */
	NESTED,		/* the handler raises the signal the first time */
	SENT,		/* sent twice, no fault */
	MODES
};

static const char *const mode_names[] = { "faults", "foreign poison",
					  "lost, not saved", "nested", "sent" };

/* What a call saw. Bytes, as they are compared so. */
struct seen {
	int64_t sig, depth, on_alt, alt_flags, misaligned;
	uint64_t mask, context_mask, stack_at, stack_bytes, vector;
	unsigned char info[CHAIN_INFO_BYTES];
	unsigned char regs[256];
};

struct report {
	int status;
	uint32_t calls;
	uint32_t went_on;		/* how many signals it outlived */
	uint64_t mask_after;
	struct seen seen[CALLS];
};

struct probe {
	char name[80];
	int sig;
	int flags;
	int with_mask;
	enum mode mode;
};

static struct report *report;
static const struct probe *probe;
static unsigned char *alt;
static unsigned char *target;		/* what the code touches now */
static int depth;

#if defined(__x86_64__)
static int of_a_load(void)
{
	return probe->mode != NESTED && probe->mode != SENT;
}
#endif

static void see_context(struct seen *s, const ucontext_t *uc)
{
	memcpy(&s->context_mask, &uc->uc_sigmask, sizeof(s->context_mask));
	s->stack_at = (uint64_t)uc->uc_stack.ss_sp;
	s->stack_bytes = uc->uc_stack.ss_size;
#if defined(__x86_64__)
	_Static_assert(sizeof(uc->uc_mcontext.gregs) <= sizeof(s->regs), "");
	/* those of a fault are known; the libc's, for sent ones, may be not */
	if (of_a_load())
		memcpy(s->regs, uc->uc_mcontext.gregs,
		       sizeof(uc->uc_mcontext.gregs));
	memcpy(&s->vector, uc->uc_mcontext.fpregs->_xmm[15].element,
	       sizeof(s->vector));
	if (!of_a_load())
		s->vector = 0;
#endif
}

static void see_info(struct seen *s, const siginfo_t *info)
{
	siginfo_t copy = *info;

	if (copy.si_code <= 0)
		copy.si_pid = copy.si_pid == getpid();
	memcpy(s->info, &copy, sizeof(s->info));
}

static void former(int sig, siginfo_t *info, void *context)
{
	struct seen *s = &report->seen[report->calls];
	void *frame = __builtin_frame_address(0);
	stack_t now;

	if (++report->calls >= CALLS)
		_exit(96);
	s->sig = sig;
	s->depth = ++depth;
	s->mask = chain_mask();
	s->on_alt = (unsigned char *)frame >= alt &&
		    (unsigned char *)frame < alt + ALT_BYTES;
	s->misaligned = (uint64_t)frame & 15;
	sigaltstack(NULL, &now);
	s->alt_flags = now.ss_flags;
	/* without SA_SIGINFO the kernel need not fill the siginfo in */
	if (probe->flags & SA_SIGINFO)
		see_info(s, info);
	see_context(s, context);
	if (probe->mode == NESTED && report->calls == 1)
		raise(probe->sig);
	if (target)
		chain_mend(target);
	depth--;
}

static void install(void)
{
	struct sigaction action = { .sa_sigaction = former,
				    .sa_flags = probe->flags };
	stack_t stack = { .ss_sp = alt, .ss_size = ALT_BYTES };

	if (probe->with_mask) {
		sigaddset(&action.sa_mask, SIGUSR2);
		sigaddset(&action.sa_mask, SIGSEGV);
		sigaddset(&action.sa_mask, SIGRTMIN + 3);
	}
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	CHECK_EQ(sigaction(probe->sig, &action, NULL), 0);
}

static void once_more(unsigned char *page)
{
	/* not its first byte: with real poison that may be an alias */
	target = page ? page + 100 : NULL;
	if (page)
		chain_load(target);
	else
		raise(probe->sig);
	report->went_on++;
}

static int fails(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	memset(dst, 1, len);
	return -1;
}

static void run(unsigned char **pages, int with)
{
	struct bez_source failing = bez_source_callback(fails, NULL);
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	install();
	if (with)
		live_start((probe->mode == UNSAVED ? BEZ_START_NO_EARLY_KILL :
						     0) |
			   (probe->sig == SIGSEGV ? BEZ_START_SEGV_DOOR : 0));
	if (with && probe->mode == UNSAVED) {
		live_region(pages[0], live_page(), NULL, "no source");
		live_region(pages[1], live_page(), &failing, "it fails");
	}
	if (probe->sig == SIGSEGV && probe->mode == UNSAVED) {
		munmap(pages[0], live_page());
		munmap(pages[1], live_page());
	}
	once_more(pages[0]);
	once_more(pages[1]);
	report->mask_after = chain_mask();
}

static void run_child(unsigned char **pages, int with, struct report *r)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		report = r;
		run(pages, with);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &r->status, 0), pid);
}

static void compare(const struct seen *a, const struct seen *b)
{
	size_t i;

	CHECK_EQ(a->sig, b->sig);
	CHECK_EQ(a->depth, b->depth);
	CHECK_EQ(a->on_alt, b->on_alt);
	CHECK_EQ(a->alt_flags, b->alt_flags);
	CHECK_EQ(a->misaligned, b->misaligned);
	CHECK_EQ(a->mask, b->mask);
	CHECK_EQ(a->context_mask, b->context_mask);
	CHECK_EQ(a->stack_at, b->stack_at);
	CHECK_EQ(a->stack_bytes, b->stack_bytes);
	CHECK_EQ(a->vector, b->vector);
	CHECK(!memcmp(a->info, b->info, sizeof(a->info)));
	for (i = 0; i < sizeof(a->regs); i += 8)
		CHECKF(!memcmp(a->regs + i, b->regs + i, 8),
		       "register %zu: %#llx is not %#llx", i / 8,
		       *(const unsigned long long *)(a->regs + i),
		       *(const unsigned long long *)(b->regs + i));
}

static void same_with_and_without(void)
{
	struct report *r = chain_shared(2 * sizeof(*r));
	unsigned char *pages[2] = { NULL, NULL };
	uint32_t i;

	probe = tap_data();
	alt = live_pages(ALT_BYTES / live_page());
	for (i = 0; i < 2 && probe->mode != SENT; i++) {
		int lost = probe->mode == POISON || probe->mode == UNSAVED;

		if (probe->sig == SIGSEGV) {
			pages[i] = lost ? chain_apart(1) : chain_closed();
			continue;
		}
		pages[i] = lost ? live_pages(1) : chain_hole();
		if (lost)
			live_poison(pages[i]);
	}
	run_child(pages, 0, &r[0]);
	run_child(pages, 1, &r[1]);

	CHECK(r[0].calls);		/* the probe itself is right */
	CHECKF(r[0].status == r[1].status, "ends: %#x without, %#x with",
	       r[0].status, r[1].status);
	CHECK_EQ(r[0].calls, r[1].calls);
	CHECK_EQ(r[0].went_on, r[1].went_on);
	CHECK_EQ(r[0].mask_after, r[1].mask_after);
	for (i = 0; i < r[0].calls; i++)
		compare(&r[0].seen[i], &r[1].seen[i]);
}

int main(int argc, char **argv)
{
	static struct probe probes[2 * 32 * MODES];
	static struct tap_case cases[2 * 32 * MODES];
	int bits, mode, n = 0;

	for (mode = 0; mode < 2 * MODES; mode++) {
		int segv = mode >= MODES;

		/* of SIGSEGV, half of them are enough to tell it is the same */
		for (bits = segv ? 16 : 0; bits < 32; bits++) {
			struct probe *p = &probes[n];

			if (segv && mode - MODES == POISON)
				continue;
			p->sig = segv ? SIGSEGV : SIGBUS;
			p->flags = (bits & 1 ? SA_SIGINFO : 0) |
				   (bits & 2 ? SA_NODEFER : 0) |
				   (bits & 4 ? SA_RESETHAND : 0) |
				   (bits & 8 ? SA_ONSTACK : 0);
			p->with_mask = !!(bits & 16);
			p->mode = (enum mode)(mode % MODES);
			snprintf(p->name, sizeof(p->name), "%s%s:%s%s%s%s%s",
				 segv ? "SIGSEGV, " : "", mode_names[p->mode],
				 bits & 1 ? " siginfo" : " plain",
				 bits & 2 ? " nodefer" : "",
				 bits & 4 ? " resethand" : "",
				 bits & 8 ? " onstack" : "",
				 bits & 16 ? " mask" : "");
			cases[n].name = p->name;
			cases[n].run = same_with_and_without;
			cases[n].data = p;
			cases[n++].timeout_s = 20;
		}
	}
	return tap_main(cases, (size_t)n, argc, argv);
}
