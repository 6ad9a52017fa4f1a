/* SPDX-License-Identifier: MIT */
/*
 * The door to the kernel. Every system call of the library's handler code and
 * of its repair goes through bz_sys(), one function, so that tests can put a
 * double in its place (tests/unit/double.c) and let the n-th call fail.
 *
 * All return what the kernel returned: a result or a negative errno. None
 * touches errno. Context: handler-safe.
 */
#ifndef BEZOAR_SYS_SYS_H
#define BEZOAR_SYS_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "sys/uapi.h"

long bz_sys(long nr, long a, long b, long c, long d, long e, long f);

/* CLOCK_MONOTONIC, by way of the vDSO: no system call where that works. */
uint64_t bz_now_ns(void);

/* @ns after @now; for ever is not a moment ago. */
static inline uint64_t bz_after(uint64_t now, uint64_t ns)
{
	return ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
}

static inline long bz_sys0(long nr)
{
	return bz_sys(nr, 0, 0, 0, 0, 0, 0);
}

static inline int bz_gettid(void)
{
	return (int)bz_sys0(SYS_gettid);
}

static inline long bz_madvise(uint64_t addr, uint64_t len, int advice)
{
	return bz_sys(SYS_madvise, (long)addr, (long)len, advice, 0, 0, 0);
}

static inline long bz_mmap(uint64_t addr, uint64_t len, int prot, int flags,
			   int fd)
{
	return bz_sys(SYS_mmap, (long)addr, (long)len, prot, flags, fd, 0);
}

static inline long bz_munmap(uint64_t addr, uint64_t len)
{
	return bz_sys(SYS_munmap, (long)addr, (long)len, 0, 0, 0, 0);
}

static inline long bz_ioctl(int fd, unsigned long request, void *arg)
{
	return bz_sys(SYS_ioctl, fd, (long)request, (long)arg, 0, 0, 0);
}

static inline long bz_openat(const char *path, int flags)
{
	return bz_sys(SYS_openat, AT_FDCWD, (long)path, flags, 0, 0, 0);
}

static inline long bz_close(int fd)
{
	return bz_sys(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline long bz_read(int fd, void *buf, uint64_t len)
{
	return bz_sys(SYS_read, fd, (long)buf, (long)len, 0, 0, 0);
}

static inline long bz_pread(int fd, void *buf, uint64_t len, uint64_t offset)
{
	return bz_sys(SYS_pread64, fd, (long)buf, (long)len, (long)offset, 0,
		      0);
}

/* Which open file a number stands for. Both 0 are never a file. */
struct bz_file_id {
	uint64_t dev;
	uint64_t ino;
};

/* x86-64 and aarch64 have the libc's struct stat as the kernel's. */
static inline long bz_file_id(int fd, struct bz_file_id *ret_id)
{
	struct stat st;
	long r = bz_sys(SYS_fstat, fd, (long)&st, 0, 0, 0, 0);

	if (r)
		return r;
	ret_id->dev = st.st_dev;
	ret_id->ino = st.st_ino;
	return 0;
}

/* Sleep while *word is value, at most ns. 0, -EAGAIN, -EINTR, -ETIMEDOUT. */
static inline long bz_futex_wait(_Atomic uint32_t *word, uint32_t value,
				 uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};

	return bz_sys(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, value,
		      (long)&ts, 0, 0);
}

static inline void bz_futex_wake(_Atomic uint32_t *word)
{
	bz_sys(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 0x7fffffff, 0, 0, 0);
}

static inline void bz_yield(void)
{
	bz_sys0(SYS_sched_yield);
}

/* The kernel's signal set: 64 bits, signal n is bit n - 1. */
static inline uint64_t bz_sigbit(int sig)
{
	return (uint64_t)1 << (sig - 1);
}

/* struct sigaction as the kernel has it on x86-64 and aarch64. */
struct bz_sigaction {
	void *handler;
	uint64_t flags;			/* SA_* */
	void *restorer;
	uint64_t mask;
};

#define BZ_SA_RESTORER 0x04000000u

static inline long bz_sigaction(int sig, const struct bz_sigaction *action,
				struct bz_sigaction *ret_old)
{
	return bz_sys(SYS_rt_sigaction, sig, (long)action, (long)ret_old,
		      sizeof(action->mask), 0, 0);
}

static inline long bz_sigmask(int how, const uint64_t *set, uint64_t *ret_old)
{
	return bz_sys(SYS_rt_sigprocmask, how, (long)set, (long)ret_old,
		      sizeof(*set), 0, 0);
}

#endif
