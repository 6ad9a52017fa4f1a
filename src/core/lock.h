/* SPDX-License-Identifier: MIT */
/*
 * Locks of normal context. A signal handler of the program's can interrupt
 * the thread that holds one and call us again: it would wait for itself. So
 * each thread knows whether it is in here, from before it takes the lock until
 * after it gave it back; an owner kept in the mutex itself, as error-checking
 * ones have it, is not known yet in the moment in between, and is a stranger
 * in a child of fork(2).
 */
#ifndef BEZOAR_CORE_LOCK_H
#define BEZOAR_CORE_LOCK_H

#include <pthread.h>

/*
 * Take @lock, or none (NULL): what the calling thread does to itself. 0, or
 * -EDEADLK: this thread is in here already, further up. Inside, another mutex
 * is taken as it is.
 */
int bz_lock(pthread_mutex_t *lock);
void bz_unlock(pthread_mutex_t *lock);

/*
 * The caller waits for something without the lock that it has by bz_lock(), and
 * takes it again. It is inside all the while, but for fork(2): a handler's child
 * comes back to here and wants to find the lock free. Both are one step to a
 * handler of the program's.
 */
void bz_lock_pause(pthread_mutex_t *lock);
void bz_lock_resume(pthread_mutex_t *lock);

/*
 * Around fork(2). 1: this thread is in here already, and its child will be
 * too: what is locked stays as it is, and goes on with it in both.
 */
int bz_lock_fork(void);
int bz_unlock_fork(void);

#endif
