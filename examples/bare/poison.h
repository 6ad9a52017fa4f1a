/* SPDX-License-Identifier: MIT */
/*
 * Poison for the examples: make one page of private memory raise SIGBUS at
 * its next touch. UFFDIO_POISON (Linux 6.6) only marks the address; older
 * kernels have MADV_HWPOISON for root, which takes a real page out of use
 * until the machine is booted again. Where neither works the example exits
 * with 77, "skipped".
 */
#ifndef BEZOAR_EXAMPLES_BARE_POISON_H
#define BEZOAR_EXAMPLES_BARE_POISON_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* A userfaultfd that can do @features, or -1. Needs no privilege. */
static int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	close(fd);
	return -1;
}

/* What was in the page is gone; whoever touches it next gets SIGBUS. */
static void poison(void *page, size_t size)
{
	struct uffdio_range range = { (uintptr_t)page, size };
	struct uffdio_register reg = { .range = range,
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_poison mark = { .range = range };
	int fd = uffd_open(UFFD_FEATURE_POISON), good;

	if (fd < 0) {
		if (madvise(page, size, MADV_HWPOISON) == 0)
			return;
		printf("skipped: this kernel has no UFFDIO_POISON, and "
		       "MADV_HWPOISON says: %s\n", strerror(errno));
		exit(77);
	}
	good = ioctl(fd, UFFDIO_REGISTER, &reg) == 0 &&
	       madvise(page, size, MADV_DONTNEED) == 0 &&
	       ioctl(fd, UFFDIO_POISON, &mark) == 0 &&
	       ioctl(fd, UFFDIO_UNREGISTER, &range) == 0;
	if (!good) {
		perror("poisoning a page by userfaultfd");
		exit(1);
	}
	close(fd);
}

#endif
