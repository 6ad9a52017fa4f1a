/* SPDX-License-Identifier: MIT */
#include "core/scope.h"

#include <errno.h>

int bez_scope_run(void (*fn)(void *arg), void *arg, struct bez_lost *ret_lost)
{
	struct bez_scope scope;

	if (bez_scope_enter(&scope)) {
		if (ret_lost)
			*ret_lost = scope.lost;
		return -EFAULT;
	}
	fn(arg);
	bez_scope_leave(&scope);
	return 0;
}
