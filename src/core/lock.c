/* SPDX-License-Identifier: MIT */
#include "core/lock.h"

#include <errno.h>

/* Read by a signal handler on top of the thread that writes it. */
static __thread volatile int inside
	__attribute__((tls_model("initial-exec")));

int bz_lock(pthread_mutex_t *lock)
{
	if (inside)
		return -EDEADLK;
	inside = 1;
	if (lock)
		pthread_mutex_lock(lock);
	return 0;
}

void bz_unlock(pthread_mutex_t *lock)
{
	if (lock)
		pthread_mutex_unlock(lock);
	inside = 0;
}

int bz_lock_fork(void)
{
	return inside++ != 0;
}

int bz_unlock_fork(void)
{
	return --inside != 0;
}
