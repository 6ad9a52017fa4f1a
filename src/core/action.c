/* SPDX-License-Identifier: MIT */
#include "core/action.h"

#include "core/core.h"

static void remember(const struct bz_sigaction *former)
{
	bz_core.former = *former;
	atomic_store(&bz_core.former_spent, 0);
}

/*
 * SA_RESTART as the former action had it: a handler that wants its system
 * calls interrupted gets them interrupted.
 */
int bz_action_install(void)
{
	struct bz_sigaction ours = {
		.handler = (void *)bz_sigbus,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
		.mask = bz_handler_mask(),
	};
	struct bz_sigaction former, found;
	long r = bz_sigaction(SIGBUS, NULL, &former);

	if (r)
		return (int)r;
	remember(&former);
	if (former.handler == (void *)SIG_DFL ||
	    former.handler == (void *)SIG_IGN || (former.flags & SA_RESTART))
		ours.flags |= SA_RESTART;
#if defined(__x86_64__)
	ours.flags |= BZ_SA_RESTORER;
	ours.restorer = (void *)bz_restore;
#endif
	r = bz_sigaction(SIGBUS, &ours, &found);
	if (r)
		return (int)r;
	if (found.handler != former.handler)
		remember(&found);	/* somebody was quicker */
	return 0;
}

void bz_action_uninstall(void)
{
	struct bz_sigaction former = bz_core.former;

	if (atomic_load(&bz_core.former_spent))
		former.handler = (void *)SIG_DFL;
	bz_sigaction(SIGBUS, &former, NULL);
}
