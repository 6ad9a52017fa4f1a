/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "live.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "uapi.h"

size_t live_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int live_is_real(void)
{
	return !access("/proc/sys/vm/memory_failure_recovery", F_OK) &&
	       !geteuid();
}

int live_code(void)
{
	/* with memory failure even a marker is reported as poison */
	return access("/proc/sys/vm/memory_failure_recovery", F_OK) ?
	       BUS_ADRERR : BUS_MCEERR_AR;
}

/* A userfaultfd works on the memory of the process that opened it, so one for
 * each process: the page is wiped in a child. */
static int own_uffd(void)
{
	static int *kept;
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_POISON };
	int fd;

	if (!kept) {
		kept = mmap(NULL, live_page(), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(kept != MAP_FAILED);
		CHECK_EQ(madvise(kept, live_page(), MADV_WIPEONFORK), 0);
	}
	if (*kept)
		return *kept;
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd,
				  O_CLOEXEC | UFFD_USER_MODE_ONLY);
	CHECKF(fd >= 0, "userfaultfd: %s", strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api)) {
		if (errno == EINVAL)
			tap_skip("no UFFDIO_POISON before Linux 6.6");
		CHECKF(0, "UFFDIO_API: %s", strerror(errno));
	}
	*kept = fd;
	return fd;
}

void live_mark_ready(void)
{
	own_uffd();
}

/* Registered for missing faults first: who touches the page while it is empty
 * waits. A repair that is at work on the page holds it for a moment, and a
 * mapping that changes elsewhere makes the kernel ask to try again. */
void live_mark(void *addr, size_t width)
{
	struct uffdio_register reg = {
		.range = { (unsigned long)addr, width },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_poison poison = { .range = reg.range };
	int fd = own_uffd(), r;

	do
		r = ioctl(fd, UFFDIO_REGISTER, &reg);
	while (r && errno == EBUSY);
	CHECKF(!r, "UFFDIO_REGISTER: %s", strerror(errno));
	r = madvise(addr, width, MADV_DONTNEED);
	if (r && errno == EINVAL)	/* locked */
		r = madvise(addr, width, MADV_DONTNEED_LOCKED);
	CHECKF(!r, "MADV_DONTNEED: %s", strerror(errno));
	do
		r = ioctl(fd, UFFDIO_POISON, &poison);
	while (r && errno == EAGAIN);
	CHECKF(!r, "UFFDIO_POISON: %s", strerror(errno));
	CHECK_EQ(ioctl(fd, UFFDIO_UNREGISTER, &reg.range), 0);
	/* who touched the page while it was empty, and looks only now whether
	 * to wait, takes the marker for a hole and has missed the wake-ups */
	CHECK_EQ(ioctl(fd, UFFDIO_WAKE, &reg.range), 0);
}

int live_lost(const void *addr)
{
	char byte;
	struct iovec from = { (void *)(uintptr_t)addr, 1 }, to = { &byte, 1 };

	if (!madvise((void *)((uintptr_t)addr & -live_page()), live_page(),
		     MADV_POPULATE_READ))
		return 0;
	if (errno != EINVAL)
		return errno == EHWPOISON;
	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) < 0 &&
	       errno == EFAULT;
}

int live_linux(unsigned int major, unsigned int minor)
{
	unsigned int x = 0, y = 0;
	struct utsname name;

	CHECK_EQ(uname(&name), 0);
	CHECK_EQ(sscanf(name.release, "%u.%u", &x, &y), 2);
	return x > major || (x == major && y >= minor);
}

void live_need_linux(unsigned int major, unsigned int minor, const char *what)
{
	if (!live_linux(major, minor))
		tap_skip("no %s before Linux %u.%u", what, major, minor);
}

/*
 * MADV_HWPOISON raises SIGBUS in the caller as soon as it returns (Linux 6.11),
 * and our handler would replace the page before anybody touched it. So a child
 * poisons the page while it still shares it with us, takes that signal and is
 * gone. A bare fork: the handlers of pthread_atfork(3) belong to the tests.
 * If a thread of ours writes to the page in between, the child has a copy and
 * loses that one; so we look, and try again.
 */
static void poison_by_kernel(void *addr)
{
	int status, tries;

	/* it must be there, and our own: the zero page is everybody's */
	*(volatile unsigned char *)addr = live_read(addr);
	for (tries = 0; tries < 100; tries++) {
		pid_t pid = _Fork();

		CHECKF(pid >= 0, "fork: %s", strerror(errno));
		if (!pid) {
			signal(SIGBUS, SIG_DFL);
			madvise(addr, live_page(), MADV_HWPOISON);
			_exit(0);
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			continue;
		if (live_lost(addr))
			return;
	}
	CHECKF(0, "MADV_HWPOISON did not take the page at %p", addr);
}

void live_poison_file(void *addr)
{
	pid_t pid = _Fork();
	int status;

	CHECKF(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		signal(SIGBUS, SIG_DFL);
		_exit(madvise(addr, live_page(), MADV_HWPOISON) ? errno : 0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	CHECKF(!status || (WIFEXITED(status) && WEXITSTATUS(status) == EBUSY) ||
	       (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS),
	       "MADV_HWPOISON: status %#x", (unsigned int)status);
}

void live_poison(void *addr)
{
	if (live_is_real())
		poison_by_kernel(addr);
	else
		live_mark(addr, live_page());
}

unsigned char live_byte(size_t offset, unsigned int seed)
{
	return (unsigned char)(1 + (offset * 31 + offset / live_page() * 7 +
				    seed * 13) % 251);
}

void live_fill(unsigned char *at, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		at[i] = live_byte(i, seed);
}

size_t live_wrong(const unsigned char *at, size_t len, unsigned int seed)
{
	size_t i, wrong = 0;

	for (i = 0; i < len; i++)
		wrong += live_read(at + i) != live_byte(i, seed);
	return wrong;
}

unsigned char *live_pages(size_t pages)
{
	size_t len = pages * live_page();
	unsigned char *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	madvise(at, len, MADV_NOHUGEPAGE);
	live_fill(at, len, 0);
	return at;
}

void live_start(uint32_t flags)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = flags;
	CHECK_EQ(bez_start(&options), 0);
}

bez_region_t live_region(void *addr, size_t len, const struct bez_source *from,
			 const char *name)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region = 0;

	policy.name = name;
	policy.source = from;
	CHECK_EQ(bez_region_add(addr, len, &policy, &region), 0);
	CHECK(region);
	return region;
}

size_t live_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	size_t count = 0;

	CHECK(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;		/* . and .. */
}

size_t live_threads_soon(size_t count)
{
	time_t end = time(NULL) + 20 * (time_t)tap_patience();
	size_t now;

	do
		now = live_threads();
	while (now != count && time(NULL) < end && !sched_yield());
	return now;
}

int live_sleeps(int tid)
{
	char path[64], text[256] = "", *end;
	int fd;

	if (!tid)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	end = strrchr(text, ')');
	return end && (end[2] == 'S' || end[2] == 'D');
}

void live_in_child(void (*look)(void))
{
	pid_t pid = fork();
	int status = 0;

	CHECK(pid >= 0);
	if (!pid) {
		tap_apart();
		look();
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	CHECKF(!status, "the child ended with %#x", status);
}
