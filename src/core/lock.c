/* SPDX-License-Identifier: MIT */
#include "core/lock.h"

#include <errno.h>
#include <signal.h>

/* Read by a signal handler on top of the thread that writes it. */
static __thread volatile int inside
	__attribute__((tls_model("initial-exec")));
static __thread volatile int paused
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

/* All but those of a fault: they would kill. */
static void block(sigset_t *ret_old)
{
	static const int faults[] = { SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP };
	sigset_t set;
	size_t i;

	sigfillset(&set);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&set, faults[i]);
	pthread_sigmask(SIG_BLOCK, &set, ret_old);
}

void bz_lock_pause(pthread_mutex_t *lock)
{
	sigset_t old;

	block(&old);
	pthread_mutex_unlock(lock);
	paused = 1;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void bz_lock_resume(pthread_mutex_t *lock)
{
	sigset_t old;

	block(&old);
	pthread_mutex_lock(lock);
	paused = 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int bz_lock_fork(void)
{
	return inside++ > paused;
}

int bz_unlock_fork(void)
{
	return --inside > paused;
}
