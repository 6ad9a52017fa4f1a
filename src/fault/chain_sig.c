/* SPDX-License-Identifier: MIT */
/*
 * The former action, called as the kernel would have called it.
 */
#include "core/core.h"
#include "fault/fault.h"

#include <string.h>
#include <ucontext.h>

#include "fault/relocate.h"

/*
 * Handlers that hand a signal to one another can form a ring. The kernel
 * leaves the end of the siginfo zero, so every bezoar in the process counts
 * there how often this one signal came by.
 */
#define HOPS_MAGIC 0x62657a6f61723a29ull
#define HOPS_LIMIT 8

struct hops {
	uint64_t magic;
	uint64_t count;
};

static struct hops *hops_of(siginfo_t *info)
{
	return (struct hops *)((char *)info + sizeof(*info)) - 1;
}

static int at_the_end(siginfo_t *info)
{
	struct hops *hops = hops_of(info);

	return hops->magic == HOPS_MAGIC && hops->count > HOPS_LIMIT;
}

static int too_many_hops(siginfo_t *info)
{
	struct hops *hops = hops_of(info);

	if (hops->magic != HOPS_MAGIC)
		*hops = (struct hops){ HOPS_MAGIC, 0 };
	hops->count++;
	return at_the_end(info);
}

/* The set that sigreturn restores, as the kernel sees it. */
static uint64_t *context_mask(void *context)
{
	return (uint64_t *)&((ucontext_t *)context)->uc_sigmask;
}

/*
 * Set the default action, make the same signal pending for this thread and
 * return: it is delivered when the mask of the interrupted context is back, at
 * the interrupted instruction, with the siginfo that we got. Running the
 * instruction again instead would do for a fault, but not for a signal that
 * was sent or is about an event that is over. rt_tgsigqueueinfo(2): a process
 * may send itself any si_code.
 *
 * The kernel keeps one of each a thread, and one that was sent may be waiting:
 * it would take the place of ours. To ignore the signal for a moment drops it.
 *
 * Where sigaction(2) is forbidden (seccomp), the signal stays blocked instead:
 * the kernel kills by a fault's signal that is.
 */
void bz_die(int sig, siginfo_t *info, void *context)
{
	struct bz_sigaction action = { .handler = (void *)SIG_IGN };
	uint64_t bit = bz_sigbit(sig);
	siginfo_t again = *info;

	memset(hops_of(&again), 0, sizeof(struct hops));
	/* every bezoar that handed it on keeps it closed on its way out */
	*hops_of(info) = (struct hops){ HOPS_MAGIC, HOPS_LIMIT + 1 };
	*context_mask(context) &= ~bit;
	bz_sigmask(SIG_BLOCK, &bit, NULL);
	bz_sigaction(sig, &action, NULL);
	action.handler = (void *)SIG_DFL;
	if (bz_sigaction(sig, &action, NULL)) {
		*context_mask(context) |= bit;
		return;
	}
	bz_sys(SYS_rt_tgsigqueueinfo, bz_sys0(SYS_getpid), bz_gettid(), sig,
	       (long)&again, 0, 0);
}

static void call(int sig, void (*former)(int), siginfo_t *info, void *context)
{
	void (*with_info)(int, siginfo_t *, void *) =
		(void (*)(int, siginfo_t *, void *))(void (*)(void))former;

	/* one without SA_SIGINFO finds its one argument in the same place */
	with_info(sig, info, context);
}

/* Is it a hint, that the kernel does not insist on? */
static int is_notice(int sig, const siginfo_t *info)
{
	return sig == SIGBUS && info->si_code == BUS_MCEERR_AO;
}

int bz_chain_ends(int sig, const siginfo_t *info)
{
	struct bz_former *f = bz_former_of(sig);

	if (f->action.handler == (void *)SIG_IGN)
		return info->si_code > 0 && !is_notice(sig, info);
	return f->action.handler == (void *)SIG_DFL ||
	       ((f->action.flags & SA_RESETHAND) && atomic_load(&f->spent));
}

int bz_chain(int sig, siginfo_t *info, void *context)
{
	struct bz_former *f = bz_former_of(sig);
	void (*former)(int) = (void (*)(int))f->action.handler;
	uint64_t flags = f->action.flags;
	uint64_t mask;

	if (former != SIG_DFL && former != SIG_IGN && (flags & SA_RESETHAND) &&
	    atomic_exchange(&f->spent, 1))
		former = SIG_DFL;
	if (former == SIG_IGN) {
		/* force_sig(): what cannot be ignored kills. What was sent, or
		 * is a hint, is dropped. */
		if (info->si_code <= 0 || is_notice(sig, info))
			return 0;
		former = SIG_DFL;
	}
	if (former == SIG_DFL || too_many_hops(info)) {
		bz_die(sig, info, context);
		return 1;
	}

	mask = *context_mask(context) | f->action.mask;
	if (!(flags & SA_NODEFER))
		mask |= bz_sigbit(sig);
	if (!(flags & SA_ONSTACK) && bz_must_relocate(info, context))
		bz_relocate(sig, former, info, context, mask);
	bz_sigmask(SIG_SETMASK, &mask, NULL);
	call(sig, former, info, context);
	return at_the_end(info);
}
