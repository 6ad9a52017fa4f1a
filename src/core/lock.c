/* SPDX-License-Identifier: MIT */
#include "core/lock.h"

#include <errno.h>

#include "sys/sys.h"

#define NS_PER_S	1000000000u
#define FORK_WAIT_NS	100000000u	/* longer than one is had; but for a wait */
#define SLEEPERS	1u

/* Read by a signal handler on top of the thread that writes it. */
static __thread volatile uint32_t inside
	__attribute__((tls_model("initial-exec")));
static __thread volatile uint32_t number
	__attribute__((tls_model("initial-exec")));
/* What fork(2) has taken, a bit each; above that, what the one took that a
 * handler has interrupted. */
static __thread volatile uint64_t taken
	__attribute__((tls_model("initial-exec")));

static _Atomic uint32_t numbers;

static uint32_t mine(void)
{
	if (!number)
		number = atomic_fetch_add(&numbers, 1) + 1;
	return number << 1;
}

static int is_mine(const struct bz_lock *lock)
{
	return (atomic_load_explicit(&lock->word, memory_order_relaxed) &
		~SLEEPERS) == mine();
}

/* @sleeper: leave the mark of those for who comes after. */
static int try(struct bz_lock *lock, uint32_t sleeper)
{
	uint32_t no = 0;

	return atomic_compare_exchange_strong(&lock->word, &no,
					      mine() | sleeper);
}

/* 1, or 0 when the time is up. */
static int take(struct bz_lock *lock, uint64_t patience_ns)
{
	uint64_t end = 0, now;
	uint32_t sleeper = 0, is;

	while (!try(lock, sleeper)) {
		now = bz_now_ns();
		if (!end)
			end = bz_after(now, patience_ns);
		if (now >= end)
			return 0;
		sleeper = SLEEPERS;
		is = atomic_load(&lock->word);
		if (is && ((is & SLEEPERS) ||
			   atomic_compare_exchange_strong(&lock->word, &is,
							  is | SLEEPERS)))
			bz_futex_wait(&lock->word, is | SLEEPERS,
				      end - now < NS_PER_S ? end - now :
							     NS_PER_S);
	}
	return 1;
}

void bz_lock_take(struct bz_lock *lock)
{
	take(lock, UINT64_MAX);
}

void bz_lock_give(struct bz_lock *lock)
{
	if (atomic_exchange(&lock->word, 0) & SLEEPERS)
		bz_futex_wake(&lock->word);
}

int bz_lock(struct bz_lock *lock)
{
	if (inside)
		return -EDEADLK;
	inside = 1;
	if (lock)
		bz_lock_take(lock);
	return 0;
}

void bz_unlock(struct bz_lock *lock)
{
	if (lock)
		bz_lock_give(lock);
	inside = 0;
}

/* Has the thread one that comes after lock[i]? */
static int has_later(struct bz_lock *const lock[BZ_LOCKS], uint32_t i)
{
	while (++i < BZ_LOCKS)
		if (is_mine(lock[i]))
			return 1;
	return 0;
}

void bz_lock_fork(struct bz_lock *const lock[BZ_LOCKS])
{
	uint64_t got = 0;
	uint32_t i;

	inside++;
	taken <<= BZ_LOCKS;
	for (i = 0; i < BZ_LOCKS; i++)
		if (!is_mine(lock[i]) &&
		    take(lock[i], has_later(lock, i) ? FORK_WAIT_NS :
						       UINT64_MAX))
			got |= 1ull << i;
	taken |= got;
}

void bz_unlock_fork(struct bz_lock *const lock[BZ_LOCKS], int is_child)
{
	uint32_t i;

	for (i = BZ_LOCKS; i-- > 0;)
		if (taken & 1ull << i)
			bz_lock_give(lock[i]);
		else if (is_child && !is_mine(lock[i]))
			atomic_store(&lock[i]->word, 0);
	taken >>= BZ_LOCKS;
	inside--;
}
