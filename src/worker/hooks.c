/* SPDX-License-Identifier: MIT */
#include "worker/hooks.h"

#include <errno.h>

#include "core/core.h"
#include "core/lock.h"

static struct bz_lock lock;

int bez_shutdown_hook(bez_hook_fn fn, void *arg)
{
	uint32_t n;
	int r;

	if (!fn)
		return -EINVAL;
	if (!atomic_load(&bz_core.mm))
		return -ESRCH;
	if (bz_inside())
		return -EDEADLK;
	r = bz_lock(&lock);
	if (r)
		return r;
	n = atomic_load(&bz_hooks.count);
	if (n < BEZ_HOOKS_MAX) {
		bz_hooks.hook[n] = (struct bz_hook){ fn, arg };
		atomic_store_explicit(&bz_hooks.count, n + 1,
				      memory_order_release);
	}
	bz_unlock(&lock);
	return n < BEZ_HOOKS_MAX ? 0 : -ENOSPC;
}

struct bz_lock *bz_hooks_lock(void)
{
	return &lock;
}

void bz_hooks_forget(void)
{
	atomic_store(&bz_hooks.count, 0);
}
