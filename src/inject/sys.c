/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define HIGH_FD	256	/* our long-lived descriptors sit from here on */
#define MAX_FD	65536	/* and nobody is looked for above this */
#define NAP_NS	100000

static long result(long r)
{
	return r < 0 ? -errno : r;
}

void *bzi_sys_map(size_t len, int prot)
{
	void *p = mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int bzi_sys_unmap(void *addr, size_t len)
{
	return result(munmap(addr, len));
}

int bzi_sys_move(void *from, void *to, size_t len)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;

	return mremap(from, len, len, flags, to) == MAP_FAILED ? -errno : 0;
}

int bzi_sys_protect(void *addr, size_t len, int prot)
{
	return result(mprotect(addr, len, prot));
}

int bzi_sys_advise(void *addr, size_t len, int advice)
{
	long r;

	do
		r = result(madvise(addr, len, advice));
	while (r == -EINTR || r == -EAGAIN);
	return r;
}

int bzi_sys_lock(void *addr, size_t len)
{
	return result(mlock(addr, len));
}

ssize_t bzi_sys_peek(void *dst, const void *src, size_t len)
{
	struct iovec to = { dst, len }, from = { (void *)src, len };

	return result(process_vm_readv(getpid(), &to, 1, &from, 1, 0));
}

int bzi_sys_userfaultfd(int flags)
{
	return result(syscall(SYS_userfaultfd, flags));
}

int bzi_sys_ioctl(int fd, unsigned long request, void *arg)
{
	return result(ioctl(fd, request, arg));
}

int bzi_sys_open(const char *path, int flags)
{
	return result(open(path, flags | O_CLOEXEC));
}

void bzi_sys_close(int fd)
{
	close(fd);
}

int bzi_sys_dup_high(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);

	return high >= 0 ? high : result(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

int bzi_sys_access(const char *path, int mode)
{
	return result(access(path, mode));
}

int bzi_sys_stat(int fd, struct stat *ret_stat)
{
	return result(fstat(fd, ret_stat));
}

ssize_t bzi_sys_read(int fd, void *dst, size_t len)
{
	return result(read(fd, dst, len));
}

ssize_t bzi_sys_write(int fd, const void *src, size_t len)
{
	return result(write(fd, src, len));
}

ssize_t bzi_sys_pread(int fd, void *dst, size_t len, uint64_t offset)
{
	return result(pread(fd, dst, len, (off_t)offset));
}

ssize_t bzi_sys_pwrite(int fd, const void *src, size_t len, uint64_t offset)
{
	return result(pwrite(fd, src, len, (off_t)offset));
}

int bzi_sys_truncate(int fd, uint64_t size)
{
	return result(ftruncate(fd, (off_t)size));
}

int bzi_sys_max_fd(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > MAX_FD)
		return MAX_FD;
	return (int)limit.rlim_cur;
}

size_t bzi_sys_page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t bzi_sys_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bzi_sys_nap(void)
{
	struct timespec nap = { 0, NAP_NS };

	nanosleep(&nap, NULL);
}

void bzi_sys_block_signals(sigset_t *ret_old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, ret_old);
}

void bzi_sys_restore_signals(const sigset_t *old)
{
	pthread_sigmask(SIG_SETMASK, old, NULL);
}
