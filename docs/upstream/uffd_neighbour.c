/* SPDX-License-Identifier: MIT */
/*
 * A page that is registered with a userfaultfd is moved between two others that
 * are, by mremap(): the three become one mapping, and the two that did not move
 * lose their registration. No privilege; loses nothing. TAP on standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

static sigjmp_buf out;
static int bad;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(out, 1);
}

/* A hole behind UFFD_FEATURE_SIGBUS: SIGBUS (1), or a page of zeros (0). */
static int is_watched(const volatile char *at)
{
	return sigsetjmp(out, 1) ? 1 : *at != 0;
}

static void point(int number, const char *what, const char *at, int wanted)
{
	int got = is_watched(at);

	bad += got != wanted;
	if (got != wanted)
		printf("# the hole %s\n", got ? "raised SIGBUS" : "read as 0");
	printf("%sok %d - %s\n", got == wanted ? "" : "not ", number, what);
}

static int broken(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	return 1;
}

static int watch(int uffd, void *at, size_t length)
{
	struct uffdio_register reg = { .range = { (uintptr_t)at, length },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(uffd, UFFDIO_REGISTER, &reg);
}

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_SIGBUS };
	const int prot = PROT_READ | PROT_WRITE;
	int fd = memfd_create("neighbour", MFD_CLOEXEC);
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *area, *aside;

	printf("TAP version 13\n1..3\n");
	if (fd < 0 || ftruncate(fd, 5 * 4096))
		return broken("memfd");
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		return broken("userfaultfd");
	area = mmap(NULL, 5 * PAGE, prot, MAP_SHARED, fd, 0);
	aside = mmap(NULL, PAGE, prot, MAP_SHARED, fd, 2 * 4096);
	if (area == MAP_FAILED || aside == MAP_FAILED ||
	    watch(uffd, area, 5 * PAGE) || watch(uffd, aside, PAGE) ||
	    signal(SIGBUS, on_sigbus) == SIG_ERR)
		return broken("mmap, UFFDIO_REGISTER");
	point(1, "before: a hole is watched", area, 1);
	/* Same file, same offset: it fits in between. */
	if (mremap(aside, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   area + 2 * PAGE) == MAP_FAILED)
		return broken("mremap");
	point(2, "after: the page before is watched", area, 1);
	point(3, "after: the page behind is watched", area + 4 * PAGE, 1);
	return bad != 0;
}
