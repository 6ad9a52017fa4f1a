/* SPDX-License-Identifier: MIT */
#include "core/action.h"

#include "core/core.h"

static void remember(int sig, const struct bz_sigaction *former)
{
	bz_former_of(sig)->action = *former;
	atomic_store(&bz_former_of(sig)->spent, 0);
}

/*
 * SA_RESTART as the former action had it: a handler that wants its system
 * calls interrupted gets them interrupted.
 */
int bz_action_install(int sig)
{
	struct bz_sigaction ours = {
		.handler = (void *)bz_on_signal,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
		.mask = bz_handler_mask(),
	};
	struct bz_sigaction former, found;
	long r = bz_sigaction(sig, NULL, &former);

	if (r)
		return (int)r;
	remember(sig, &former);
	if (former.handler == (void *)SIG_DFL ||
	    former.handler == (void *)SIG_IGN || (former.flags & SA_RESTART))
		ours.flags |= SA_RESTART;
#if defined(__x86_64__)
	ours.flags |= BZ_SA_RESTORER;
	ours.restorer = (void *)bz_restore;
#endif
	r = bz_sigaction(sig, &ours, &found);
	if (r)
		return (int)r;
	if (found.handler != former.handler)
		remember(sig, &found);	/* somebody was quicker */
	return 0;
}

void bz_action_uninstall(int sig)
{
	struct bz_sigaction former = bz_former_of(sig)->action;

	if (atomic_load(&bz_former_of(sig)->spent))
		former.handler = (void *)SIG_DFL;
	bz_sigaction(sig, &former, NULL);
}
