/* SPDX-License-Identifier: MIT */
/*
 * A huge page that is pinned, so that it can not be split, loses one of its
 * small pages. When all of it is given back, the bad one is handed out again.
 * Root, huge pages on madvise; loses up to 16 pages for good. TAP.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define HUGE ((size_t)2 << 20)
#define KPF_HWPOISON 19

static void die(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

static unsigned long number(const char *file, unsigned long index)
{
	unsigned long value = 0;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &value, 8, (off_t)(index * 8)) != 8)
		die(file);
	close(fd);
	return value;
}

static unsigned long frame(const char *at)
{
	return number("/proc/self/pagemap", (uintptr_t)at / PAGE) << 9 >> 9;
}

static char *huge_pages(size_t count)
{
	char *p = mmap(NULL, (count + 1) * HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (madvise(p, count * HUGE, MADV_HUGEPAGE))
		die("mmap, MADV_HUGEPAGE");
	return p;
}

/* Its end gives the page back; the frame comes out by @fd. */
static void lose_pinned(int fd)
{
	char *p = huge_pages(1), *bad = p + 7 * PAGE;
	struct iovec pin = { p, PAGE };
	unsigned long pfn;
	int fds[2];

	*bad = 1;
	pfn = frame(bad);
	if (!pfn || write(fd, &pfn, 8) != 8)
		die("no frame number: root?");
	if (pipe(fds) || vmsplice(fds[1], &pin, 1, 0) != (ssize_t)PAGE)
		die("vmsplice");
	madvise(bad, PAGE, MADV_HWPOISON);	/* EBUSY, or SIGBUS since 6.11 */
	_exit(0);
}

/* Is that frame among a few huge pages that are new? */
static int is_back(unsigned long pfn)
{
	enum { LOOK_AT = 8 };
	char *p = huge_pages(LOOK_AT);
	int back = 0;

	for (size_t i = 0; i < LOOK_AT * HUGE && !back; i += PAGE) {
		p[i] = 1;
		back = frame(p + i) == pfn;
	}
	if (back)
		printf("# frame %#lx is mapped again, flags %#lx\n", pfn,
		       number("/proc/kpageflags", pfn));
	munmap(p, LOOK_AT * HUGE);
	return back;
}

int main(void)
{
	unsigned long pfn = 0, poisoned = 1;
	int fds[2], again = 0;
	cpu_set_t one;

	if (access("/proc/sys/vm/memory_failure_recovery", F_OK))
		return puts("1..0 # SKIP no CONFIG_MEMORY_FAILURE"), 0;
	printf("TAP version 13\n1..2\n");
	fflush(stdout);
	/* What is freed here is given to who asks here first. */
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (pipe2(fds, O_NONBLOCK) || sched_setaffinity(0, sizeof(one), &one))
		die("pipe2, sched_setaffinity");
	for (int i = 0; i < 16 && !again; i++) {
		if (!fork())
			lose_pinned(fds[1]);
		wait(NULL);
		if (read(fds[0], &pfn, 8) != 8)
			die("read");
		poisoned &= number("/proc/kpageflags", pfn) >> KPF_HWPOISON;
		again = is_back(pfn);
	}
	printf("%sok 1 - the frame is marked\n", poisoned ? "" : "not ");
	printf("%sok 2 - and is not handed out again\n", again ? "not " : "");
	return again || !poisoned;
}
