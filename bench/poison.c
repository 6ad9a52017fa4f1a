/* SPDX-License-Identifier: MIT */
#include "poison.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef UFFDIO_POISON			/* headers older than Linux 6.6 */
struct uffdio_poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define UFFD_FEATURE_POISON (1 << 14)
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

int poison_uffd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	int err;

	if (fd < 0)
		return -errno;
	if (ioctl((int)fd, UFFDIO_API, &api) == 0)
		return (int)fd;
	err = -errno;
	close((int)fd);
	return err;
}

int poison_open(void)
{
	return poison_uffd(UFFD_FEATURE_POISON);
}

int poison_begin(int fd, void *addr, size_t len)
{
	struct uffdio_register reg = { .range = { (uintptr_t)addr, len },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(fd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

/* The kernel marks empty places only, hence the first step. */
int poison_mark(int fd, void *addr, size_t len)
{
	struct uffdio_poison mark = { .range = { (uintptr_t)addr, len } };

	if (madvise(addr, len, MADV_DONTNEED) < 0)
		return -errno;
	return ioctl(fd, UFFDIO_POISON, &mark) < 0 ? -errno : 0;
}

int poison_end(int fd, void *addr, size_t len)
{
	struct uffdio_range range = { (uintptr_t)addr, len };

	return ioctl(fd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}
