/* SPDX-License-Identifier: MIT */
/*
 * Locks of normal context. A signal handler of the program's can interrupt
 * the thread that holds one and call us again: it would wait for itself. So
 * each thread knows whether it is in here, from before it takes the lock until
 * after it gave it back. It can fork(2), too, and the child comes back to the
 * middle of the call. So a lock says whose it is, in the step in which it becomes
 * that one's, by a number that the thread has in a child as well.
 */
#ifndef BEZOAR_CORE_LOCK_H
#define BEZOAR_CORE_LOCK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* 0: free. Else the number of the thread that has it << 1, and 1 if others may
 * sleep on it. CAS from 0 by the thread; 0 again by the same, or by a child whose
 * thread it is not. */
struct bz_lock {
	_Atomic uint32_t word;
};

/*
 * Take @lock, or none (NULL): what the calling thread does to itself. 0, or
 * -EDEADLK: this thread is in here already, further up. Inside, another one
 * is taken as it is.
 */
int bz_lock(struct bz_lock *lock);
void bz_unlock(struct bz_lock *lock);

/* The same for who is inside; also to wait for something without a lock that is
 * had by bz_lock(): inside all the while, and not in the way of anybody. */
void bz_lock_take(struct bz_lock *lock);
void bz_lock_give(struct bz_lock *lock);

#define BZ_LOCKS	3

/* All, in the order in which they are taken: of bez_start(), of the regions, of the
 * hooks. src/core/start.c */
void bz_all_locks(struct bz_lock *ret_locks[BZ_LOCKS]);

/*
 * Around fork(2): all of @lock, in the order in which they are taken. What the
 * thread has, because a handler on top of it forks, it goes on with, in both. What
 * comes before that in the order can not be waited for without an end, as its owner
 * may wait for what this thread has. After 100 ms it is not taken, and the child's is
 * free: who waits there has mostly not begun. Not so one that is slow, or that has
 * forked in a handler itself: a child that calls the library then may find what that
 * one has done by half. Who forks in handlers on top of calls of several threads at
 * once should exec(2).
 */
void bz_lock_fork(struct bz_lock *const lock[BZ_LOCKS]);
void bz_unlock_fork(struct bz_lock *const lock[BZ_LOCKS], int is_child);

#endif
