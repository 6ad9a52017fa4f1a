/* SPDX-License-Identifier: MIT */
/*
 * What the library's normal code asks of the libc, linked in its place by
 * --wrap (see meson.build): it goes on to the libc, unless a rule of double.h
 * says otherwise.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include "double.h"

/* int function(parameters), which fails by errno */
#define BY_ERRNO(name, params, args, nr, what)				\
	int __real_##name params;					\
	int __wrap_##name params;					\
	int __wrap_##name params					\
	{								\
		int err = double_asked(nr, what);			\
									\
		if (!err)						\
			return __real_##name args;			\
		errno = err;						\
		return -1;						\
	}

/* The same for those that return the error. */
#define BY_VALUE(name, params, args, nr)				\
	int __real_##name params;					\
	int __wrap_##name params;					\
	int __wrap_##name params					\
	{								\
		int err = double_asked(nr, 0);				\
									\
		return err ? err : __real_##name args;			\
	}

BY_ERRNO(munmap, (void *p, size_t n), (p, n), SYS_munmap, 0)
BY_ERRNO(mprotect, (void *p, size_t n, int prot), (p, n, prot), SYS_mprotect, 0)
BY_ERRNO(mlock, (const void *p, size_t n), (p, n), SYS_mlock, 0)
BY_ERRNO(madvise, (void *p, size_t n, int advice), (p, n, advice), SYS_madvise,
	 advice)
BY_ERRNO(msync, (void *p, size_t n, int flags), (p, n, flags), SYS_msync, 0)
BY_ERRNO(sigaltstack, (const stack_t *to, stack_t *from), (to, from),
	 SYS_sigaltstack, 0)
BY_ERRNO(sigaction, (int sig, const struct sigaction *to,
		     struct sigaction *from), (sig, to, from),
	 SYS_rt_sigaction, 0)
BY_ERRNO(prctl, (int op, long a, long b, long c, long e), (op, a, b, c, e),
	 SYS_prctl, op)

BY_VALUE(pthread_create, (pthread_t *t, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg), (t, attr, run, arg),
	 DOUBLE_THREAD_CREATE)
BY_VALUE(pthread_key_create, (pthread_key_t *key, void (*end)(void *)),
	 (key, end), DOUBLE_KEY_CREATE)
BY_VALUE(pthread_setspecific, (pthread_key_t key, const void *value),
	 (key, value), DOUBLE_KEY_SET)
BY_VALUE(pthread_atfork, (void (*before)(void), void (*parent)(void),
			  void (*child)(void)), (before, parent, child),
	 DOUBLE_ATFORK)

void *__real_mmap64(void *p, size_t n, int prot, int flags, int fd, off_t at);
void *__wrap_mmap64(void *p, size_t n, int prot, int flags, int fd, off_t at);

/* mmap(2) under the name that it has with 64-bit offsets */
void *__wrap_mmap64(void *p, size_t n, int prot, int flags, int fd, off_t at)
{
	int err = double_asked(SYS_mmap, 0);

	if (!err)
		return __real_mmap64(p, n, prot, flags, fd, at);
	errno = err;
	return MAP_FAILED;
}
