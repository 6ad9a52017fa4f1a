/* SPDX-License-Identifier: MIT */
/*
 * UFFDIO_COPY of a huge page, where their pool is empty, says EEXIST: that
 * a page is there. Root (it sets vm.nr_hugepages to 0 for a moment); no
 * memory is lost. TAP on standard output.
 */
#define _GNU_SOURCE
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

#define HUGE ((size_t)2 << 20)
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

static int broken(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	return 1;
}

/* Set the pool to @pages; what it was, or -1. */
static long pool(long pages)
{
	char text[32] = "";
	int fd = open(POOL, O_RDWR);
	long was = -1;

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0) {
		was = atol(text);
		snprintf(text, sizeof(text), "%ld", pages);
		if (pwrite(fd, text, strlen(text), 0) < 0)
			was = -1;
	}
	if (fd >= 0)
		close(fd);
	return was;
}

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC), error;
	char *from = aligned_alloc(HUGE, HUGE), *to;
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_copy copy = { .len = HUGE };
	long was;

	printf("TAP version 13\n1..1\n");
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		return broken("userfaultfd");
	to = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		  MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	if (!from || to == MAP_FAILED)
		return broken("mmap");
	memset(from, 'a', HUGE);
	reg.range.start = copy.dst = (uintptr_t)to;
	reg.range.len = HUGE;
	copy.src = (uintptr_t)from;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		return broken("UFFDIO_REGISTER");
	was = pool(0);
	if (was < 0)
		return broken(POOL);
	error = ioctl(uffd, UFFDIO_COPY, &copy) ? errno : 0;
	pool(was);
	if (error != ENOMEM)
		printf("# UFFDIO_COPY said %d, %s\n", error, strerror(error));
	printf("%sok 1 - no page, none in the pool: ENOMEM\n",
	       error == ENOMEM ? "" : "not ");
	return error != ENOMEM;
}
